"""Discriminator attacks: the rank average, and a saved discriminator scored again."""

import json
import pickle
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from fpray.attacks.discriminator import load_discriminator, shadow_scores, white_box_score
from fpray.data.images import to_float
from fpray.errors import UserError
from fpray.models.config import DiscriminatorConfig
from fpray.models.gan import build_discriminator

RNG = np.random.default_rng(0)


def test_rank_average_ignores_a_shadows_scale() -> None:
    outputs = [RNG.standard_normal(50) for _ in range(3)]
    score = shadow_scores(outputs)
    assert score.dtype == np.float64 and score.shape == (50,)
    np.testing.assert_allclose(shadow_scores([outputs[0] * 1e6, outputs[1] - 40, np.exp(outputs[2])]), score)
    expected = sum(rankdata(one) for one in outputs)
    np.testing.assert_array_equal(rankdata(score), rankdata(expected))


def test_ties_take_the_midrank_and_one_loud_shadow_does_not_decide() -> None:
    score = shadow_scores([np.array([0.0, 1, 1, 2])])
    assert score[1] == score[2] and score[0] < score[1] < score[3]
    np.testing.assert_allclose(score[1] - score[0], score[3] - score[2])
    quiet, loud = np.array([0.1, 0.2, 0.3]), np.array([1e9, 0.0, -1e9])
    np.testing.assert_allclose(shadow_scores([quiet, loud]), shadow_scores([quiet, loud])[::-1])


def test_scores_follow_the_pictures_whatever_their_order() -> None:
    outputs = [RNG.standard_normal(30).round(1) for _ in range(3)]
    order = RNG.permutation(30)
    turned = shadow_scores([one[order] for one in outputs])
    np.testing.assert_array_equal(turned, shadow_scores(outputs)[order])


@pytest.mark.parametrize('outputs', [[], [np.zeros(0)], [np.zeros(3), np.zeros(4)], [np.zeros((3, 1))]])
def test_outputs_that_do_not_fit_are_refused(outputs: list[np.ndarray]) -> None:
    with pytest.raises(UserError, match='shapes'):
        shadow_scores(outputs)


def test_a_diverged_discriminator_is_named() -> None:
    with pytest.raises(UserError, match='discriminator 2 of 2 gave 1 outputs that are not finite'):
        shadow_scores([np.zeros(3), np.array([0, np.nan, 1])])
    with pytest.raises(UserError, match='not finite'):
        white_box_score(np.array([np.inf, 0]))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    """A small discriminator with statistics of its own, as a training leaves it: JSON and state dict."""
    config = DiscriminatorConfig(image=(16, 16), widths=(4, 8))
    discriminator = build_discriminator(config, seed=3)
    discriminator.train()
    discriminator(torch.randn(32, 1, 16, 16, generator=torch.Generator().manual_seed(4)))
    (tmp_path / 'config.json').write_text(json.dumps(asdict(config)))
    torch.save(discriminator.state_dict(), tmp_path / 'weights.pt')
    return tmp_path / 'config.json', tmp_path / 'weights.pt'


def test_a_saved_discriminator_scores_as_it_did(saved: tuple[Path, Path]) -> None:
    pictures = RNG.integers(0, 256, (37, 1, 16, 16), dtype=np.uint8)
    build = pickle.loads(pickle.dumps(partial(load_discriminator, *saved, batch=8)))
    got = build()(pictures)
    network = build_discriminator(DiscriminatorConfig(image=(16, 16), widths=(4, 8)), seed=9)
    network.load_state_dict(torch.load(saved[1], weights_only=True))
    network.eval()
    with torch.no_grad():
        expected = network(to_float(torch.from_numpy(pictures))).numpy()
    assert got.dtype == np.float64 and got.std() > 1e-3
    np.testing.assert_allclose(got, expected, atol=1e-5)
    order = RNG.permutation(37)
    # to the bit, whatever stands beside a picture
    np.testing.assert_array_equal(build()(pictures[order]), got[order])
    np.testing.assert_array_equal(build()(pictures[:3]), got[:3])


def test_files_that_do_not_belong_together_are_refused(saved: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(asdict(DiscriminatorConfig(image=(16, 16), widths=(4, 4)))))
    with pytest.raises(UserError, match=r'weights\.pt does not fit .*other\.json'):
        load_discriminator(other, saved[1])
    (tmp_path / 'text.pt').write_text('no weights')
    for name in ('absent.pt', 'text.pt'):
        with pytest.raises(UserError, match='cannot read the discriminator'):
            load_discriminator(saved[0], tmp_path / name)
