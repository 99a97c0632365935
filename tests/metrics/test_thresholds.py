"""Matcher thresholds by counting."""

import numpy as np
import pytest
from scipy import stats

from fpray.metrics.verification import Comparisons, equal_error, separation, separation_change, threshold_at_fmr


def test_threshold_accepts_no_more_impostors_than_asked():
    impostor = np.arange(1000.0)
    at = threshold_at_fmr(impostor, 0.01)
    assert (at.value > 989, at.fmr, at.false_matches) == (True, 0.01, 10) and at.value == pytest.approx(989)
    assert threshold_at_fmr(impostor, 0.0).false_matches == 0
    tied = threshold_at_fmr(np.repeat([0.0, 1.0], [90, 10]), 0.05)  # ten equal ones: all or none
    assert tied.false_matches == 0 and tied.value > 1
    with pytest.raises(ValueError, match='impostor'):
        threshold_at_fmr([], 0.01)


def test_an_fmr_needs_thirty_false_matches_of_ten_people():
    impostor = np.arange(4000.0)
    pairs = np.stack([np.arange(4000) % 12, np.arange(4000) % 7], axis=1)
    assert threshold_at_fmr(impostor, 0.01, pairs).resolvable
    assert threshold_at_fmr(impostor, 0.005, pairs).resolvable is False  # 20 false matches
    few = threshold_at_fmr(impostor, 0.01, pairs % 5)
    assert few.n_people == 5 and not few.resolvable
    assert not threshold_at_fmr(impostor, 0.01).resolvable  # people unknown


def test_equal_error_of_two_normals():
    rng = np.random.default_rng(0)
    rate, threshold = equal_error(rng.normal(2, 1, 20_000), rng.normal(0, 1, 20_000))
    assert rate == pytest.approx(stats.norm.sf(1), abs=0.005) and threshold == pytest.approx(1, abs=0.03)
    assert equal_error([3, 4], [1, 2])[0] == 0 and equal_error([1, 2], [3, 4])[0] == 1
    assert equal_error([1, 3], [0, 2])[0] == 0.5


def matched(people, shift, seed, pictures=4):
    """Whole-number similarities of all pairs of a set: genuine ones higher by `shift`."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), pictures)
    i, j = np.triu_indices(len(person), 1)
    genuine = person[i] == person[j]
    scores = np.rint(rng.normal(10, 3, len(i)) + shift * genuine)
    return scores, Comparisons(genuine, np.stack([person[i], person[j]], axis=1).astype(str))


def test_separation_is_the_unweighted_rates_with_an_interval():
    scores, pairs = matched(24, 8, 0)
    rates = separation(scores, pairs, seed=0, fmr=0.02, draws=300)
    genuine, impostor = scores[pairs.genuine], scores[~pairs.genuine]
    assert rates['eer'].estimate == pytest.approx(equal_error(genuine, impostor)[0], abs=1e-12)
    at = threshold_at_fmr(impostor, 0.02)
    assert rates['fnmr'].estimate == pytest.approx((genuine < at.value).mean(), abs=1e-12)
    for rate in rates.values():
        assert rate.lower < rate.estimate < rate.upper and rate.n_people == 24
    assert 'not resolvable' not in rates['fnmr'].note
    assert 'not resolvable' in separation(*matched(4, 8, 0), seed=0)['fnmr'].note


def test_separation_of_a_matcher_that_knows_nothing_is_chance():
    rates = separation(*matched(24, 0, 1), seed=0, draws=300)
    for rate in rates.values():
        assert rate.lower < rate.chance < rate.upper


def test_a_change_of_scale_changes_nothing_and_lost_scores_do():
    scores, pairs = matched(24, 8, 2)
    for rate in separation_change(scores, 3 * scores + 5, pairs, seed=0, draws=300).values():
        assert (rate.estimate, rate.interval) == (0, (0, 0))
    worse = np.where(pairs.genuine, scores - 3, scores)
    for rate in separation_change(scores, worse, pairs, seed=0, draws=300).values():
        assert rate.estimate > 0 and rate.lower > 0
    with pytest.raises(ValueError, match='genuine and impostor'):
        separation(scores[pairs.genuine], Comparisons(pairs.genuine[pairs.genuine], pairs.people[pairs.genuine]), 0)
