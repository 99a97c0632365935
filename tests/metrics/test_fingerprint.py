"""Ridges and points of prints against gratings and zero-pole fields, whose answers are known; numbers over people
against SciPy, closed forms and planted effects."""

import numpy as np
import pytest
from scipy import stats

from fpray.metrics.fingerprint import (
    CORE,
    DELTA,
    Minutiae,
    distances,
    foreground,
    match_minutiae,
    match_points,
    pores,
    ridge_frequency,
    share,
    singular_points,
    structure,
    turn,
)


def grating(period, angle, side=96, noise=0.0, seed=0):
    """Ridges that run along `angle`, counter-clockwise from the right."""
    y, x = np.mgrid[:side, :side]
    across = x * np.sin(angle) + y * np.cos(angle)  # rows grow downwards
    wave = 127 + 100 * np.cos(2 * np.pi * across / period + 0.7)
    return wave + noise * np.random.default_rng(seed).normal(size=wave.shape)


@pytest.mark.parametrize('angle', np.deg2rad([0, 30, 45, 90, 137, 179]))
def test_orientation_is_that_of_the_ridges(angle):
    made = structure(grating(9, angle))
    inside = (slice(20, -20),) * 2
    assert turn(made.orientation, angle)[inside].max() < np.deg2rad(1)
    assert made.coherence[inside].min() > 0.99
    assert foreground(made).mean() > 0.95


def test_coherence_falls_with_noise_and_is_nothing_in_a_flat_picture():
    coherence = [structure(grating(9, 0.5, noise=sd)).coherence.mean() for sd in (0, 60, 200)]
    assert coherence[0] > coherence[1] > coherence[2]
    flat = structure(np.full((50, 40), 90))
    assert flat.coherence.max() == 0 and not foreground(flat).any()


def test_turn_knows_no_sense_of_direction():
    assert turn([0, 0.1, 3.1, 0], [np.pi, 3.1, 0.1, np.pi / 2]) == pytest.approx(
        [0, np.pi - 3, np.pi - 3, np.pi / 2], abs=1e-12)


@pytest.mark.parametrize('period', [3, 5.3, 9, 12])
@pytest.mark.parametrize('angle', [0.0, 0.4, 1.3, 2.6])
def test_ridge_frequency_of_a_grating(period, angle):
    found = ridge_frequency(grating(period, angle), np.ones((96, 96), bool), block=36)
    assert found.shape == (4, 4)
    assert np.median(found) == pytest.approx(1 / period, rel=0.03)


def test_ridge_frequency_needs_ridges_in_the_print():
    picture, mask = grating(8, 1.0), np.zeros((96, 96), bool)
    assert np.isnan(ridge_frequency(picture, mask)).all()
    mask[:, :48] = True
    seen = np.isfinite(ridge_frequency(picture, mask))
    assert seen[:, 0].all() and not seen[:, -1].any()
    assert np.isnan(ridge_frequency(np.full((96, 96), 10), np.ones((96, 96), bool))).all()
    assert np.isfinite(ridge_frequency(picture[:16, :16], np.ones((16, 16), bool))).all()  # smaller than a block


def zero_pole(side, cores, deltas, slope=0.0):
    """Sherlock & Monro's (1993) field: half the angles to the cores less half those to the deltas."""
    y, x = np.mgrid[:side, :side]
    theta = np.full((side, side), slope)
    for points, sign in ((cores, 1), (deltas, -1)):
        for px, py in points:
            theta += sign / 2 * np.arctan2(py - y, x - px)
    return theta % np.pi


@pytest.mark.parametrize(('cores', 'deltas'), [
    ([], []), ([(100, 70)], [(140, 150)]), ([(90, 80), (110, 120)], [(50, 160), (160, 165)]), ([(100, 100)] * 2, []),
])
def test_singular_points_of_a_known_field(cores, deltas):
    found = singular_points(zero_pole(220, cores, deltas, 0.3), np.ones((220, 220), bool))
    for kind, truth in ((CORE, cores), (DELTA, deltas)):
        mine = found[found[:, 2] == kind, :2]
        assert len(mine) == len(truth)
        assert len(match_points(mine, np.array(truth, float).reshape(-1, 2), 8)) == len(truth)


def test_singular_points_at_the_edge_and_noise_do_not_count():
    field = zero_pole(220, [(100, 70)], [(140, 150)])
    noisy = field + np.random.default_rng(0).normal(0, 0.6, field.shape)
    assert sorted(singular_points(noisy, np.ones((220, 220), bool))[:, 2]) == [DELTA, CORE]
    mask = np.ones((220, 220), bool)
    mask[140:] = False
    assert singular_points(field, mask)[:, 2].tolist() == [CORE]
    assert singular_points(field[:8, :8], mask[:8, :8]).shape == (0, 3)


def test_points_pair_one_to_one_as_many_as_fit():
    a, b = [(0, 0), (4, 0)], [(3, 0), (9, 0)]
    assert match_points(a, b, 5).tolist() == [[0, 0], [1, 1]]  # the nearest first would leave one alone
    assert match_points(a, b, 5, np.array([[False, True], [True, True]])).tolist() == [[1, 0]]
    assert match_points([], b, 5).shape == (0, 2)
    assert len(match_points(a, b, 0.5)) == 0


