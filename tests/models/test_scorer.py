"""Scoring networks: one interface; InceptionV3 is torchvision's own."""

import pytest
import torch

from fpray.errors import UserError
from fpray.models.config import ScorerConfig, parameters
from fpray.models.scorer import build_scorer


@pytest.mark.parametrize('image', [(64, 64), (103, 96)])
def test_small_scorer(image):
    config = ScorerConfig(image=image, classes=5, widths=(4, 8, 16))
    scorer = build_scorer(config, seed=1).eval()
    pixels = torch.rand(3, 1, *image) * 2 - 1
    features = scorer.features(pixels)
    assert features.shape == (3, 16) and scorer(pixels).shape == (3, 5)
    assert torch.equal(scorer(pixels), scorer.classify(features))
    assert sum(weight.numel() for weight in scorer.parameters()) == parameters(config)
    assert torch.equal(scorer(pixels), build_scorer(config, seed=1).eval()(pixels))
    assert not torch.equal(scorer(pixels), build_scorer(config, seed=2).eval()(pixels))


def test_inception_needs_readable_weights(tmp_path):
    with pytest.raises(UserError, match='needs its weights'):
        ScorerConfig('inception-v3')
    (tmp_path / 'broken.pt').write_bytes(b'nothing')
    with pytest.raises(UserError, match='cannot use'):
        build_scorer(ScorerConfig('inception-v3', weights=str(tmp_path / 'broken.pt')))
    with pytest.raises(UserError, match='cannot use'):
        build_scorer(ScorerConfig('inception-v3', weights=str(tmp_path / 'absent.pt')))


@pytest.mark.slow
def test_inception_is_torchvisions(tmp_path):
    """At 299 px and with ImageNet's normalisation, which torchvision undoes itself, the logits are torchvision's."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    peer = inception_v3(weights=None, init_weights=False, transform_input=True)
    torch.save(peer.state_dict(), tmp_path / 'weights.pt')
    config = ScorerConfig('inception-v3', image=(299, 299), weights=str(tmp_path / 'weights.pt'))
    scorer = build_scorer(config).train()  # it stays in eval mode
    pixels = torch.rand(2, 1, 299, 299) * 2 - 1
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = peer.eval()(((pixels.expand(-1, 3, -1, -1) + 1) / 2 - mean) / std)
        torch.testing.assert_close(scorer(pixels), expected, rtol=1e-4, atol=1e-5)
        assert scorer.features(torch.rand(1, 1, 64, 64)).shape == (1, 2048)
    assert sum(weight.numel() for weight in scorer.parameters()) == parameters(config)
