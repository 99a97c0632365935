"""Discriminator attacks: the rank average, the shadows' agreement, and a saved discriminator scored again."""

import json
import pickle
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from fpray.attacks.discriminator import agreement, load_discriminator, shadow_scores, white_box_score
from fpray.errors import UserError

RNG = np.random.default_rng(0)


def test_rank_average_ignores_a_shadows_scale() -> None:
    outputs = [RNG.standard_normal(50) for _ in range(3)]
    score = shadow_scores(outputs)
    assert score.dtype == np.float64 and score.shape == (50,)
    np.testing.assert_allclose(shadow_scores([outputs[0] * 1e6, outputs[1] - 40, np.exp(outputs[2])]), score)
    expected = sum(rankdata(one) for one in outputs)
    np.testing.assert_array_equal(rankdata(score), rankdata(expected))  # equal sums stay equal


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


def test_agreement_is_spearmans_correlation() -> None:
    outputs = RNG.standard_normal((3, 80)).round(1)
    outputs[1] += outputs[0]
    np.testing.assert_allclose(agreement(list(outputs)), spearmanr(outputs, axis=1).statistic, atol=1e-12)
    constant = agreement([np.arange(9.0), -np.arange(9.0), np.ones(9)])
    np.testing.assert_allclose(constant, [[1, -1, 0], [-1, 1, 0], [0, 0, 0]], atol=1e-12)


@pytest.mark.parametrize('outputs', [[], [np.zeros(0)], [np.zeros(3), np.zeros(4)], [np.zeros((3, 1))]])
def test_outputs_that_do_not_fit_are_refused(outputs: list[np.ndarray]) -> None:
    with pytest.raises(UserError, match='shapes'):
        shadow_scores(outputs)


def test_a_diverged_discriminator_is_named() -> None:
    with pytest.raises(UserError, match='discriminator 2 of 2 gave 1 outputs that are not finite'):
        shadow_scores([np.zeros(3), np.array([0, np.nan, 1])])
    with pytest.raises(UserError, match='not finite'):
        white_box_score(np.array([np.inf, 0]))
