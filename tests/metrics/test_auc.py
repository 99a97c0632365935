"""AUC over people: closed forms, two second implementations of the clustered variance, planted effects."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score, roc_curve

from fpray.metrics.membership import auc, auc_clustered, auc_difference, draws_variance, over_draws, over_victims, roc
from fpray.metrics.rate import Rate


def audit(seed, people, shift=0.0, both=False):
    """(score, label, person): 1-5 fingers a person x 3 pictures a side, person and finger variance 0.25 each."""
    rng = np.random.default_rng(seed)
    finger = np.repeat(np.arange(people), rng.integers(1, 6, people))
    row = np.repeat(np.arange(len(finger)), 6 if both else 3)
    person = finger[row]
    label = np.tile([True, True, True, False, False, False], len(finger)) if both else person < people // 2
    alike = rng.normal(0, 0.5, people)[finger] + rng.normal(0, 0.5, len(finger))
    return alike[row] + rng.normal(0, 0.5**0.5, len(row)) + shift * label, label, person


def pairwise_interval(score, label, person, level=0.95):
    """Obuchowski's interval with each placement value counted pair by pair, from the paper's formulas."""
    m, n = label.sum(), (~label).sum()
    psi = (score[label][:, None] > score[~label]) + 0.5 * (score[label][:, None] == score[~label])
    area = psi.mean()
    members, others, everyone = set(person[label]), set(person[~label]), sorted(set(person))
    v10 = {p: psi[person[label] == p].mean(axis=1).sum() - (person[label] == p).sum() * area for p in everyone}
    v01 = {p: psi[:, person[~label] == p].mean(axis=0).sum() - (person[~label] == p).sum() * area for p in everyone}
    i10, i01, i = len(members), len(others), len(everyone)
    s10 = i10 / ((i10 - 1) * m) * sum(v10[p] ** 2 for p in members)
    s01 = i01 / ((i01 - 1) * n) * sum(v01[p] ** 2 for p in others)
    s11 = i / (i - 1) * sum(v10[p] * v01[p] for p in everyone)
    a, b = s10 / m, s01 / n
    variance = a + b + 2 * s11 / (m * n)
    df = min(i10, i01) - 1 if members & others else (a + b) ** 2 / (a**2 / (i10 - 1) + b**2 / (i01 - 1))
    half = stats.t.ppf((1 + level) / 2, df) * variance**0.5 / (area * (1 - area))
    return variance, expit(logit(area) - half), expit(logit(area) + half)


@pytest.mark.parametrize('both', [False, True])
@pytest.mark.parametrize('people', [6, 21])
def test_interval_is_obuchowskis_by_pairs(people, both):
    score, label, person = audit(people, people, 0.5, both)
    score = score.round(1)  # ties
    rate = auc_clustered(score, label, person)
    _, low, high = pairwise_interval(score, label, person)
    assert rate.estimate == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert rate.interval == pytest.approx((low, high), abs=1e-10)
    assert (rate.n, rate.n_people, rate.chance) == (len(score), people, 0.5)


@pytest.mark.parametrize('both', [False, True])
def test_variance_agrees_with_the_jackknife_over_people(both):
    """Another route to the same number: leaving out one person at a time, within sides where these are apart."""
    score, label, person = audit(5, 60, 0.5, both)
    groups = [set(person)] if both else [set(person[label]), set(person[~label])]
    jackknife = 0.0
    for group in groups:
        left = np.array([auc(score[person != p], label[person != p]) for p in group])
        jackknife += (len(group) - 1) / len(group) * ((left - left.mean()) ** 2).sum()
    assert pairwise_interval(score, label, person)[0] == pytest.approx(jackknife, rel=0.1)


def test_one_picture_a_person_is_delongs_interval():
    """Hand-computed: placements (1, 1, 2/3) and (1, 1, 2/3), variance 2 x (1/27) / 3."""
    score, label = np.array([6.0, 5.0, 2.0, 3.0, 1.0, 0.0]), np.array([1, 1, 1, 0, 0, 0])
    rate = auc_clustered(score, label, np.arange(6))
    half = stats.t.ppf(0.975, 4) * (2 / 81) ** 0.5 / (8 / 9 * 1 / 9)
    assert rate.estimate == pytest.approx(8 / 9)
    assert rate.interval == pytest.approx((expit(logit(8 / 9) - half), expit(logit(8 / 9) + half)))


def test_exactly_one_and_zero_have_the_bound_of_the_smaller_side():
    label, person = np.repeat([1, 0], [12, 20]), np.repeat(np.arange(8), 4)  # 3 people against 5
    assert auc_clustered(label, label, person).interval == (pytest.approx(0.025 ** (1 / 3)), 1.0)
    assert auc_clustered(-label, label, person).interval == (0.0, pytest.approx(1 - 0.025 ** (1 / 3)))
    assert auc_clustered(label, label, person, level=0.9).lower == pytest.approx(0.05 ** (1 / 3))


def test_no_interval_where_people_do_not_vary_or_are_too_few():
    label = np.array([1, 1, 1, 0, 0, 0])
    constant = auc_clustered(np.zeros(6), label, np.arange(6))
    assert (constant.estimate, constant.interval) == (0.5, (None, None))
    alone = auc_clustered([1, 3, 5, 2, 4, 0], label, [0, 0, 0, 1, 2, 3])
    assert alone.estimate is not None and alone.interval == (None, None) and alone.note


def test_auc_counts_ties_half_and_ignores_the_order_of_rows():
    assert auc([1, 1, 1, 1], [1, 0, 1, 0]) == 0.5
    assert auc([2, 1, 1, 0], [1, 1, 0, 0]) == 0.875
    with pytest.raises(ValueError, match='both sides'):
        auc([1, 2], [1, 1])
    score, label, person = audit(1, 12)
    order = np.random.default_rng(0).permutation(len(score))
    again = auc_clustered(score[order], label[order], person[order], seed=3)
    first = auc_clustered(score, label, person, seed=3)
    assert first.p == again.p and first.interval == pytest.approx(again.interval, abs=1e-12)


def test_a_planted_leak_is_found_and_its_mirror_is_not():
    score, label, person = audit(2, 40, 1.0)
    found, mirror = auc_clustered(score, label, person, seed=0), auc_clustered(-score, label, person, seed=0)
    assert found.lower > 0.5 and found.p < 0.01
    assert mirror.upper < 0.5 and mirror.p > 0.9
    assert found.interval == pytest.approx((1 - mirror.upper, 1 - mirror.lower))


@pytest.mark.parametrize('bad', [([1.0, np.nan], [1, 0], 'ab'), ([1.0, 2.0], [1, 1], 'ab'), ([1.0, 2.0], [1, 2], 'ab')])
def test_bad_arrays_are_refused(bad):
    with pytest.raises(ValueError, match=r'finite|both sides|True or False'):
        auc_clustered(bad[0], bad[1], list(bad[2]))


def test_difference_is_paired_by_person():
    score, label, person = audit(3, 30, 1.0)
    placebo = score - 1.0 * label + np.random.default_rng(0).normal(0, 0.1, len(score))
    paired = auc_difference(score, placebo, label, person)
    assert paired.estimate == pytest.approx(auc(score, label) - auc(placebo, label))
    assert paired.chance == 0.0 and paired.lower > 0
    single = auc_clustered(score, label, person)
    assert paired.upper - paired.lower < single.upper - single.lower  # what both share cancels out
    swapped = auc_difference(placebo, score, label, person)
    assert swapped.interval == pytest.approx((-paired.upper, -paired.lower))


def test_difference_is_the_t_interval_of_the_pairwise_covariance():
    """Bilinearity: var(a - b) from the pairwise variances of a, b and of their sum's placements, one picture a person."""
    rng = np.random.default_rng(4)
    label = np.arange(24) < 12
    a, b = rng.normal(size=24) + label, rng.normal(size=24)
    psi = [(s[label][:, None] > s[~label]).astype(float) for s in (a, b)]
    difference = psi[0] - psi[1]
    v1, v0 = difference.mean(axis=1).var(ddof=1) / 12, difference.mean(axis=0).var(ddof=1) / 12
    df = (v1 + v0) ** 2 / ((v1**2 + v0**2) / 11)
    half = stats.t.ppf(0.975, df) * (v1 + v0) ** 0.5
    rate = auc_difference(a, b, label, np.arange(24))
    assert rate.interval == pytest.approx((difference.mean() - half, difference.mean() + half))