def test_minutiae_agreement_counts_what_moved_turned_and_changed():
    position = np.array([(10, 10), (50, 10), (10, 50), (50, 50), (90, 90)], float)
    before = Minutiae(position, np.array([0, 1, 2, 3.1, -3]), np.array(list('EEBBE')))
    moved = Minutiae(position + np.array([3, 4]), np.array([0, 1, 2 + np.pi, -3.1, -3]), np.array(list('EBBBE')))
    agree = match_minutiae(before, moved)
    assert (agree.before, agree.after, agree.matched, agree.same_kind) == (5, 5, 4, 3)  # the third turned by pi
    assert agree.distance == pytest.approx(4 * 5)
    assert match_minutiae(before, moved, tolerance=4.9).matched == 0
    nothing = Minutiae(np.zeros((0, 2)), np.zeros(0), np.zeros(0, 'U1'))
    assert match_minutiae(before, nothing).matched == 0


def test_planted_pores_are_found_on_ridges_alone():
    """Dark ridges of 20 px period at 1100 dpi; spots of 5 px on ridges, and as many brighter ones in valleys."""
    dark = 255 - grating(20, 0.0, side=200)  # rows where the cosine peaks are dark
    middle = (np.arange(2, 9) * 20 - 0.7 / (2 * np.pi) * 20).round()
    truth = np.array([(x, y) for y in middle for x in range(30, 180, 25)], float)
    y, x = np.mgrid[:200, :200]
    picture = dark.copy()
    for px, py in truth:
        picture += 150 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 1.6**2))
        picture += 60 * np.exp(-((x - px) ** 2 + (y - py - 10) ** 2) / (2 * 1.6**2))
    mask = np.ones((200, 200), bool)
    found = pores(picture, mask, 1100)
    assert len(match_points(found, truth, 3)) == len(truth) == len(found)
    assert len(pores(dark, mask, 1100)) == 0
    with pytest.raises(ValueError, match='1000 dpi'):
        pores(picture, mask, 500)


def test_share_is_the_ratio_of_sums_with_an_interval_over_people():
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 5)
    whole = rng.integers(1, 30, 200)
    part = rng.binomial(whole, np.repeat(rng.uniform(0.5, 0.9, 40), 5))
    rate = share(part, whole, person, seed=1, chance=0.1)
    assert rate.estimate == pytest.approx(part.sum() / whole.sum())
    assert (rate.n, rate.n_people, rate.chance) == (200, 40, 0.1)
    top, bottom = np.bincount(person, part), np.bincount(person, whole)
    residual = top - rate.estimate * bottom  # the linearised variance of a ratio over people
    half = stats.t.ppf(0.975, 39) * np.sqrt(40 / 39 * (residual**2).sum()) / bottom.sum()
    assert rate.interval == pytest.approx((rate.estimate - half, rate.estimate + half), abs=0.15 * half)
    assert share(part, whole, person, seed=1).interval == rate.interval


def test_share_holds_its_level_over_people():
    rng = np.random.default_rng(3)
    held = 0
    for trial in range(200):
        person = np.repeat(np.arange(12), 6)
        values = rng.normal(size=12)[person] + 0.2 * rng.normal(size=72)
        rate = share(values, None, person, seed=trial, draws=400)
        held += rate.lower <= 0 <= rate.upper
    assert 182 <= held <= 199  # 95 % of 200, four standard deviations


def test_share_of_nothing_and_of_everything():
    assert share([np.nan, np.nan], None, ['a', 'b'], 0).estimate is None
    assert share([0, 0], [0, 0], ['a', 'b'], 0).estimate is None
    assert share([1, np.nan], None, ['a', 'b'], 0).interval == (None, None)
    full = share(np.full(30, 4), np.full(30, 4), np.arange(30), 0, bounded=True)
    assert full.estimate == 1 and full.interval == pytest.approx((0.025 ** (1 / 30), 1))


def test_distances_are_scipys():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=60).round(1), rng.normal(0.7, 1.5, 45).round(1)  # rounded: ties
    rates = distances(a, b, np.arange(60), np.arange(100, 145), seed=0)
    assert rates['wasserstein'].estimate == pytest.approx(stats.wasserstein_distance(a, b))
    assert rates['ks'].estimate == pytest.approx(stats.ks_2samp(a, b).statistic)
    for rate in rates.values():
        assert rate.lower <= rate.estimate <= rate.upper and rate.p < 0.05
        assert 0 < rate.chance < rate.estimate


def test_distances_of_one_law_are_as_large_as_chance():
    rng = np.random.default_rng(6)
    ps = []
    for trial in range(60):
        person = np.repeat(np.arange(15), 4)
        level = rng.normal(size=30)
        a, b = level[:15][person] + 0.1 * rng.normal(size=60), level[15:][person] + 0.1 * rng.normal(size=60)
        ps.append(distances(a, b, person, person + 15, seed=trial, draws=20)['ks'].p)
    assert np.mean(np.array(ps) < 0.05) <= 0.15  # permuting pictures instead of people gives about 0.7
    assert 0.3 < np.mean(ps) < 0.7


def test_distances_of_pairs_swap_within_people():
    """A change of a tenth of the spread between people: the pairs show it, their permutation too."""
    rng = np.random.default_rng(7)
    person = np.repeat(np.arange(30), 2)
    a = rng.normal(size=30)[person]
    b = a + 0.3 + 0.01 * rng.normal(size=60)
    assert distances(a, b, person, person, seed=0)['wasserstein'].p < 0.01
    assert distances(a, a, person, person, seed=0)['wasserstein'].estimate == 0
