"""Training a learned codec: the loss, resuming, and numbers that are the decoded bitstream's."""

import functools

import numpy as np
import pytest
import torch

from fpray.data.images import to_float
from fpray.errors import UserError
from fpray.models.codec import build_codec
from fpray.models.config import CodecConfig
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import Pictures, numerics, train
from fpray.training.rate_distortion import (
    CodecLearner,
    codec_key,
    finished,
    information,
    load_codec,
    measure,
    rate_distortion,
    save_codec,
)

TINY = CodecConfig(n=8, m=12)


def pictures(count: int, height: int = 64, width: int = 64, seed: int = 0) -> np.ndarray:
    """Ridges of a random direction and distance, (count, 1, height, width)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    angle, wavelength, phase = rng.uniform(0, np.pi, count), rng.uniform(5, 12, count), rng.uniform(0, 7, count)
    ramp = (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y) / wavelength[:, None, None]
    waves = np.sin(2 * np.pi * ramp + phase[:, None, None])
    return np.rint(127.5 + 100 * waves + rng.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)[:, None]


@functools.cache
def trained(lmbda: float, family: str = 'mean-scale') -> CodecLearner:
    loop = LoopConfig(images=480, batch=8, snapshot_every=0)
    learner = CodecLearner(RateDistortionConfig(CodecConfig(family, 8, 12), lmbda=lmbda), loop, 1)
    train(loop, learner, Pictures(pictures(40)), 1, on_progress=lambda _: False)
    return learner


def test_loss_on_gray_levels_is_compressais_on_unit_pixels():
    """bpp + lmbda * MSE(0-255) = bpp + lmbda * 255^2 * MSE([0, 1]), the codec's own border included."""
    pixels, lmbda = pictures(4), 0.003
    codec = build_codec(TINY, seed=1)
    x = to_float(torch.from_numpy(pixels))
    with codec.noise_from(torch.zeros_like):
        found = codec(x)
    losses = rate_distortion(x, found, lmbda)
    unit_x, unit_hat = torch.from_numpy(pixels / 255), (found['x_hat'].double() + 1) / 2
    bits = sum(-likelihood.double().log2().sum() for likelihood in found['likelihoods'].values())
    expected = bits / (4 * 64 * 64) + lmbda * 255**2 * (unit_hat - unit_x).square().mean()
    assert losses['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses['mse'].item() == pytest.approx(np.square(255 * (unit_hat - unit_x).detach().numpy()).mean(), rel=1e-5)


def test_information_by_hand():
    likelihoods = {'y': torch.tensor([[[[0.5, 0.25]]], [[[1.0, 0.125]]]]), 'z': torch.tensor([[[[0.5]]], [[[1.0]]]])}
    assert information(likelihoods).tolist() == [4.0, 3.0]


def test_bits_a_pixel_count_no_padding():
    codec, x = build_codec(TINY, seed=1).eval(), to_float(torch.from_numpy(pictures(2, 40, 50)))
    with torch.no_grad():
        found = codec(x)
    bpp = rate_distortion(x, found, 0.01)['bpp'].item()
    assert bpp == pytest.approx(information(found['likelihoods']).mean().item() / (40 * 50))


def test_training_lowers_the_loss():
    loop, courses = LoopConfig(images=320, batch=8, report_every=8, snapshot_every=0), []
    learner = CodecLearner(RateDistortionConfig(TINY), loop, 1)
    train(loop, learner, Pictures(pictures(40)), 1, on_progress=lambda p: bool(courses.append(p.losses)))
    assert set(courses[0]) == {'loss', 'bpp', 'mse', 'aux'}
    assert courses[-1]['loss'] < 0.7 * courses[0]['loss']
    for losses in courses:
        assert losses['loss'] == pytest.approx(losses['bpp'] + 0.01 * losses['mse'], rel=1e-5)


def test_a_larger_lambda_buys_better_pictures():
    coarse, fine = (measure(trained(lmbda).codec, pictures(8, seed=5)) for lmbda in (0.0003, 0.01))
    assert coarse.bits.mean() < fine.bits.mean() and coarse.mse.mean() > fine.mse.mean()


@pytest.mark.parametrize(('lmbda', 'family'), [(0.01, 'mean-scale'), (0.0003, 'mean-scale'), (0.01, 'scale')])
@pytest.mark.parametrize('size', [(64, 64), (90, 131), (192, 150)])
def test_bitstreams_are_as_long_as_estimated(lmbda, family, size):
    """At most 1.02 x the estimated bits plus 16 bytes a picture, and not shorter than the coder's rounding explains."""
    codec, pixels = finished(trained(lmbda, family).codec), pictures(12, *size, seed=3)
    bits = measure(codec, pixels).bits
    strings = codec.eval().compress(to_float(torch.from_numpy(pixels)))['strings']
    payload = np.array([len(y) + len(z) for y, z in zip(*strings, strict=True)])
    assert (8 * payload <= 1.02 * bits + 8 * 16).all()
    assert (8 * payload >= 0.98 * bits).all()


@pytest.mark.parametrize('size', [(64, 64), (70, 45)])
def test_numbers_are_the_decoded_bitstreams(size):
    """One picture at a time, by the entropy coder, equal to micro-batches within 1e-6 of a loss."""
    codec, pixels = finished(trained(0.01).codec).eval(), pictures(20, *size, seed=4)
    found = measure(codec, pixels)
    with numerics(1):
        for row, picture in enumerate(pixels):
            x = to_float(torch.from_numpy(picture[None]))
            packed = codec.compress(x)
            x_hat = codec.decompress(packed['strings'], packed['shape'], size)['x_hat']
            decoded = ((x_hat + 1) * 127.5).numpy()
            np.testing.assert_allclose(decoded / 127.5, found.reconstructions[row : row + 1] / 127.5, atol=1e-6, rtol=0)
            mse = np.square(decoded.astype(np.float64) - picture).mean()
            assert 0.01 * abs(mse - found.mse[row]) < 1e-6 * max(1, 0.01 * mse)
            with torch.inference_mode():
                alone = information({k: v.double() for k, v in codec(x)['likelihoods'].items()}).item()
            assert abs(alone - found.bits[row]) / picture.size < 1e-6


def test_measured_numbers_hang_on_the_picture_alone():
    codec, pixels = finished(trained(0.01).codec), pictures(21)
    found, order = measure(codec, pixels), np.random.default_rng(1).permutation(21)
    for name in ('bits', 'mse', 'reconstructions'):
        assert np.array_equal(getattr(measure(codec, pixels[order]), name), getattr(found, name)[order])
        assert np.array_equal(getattr(measure(codec, pixels[3:4]), name), getattr(found, name)[3:4])
    assert found.reconstructions.min() >= 0 and found.reconstructions.max() <= 255


def test_a_codec_in_training_is_measured_as_it_would_be_saved(tmp_path):
    learner = trained(0.01)
    before = learner.codec.entropy_bottleneck.quantiles.clone()
    save_codec(learner.codec, tmp_path)
    pixels = pictures(5, seed=6)
    live, saved = measure(learner.codec, pixels), measure(load_codec(tmp_path), pixels)
    assert np.array_equal(live.bits, saved.bits) and np.array_equal(live.reconstructions, saved.reconstructions)
    assert torch.equal(learner.codec.entropy_bottleneck.quantiles, before)  # training goes on undisturbed


def test_keys_tell_codecs_apart(tmp_path):
    for number, name in enumerate(('a', 'b', 'c')):
        (tmp_path / name).mkdir()
        save_codec(build_codec(TINY, seed=max(number, 1)), tmp_path / name)
    keys = [codec_key(tmp_path / name) for name in ('a', 'b', 'c')]
    assert keys[0] == keys[1] != keys[2] and len(keys[0]) == 16


def test_damaged_codecs_are_refused(tmp_path):
    with pytest.raises(UserError, match='codec.json is missing'):
        load_codec(tmp_path)
    save_codec(build_codec(TINY), tmp_path)
    (tmp_path / 'codec.pt').write_bytes(b'no weights')
    with pytest.raises(UserError, match='cannot be read'):
        load_codec(tmp_path)


def test_resume_is_bit_equal(tmp_path):
    """Both optimisers, noise, dropout and crops, through a file."""
    config = RateDistortionConfig(CodecConfig(n=8, m=12, dropout=0.2), weight_decay=0.01, crop=64)
    loop = LoopConfig(images=48, batch=4, snapshot_every=20)
    data = Pictures(pictures(13, 80, 70))
    whole = CodecLearner(config, loop, 1)
    train(loop, whole, data, 5, on_progress=lambda _: False)
    first = CodecLearner(config, loop, 1)

    def save_and_stop(progress):
        torch.save(first.state_dict(), tmp_path / 'state.pt')
        return True

    assert train(loop, first, data, 5, on_progress=save_and_stop) == 20
    second = CodecLearner(config, loop, 99)  # other first weights: all must come from the file
    second.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    train(loop, second, data, 5, start=20, on_progress=lambda _: False)
    for (name, a), b in zip(whole.codec.state_dict().items(), second.codec.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_weight_decay_is_for_kernels_alone():
    plain, decayed = (CodecLearner(RateDistortionConfig(TINY, weight_decay=rate), LoopConfig(), 1) for rate in (0.0, 0.5))
    x = to_float(torch.from_numpy(pictures(4)))
    for learner in (plain, decayed):
        learner.step(x, torch.Generator().manual_seed(1))
    shrunk = {name for (name, a), b in zip(plain.codec.named_parameters(), decayed.codec.parameters(), strict=True)
              if not torch.equal(a, b)}
    kernels = {name for name, weight in plain.codec.named_parameters() if weight.dim() == 4}
    assert shrunk == kernels


@pytest.mark.parametrize(('make', 'part'), [
    (lambda: RateDistortionConfig(lmbda=0.0), 'lmbda'),
    (lambda: RateDistortionConfig(crop=-1), 'crop'),
    (lambda: CodecLearner(RateDistortionConfig(), LoopConfig(amp='bf16'), 1), 'float32'),
    (lambda: CodecLearner(RateDistortionConfig(TINY, crop=65), LoopConfig(), 1).step(
        torch.zeros(2, 1, 64, 80), torch.Generator()), 'at most 64'),
])
def test_impossible_trainings_are_refused(make, part):
    with pytest.raises(UserError, match=part):
        make()