def test_difference_at_the_edge_keeps_the_edges_own_doubt():
    label = np.arange(20) < 10
    noise = np.random.default_rng(0).normal(size=20)
    rate = auc_difference(label, noise, label, np.arange(20))
    edge, other = auc_clustered(label, label, np.arange(20)), auc_clustered(noise, label, np.arange(20))
    assert rate.lower == pytest.approx(rate.estimate - np.hypot(1 - edge.lower, other.upper - other.estimate))
    both = auc_difference(label, label, label, np.arange(20))
    assert both.interval == pytest.approx((-(1 - edge.lower), 1 - edge.lower))


def test_the_calibrations_variance_is_added_in_closed_form():
    """As in DeLong's example above: variance 2/81, 4 degrees of freedom; two draws with areas 8/9 and 0.5, one degree."""
    score, label, person = np.array([6.0, 5.0, 2.0, 3.0, 1.0, 0.0]), np.array([1, 1, 1, 0, 0, 0]), np.arange(6)
    v, extra = 2 / 81, (8 / 9 - 1 / 2) ** 2 / 2
    df = (v + extra) ** 2 / (v**2 / 4 + extra**2)
    half = stats.t.ppf(0.975, df) * (v + extra) ** 0.5 / (8 / 9 * 1 / 9)
    rate = auc_clustered(score, label, person, recalibrated=[score, np.zeros(6)])
    assert rate.estimate == pytest.approx(8 / 9)
    assert rate.interval == pytest.approx((expit(logit(8 / 9) - half), expit(logit(8 / 9) + half)))
    for both in (False, True):
        sides = audit(7, 20, 0.5, both)
        again = np.tile(sides[0] * 3 - 1, (5, 1))  # draws that change no order: the interval of the calibration as it is
        assert auc_clustered(*sides, recalibrated=again).interval == pytest.approx(auc_clustered(*sides).interval)


