"""Matcher thresholds by counting."""

import numpy as np
import pytest
from scipy import stats

from fpray.metrics.verification import equal_error, threshold_at_fmr


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
