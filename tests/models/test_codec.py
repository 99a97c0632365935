"""The learned codecs: sizes, borders, bitstreams, and agreement with CompressAI's own models."""

import pytest
import torch
from compressai.models.google import MeanScaleHyperprior, ScaleHyperprior

from fpray.errors import UserError
from fpray.models.codec import build_codec
from fpray.models.config import CodecConfig, codec_parameters

PEERS = {'scale': ScaleHyperprior, 'mean-scale': MeanScaleHyperprior}


@pytest.mark.parametrize('config', [
    CodecConfig(), CodecConfig('scale', 8, 12), CodecConfig('mean-scale', 9, 13, channels=3), CodecConfig('scale', 192, 192),
])
def test_parameters_are_counted(config):
    codec = build_codec(config)
    assert codec_parameters(config) == sum(weight.numel() for weight in codec.parameters())


@pytest.mark.parametrize('family', PEERS)
def test_colour_codec_is_compressais_own(family):
    """Same weights, same answer at CompressAI's border [0, 1] and sides of a multiple of 64 px."""
    codec = build_codec(CodecConfig(family, 8, 12, channels=3), seed=1).eval()
    peer = PEERS[family](8, 12).eval()
    peer.load_state_dict(codec.state_dict())
    x = torch.rand(2, 3, 64, 128)
    found, expected = codec(x * 2 - 1), peer(x)
    torch.testing.assert_close((found['x_hat'] + 1) / 2, expected['x_hat'].clamp(0, 1), atol=1e-5, rtol=0)
    for name, likelihood in expected['likelihoods'].items():
        torch.testing.assert_close(found['likelihoods'][name], likelihood, atol=1e-5, rtol=0)


@pytest.mark.parametrize('size', [(64, 64), (61, 47), (16, 130)])
def test_any_size_comes_back(size):
    codec = build_codec(CodecConfig(n=8, m=12), seed=1).eval()
    codec.update()
    x = torch.rand(2, 1, *size) * 2 - 1
    with torch.no_grad():
        x_hat = codec(x)['x_hat']
    packed = codec.compress(x)
    decoded = codec.decompress(packed['strings'], packed['shape'], size)['x_hat']
    assert x_hat.shape == decoded.shape == x.shape
    assert x_hat.abs().max() <= 1
    torch.testing.assert_close(decoded, x_hat, atol=1e-6, rtol=0)


def test_what_is_added_repeats_the_last_row_and_column():
    codec = build_codec(CodecConfig(n=8, m=12), seed=1).eval()
    x = torch.rand(1, 1, 50, 40) * 2 - 1
    whole = torch.cat([x, x[:, :, -1:].expand(-1, -1, 14, -1)], dim=2)
    whole = torch.cat([whole, whole[..., -1:].expand(-1, -1, -1, 24)], dim=3)
    with torch.no_grad():
        torch.testing.assert_close(codec(x)['x_hat'], codec(whole)['x_hat'][..., :50, :40])


def test_dropout_is_for_training_alone():
    plain, dropping = (build_codec(CodecConfig(n=8, m=12, dropout=rate), seed=1) for rate in (0.0, 0.5))
    x = torch.rand(1, 1, 64, 64)
    assert not torch.equal(dropping.g_a(x), dropping.g_a(x))
    assert torch.equal(plain.g_a(x), dropping.eval().g_a(x))


def test_training_noise_can_be_given():
    codec = build_codec(CodecConfig(n=8, m=12), seed=1)
    x = torch.rand(1, 1, 64, 64)
    with codec.noise_from(torch.zeros_like):
        still = codec(x)['likelihoods']['z']
        assert torch.equal(still, codec(x)['likelihoods']['z'])
    assert not torch.equal(codec(x)['likelihoods']['z'], still)


def test_weights_hang_on_the_seed():
    first, second, other = (build_codec(CodecConfig(n=8, m=12), seed).g_a[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


@pytest.mark.parametrize('wrong', [{'family': 'factorised'}, {'n': 1}, {'m': 0}, {'channels': 2}, {'dropout': 1.0}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(UserError, match=f'codec.{next(iter(wrong))}'):
        CodecConfig(**wrong)