def test_what_a_calibration_does_to_attack_and_placebo_alike_cancels():
    score, label, person = audit(8, 20, 0.5)
    rng = np.random.default_rng(0)
    placebo, moved = rng.normal(size=len(score)), rng.normal(size=(6, len(score)))
    plain = auc_difference(score, placebo, label, person)
    alike = auc_difference(score, placebo, label, person, recalibrated=(moved, moved))
    assert alike.interval == pytest.approx(plain.interval)
    one = auc_difference(score, placebo, label, person, recalibrated=(moved, None))
    apart = auc_difference(score, placebo, label, person, recalibrated=(moved, -moved))  # areas a and 1 - a: twice as far
    assert apart.upper - apart.lower > one.upper - one.lower > plain.upper - plain.lower
    edge = auc_difference(label, placebo, label, person, recalibrated=(None, moved))
    joined, own = auc_clustered(placebo, label, person, recalibrated=moved), auc_clustered(label, label, person)
    assert edge.lower == pytest.approx(edge.estimate - np.hypot(1 - own.lower, joined.upper - joined.estimate))


@pytest.mark.parametrize('bad', [np.zeros(4), np.zeros((1, 4)), np.zeros((3, 5)), np.full((2, 4), np.nan)])
def test_bad_recalibrated_scores_are_refused(bad):
    with pytest.raises(ValueError, match='recalibrated scores'):
        auc_clustered(np.arange(4), [1, 0, 1, 0], np.arange(4), recalibrated=bad)


def test_roc_is_scikit_learns():
    score, label, _ = audit(6, 20)
    score = score.round(1)
    fpr, tpr, threshold = roc(score, label)
    ours = dict(zip(threshold, zip(fpr, tpr, strict=True), strict=True))
    for f, t, at in itertools.islice(zip(*roc_curve(label, score, drop_intermediate=False), strict=True), 1, None):
        assert ours[at] == pytest.approx((f, t))
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)


def test_words_about_a_recipe_need_three_victims():
    rates = [Rate(a, (a - 0.1, a + 0.1), 0.5, 100, 10) for a in (0.6, 0.7, 0.8)]
    mean = over_victims(rates)
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert mean.interval == pytest.approx((0.7 - half, 0.7 + half)) and (mean.n, mean.n_people) == (300, 30)
    high = over_victims([replace(rate, estimate=rate.estimate + 0.2, interval=(None, None)) for rate in rates])
    assert high.interval[1] == 1 and over_victims([Rate(a, (None, None), 0, 9, 3) for a in (0.9, -0.9, 0.9)]).lower == -1
    two = over_victims(rates[:2])
    assert two.interval == (None, None) and two.note.startswith('this run')


def test_a_rate_outside_its_interval_is_refused():
    with pytest.raises(ValueError, match='below'):
        Rate(0.4, (0.5, 0.6), 0.5, 10, 2)
    plain = Rate(np.float64(0.5), (np.float64(0.4), None), 0.5, np.int64(10), 2).as_dict()
    assert plain['interval'] == [0.4, None] and type(plain['n']) is int and type(plain['estimate']) is float


def test_draws_of_a_placebo_widen_its_interval():
    rates = [Rate(value, (value - 0.03, value + 0.03), 0.5, 10, 5) for value in (0.4, 0.6, 0.8)]
    found = over_draws(rates)
    half = np.hypot(4.302653 * 0.2 / np.sqrt(3), 0.03)
    assert found.estimate == pytest.approx(0.6) and found.interval == pytest.approx((0.6 - half, 1), abs=1e-6)
    assert draws_variance(rates) == pytest.approx(0.2**2 / 3)
    assert found.p == pytest.approx(stats.t.sf(0.1 * 4.302653 / half, 2), rel=1e-5) and found.n == 10
    same = over_draws([replace(rates[0], chance=0.0)] * 3)
    assert same.interval == pytest.approx((0.37, 0.43)) and same.chance == 0.0 and same.p < 0.01
    turned = [replace(rate, estimate=1 - rate.estimate, interval=(0.0, 1.0)) for rate in rates]
    assert over_draws(turned).p > 0.5, 'one-sided'
    assert over_draws([*rates, replace(rates[0], interval=(None, None))]).interval == (None, None), 'proves nothing'
    with pytest.raises(ValueError, match='three are needed'):
        over_draws(rates[:2])
