"""Error rates against pyeer, closed forms of two normals, copied people, and counting by hand."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

from fpray.metrics.membership import auc
from fpray.metrics.people import resampled
from fpray.metrics.rate import Rate
from fpray.metrics.verification import (
    Comparisons,
    acceptance,
    any_of,
    d_prime,
    equal_error,
    error_curve,
    failure_to_acquire,
    far_frr,
    rates_at,
    tar_at_fmr,
    threshold_at_fmr,
)


def compared(people=12, pictures=3, shift=2.0, seed=0, digits=6):
    """Similarities of all pairs of pictures, and the pairs; people resemble others more or less."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), pictures)
    i, j = np.triu_indices(len(person), 1)
    genuine = person[i] == person[j]
    own = rng.normal(0, 0.4, people)
    scores = own[person[i]] + own[person[j]] + rng.normal(size=len(i)) + shift * genuine
    return scores.round(digits), Comparisons(genuine, np.stack([person[i], person[j]], axis=1).astype(str))


@pytest.mark.parametrize('digits', [6, 1, 0])  # from no ties to nothing but ties
@pytest.mark.parametrize('shift', [0.5, 1.5, 9.0])
def test_error_rates_are_pyeers(digits, shift):
    pyeer = pytest.importorskip('pyeer.eer_stats')
    rng = np.random.default_rng((digits, int(shift)))
    genuine, impostor = rng.normal(shift, 1, 137).round(digits), rng.normal(0, 1.3, 411).round(digits)
    threshold, fmr, fnmr = pyeer.calculate_roc(genuine.tolist(), impostor.tolist())
    ours = error_curve(genuine, impostor)
    for mine, theirs in ((ours.threshold, threshold), (ours.fmr, fmr), (ours.fnmr, fnmr)):
        assert mine[:-1] == pytest.approx(np.asarray(theirs), abs=1e-6)  # they stop at the highest similarity
    assert equal_error(genuine, impostor)[0] == pytest.approx(pyeer.get_eer_values(fmr, fnmr)[3], abs=1e-6)
    moments = genuine.mean(), genuine.std(), impostor.mean(), impostor.std()
    assert d_prime(genuine, impostor) == pytest.approx(pyeer.get_decidability_value(*moments), abs=1e-6)
    x, tar = ours.roc()
    assert trapezoid(tar[1:], x[1:]) == pytest.approx(pyeer.calculate_roc_auc(fmr, fnmr), abs=1e-6)
    assert trapezoid(tar, x) == pytest.approx(auc(np.append(genuine, impostor), np.arange(548) < 137), abs=1e-9)


def test_det_of_two_normals_is_a_line_of_slope_minus_one():
    quantiles = stats.norm.ppf((np.arange(4_000) + 0.5) / 4_000)
    x, y = error_curve(quantiles + 2, quantiles).det()
    middle = (np.abs(x) < 2) & (np.abs(y) < 2)
    assert np.polyfit(x[middle], y[middle], 1) == pytest.approx([-1, -2], abs=0.01)
    assert d_prime(quantiles + 2, quantiles) == pytest.approx(2, abs=0.01)
    assert d_prime(quantiles, quantiles + 2) < 0 and d_prime([1, 1], [0, 0]) == np.inf


def test_a_thinned_curve_is_part_of_the_curve_and_keeps_its_ends():
    scores, pairs = compared(30)
    full = error_curve(scores[pairs.genuine], scores[~pairs.genuine])
    thin = full.thinned(40)
    assert 20 < len(thin.fmr) <= 40 < len(full.fmr)
    assert (thin.fmr[0], thin.fnmr[0], thin.fmr[-1], thin.fnmr[-1]) == (1, 0, 0, 1)
    at = np.searchsorted(full.threshold, thin.threshold)
    assert (full.fmr[at] == thin.fmr).all() and (full.fnmr[at] == thin.fnmr).all()
    assert len(error_curve([2.0], [1.0]).thinned().fmr) == 3


def copied_out(accepted, pairs, weight):
    """TAR and FMR where person p is copied weight[p] times, pair by pair; copies of one person are no impostors."""
    hits, total = np.zeros(2), np.zeros(2)
    for ok, genuine, (a, b) in zip(accepted, pairs.genuine, pairs.people.astype(int), strict=True):
        if genuine:
            for _ in range(int(weight[a])):
                hits[0], total[0] = hits[0] + ok, total[0] + 1
        elif a != b:
            for _ in range(int(weight[a])):
                for _ in range(int(weight[b])):
                    hits[1], total[1] = hits[1] + ok, total[1] + 1
    return hits / total


def test_rates_of_weighted_pairs_are_those_of_copied_people():
    scores, pairs = compared(6)
    pairs.people[3] = pairs.people[0]  # an impostor pair of two fingers of one person now
    pairs.genuine[3] = False
    weights = resampled(np.zeros(6), 40, 5)
    again = np.array([copied_out(scores >= 1, pairs, w) for w in weights])
    rates = rates_at(scores, pairs, 1.0, seed=5, draws=40)
    for name, drawn in zip(('tar', 'fmr'), again.T, strict=True):
        rate = rates[name]
        assert rate.estimate == pytest.approx(drawn[0], abs=1e-12)
        tail = stats.norm.sf(np.sqrt(6 / 5) * stats.t.ppf(0.975, 5))
        assert rate.interval == pytest.approx(np.quantile(drawn[1:], (tail, 1 - tail)), abs=1e-12)


def test_rates_at_a_threshold_by_counting():
    scores, pairs = compared()
    rates = rates_at(scores, pairs, 1.2, draws=200)
    genuine, impostor = scores[pairs.genuine], scores[~pairs.genuine]
    assert rates['tar'].estimate == pytest.approx((genuine >= 1.2).mean())
    assert rates['fmr'].estimate == rates['tar'].chance == pytest.approx((impostor >= 1.2).mean())
    assert rates['fnmr'].estimate == pytest.approx(1 - rates['tar'].estimate)
    assert rates['fnmr'].interval == pytest.approx([1 - b for b in rates['tar'].interval[::-1]])
    assert (rates['tar'].n, rates['fmr'].n, rates['fmr'].n_people) == (36, 594, 12)


def test_rates_of_zero_and_one_have_the_exact_bound_of_the_people():
    _, pairs = compared()
    rates = rates_at(np.where(pairs.genuine, 1.0, 0.0), pairs, 0.5)
    assert rates['tar'].interval == pytest.approx((0.025 ** (1 / 12), 1))
    assert rates['fmr'].interval == rates['fnmr'].interval == pytest.approx((0, 1 - 0.025 ** (1 / 12)))


def test_one_side_alone_has_no_rates():
    scores, pairs = compared()
    genuine = pairs.genuine
    for kept in (genuine, ~genuine):
        with pytest.raises(ValueError, match='genuine and impostor'):
            rates_at(scores[kept], Comparisons(genuine[kept], pairs.people[kept]), 0.0)
    with pytest.raises(ValueError, match='not finite'):
        rates_at(np.where(genuine, np.nan, scores), pairs, 0.0)
    with pytest.raises(ValueError, match='genuine and impostor'):
        error_curve([], [1.0])


def test_tar_at_an_fmr_of_other_people_or_the_smallest_that_they_resolve():
    others, other_pairs = compared(40, seed=1)
    side = ~other_pairs.genuine
    scores, pairs = compared(20, seed=2)
    at = threshold_at_fmr(others[side], 0.02, other_pairs.people[side])
    tar = tar_at_fmr(scores, pairs, 0.02, at)
    assert tar.estimate == pytest.approx((scores[pairs.genuine] >= at.value).mean())
    assert (tar.chance, tar.n, tar.n_people) == (0.02, 60, 20) and tar.lower < tar.estimate < tar.upper
    fine = threshold_at_fmr(others[side], 0.001, other_pairs.people[side])
    hidden = tar_at_fmr(scores, pairs, 0.001, fine)
    assert (hidden.estimate, hidden.interval) == (None, (None, None))
    assert f'{fine.false_matches} false matches' in hidden.note and f'{fine.smallest:.2%}' in hidden.note
    assert fine.smallest == pytest.approx(30 / side.sum())
    again = threshold_at_fmr(others[side], fine.smallest, other_pairs.people[side])
    assert again.resolvable and again.false_matches == 30
    assert not threshold_at_fmr(others[side], fine.smallest - 1e-4, other_pairs.people[side]).resolvable
    assert 'none is' in tar_at_fmr(scores, pairs, 0.02, threshold_at_fmr(others[side], 0.02)).note


def attempts(passes, strangers, people=20, references=2, seed=0):
    """Similarities of one reconstruction a person to everybody's references; this many people pass as themselves."""
    rng = np.random.default_rng(seed)
    a, b = (x.ravel() for x in np.meshgrid(np.arange(people), np.repeat(np.arange(people), references), indexing='ij'))
    s = np.where(a == b, a < passes, rng.random(len(a)) < strangers).astype(float)
    return s, a, b


def test_acceptance_counts_own_references_and_those_of_strangers():
    s, accepted, reference = attempts(15, 0.1)
    rates = acceptance(s, accepted, reference, 0.5)
    strangers = s[accepted != reference].mean()
    assert rates['own'].estimate == 0.75 and rates['own'].chance == rates['strangers'].estimate == pytest.approx(strangers)
    assert rates['difference'].estimate == pytest.approx(0.75 - strangers) and rates['difference'].chance == 0
    assert rates['difference'].lower > 0.4 and rates['own'].upper < 1
    assert (rates['own'].n, rates['strangers'].n, rates['own'].n_people) == (40, 760, 20)


def test_an_acceptance_of_chance_is_no_difference():
    s, accepted, reference = attempts(0, 0.3)
    rng = np.random.default_rng(3)
    rates = acceptance(rng.random(len(s)), accepted, reference, 0.7)
    assert rates['difference'].lower < 0 < rates['difference'].upper


def test_a_perfect_acceptance_is_as_sure_as_its_people_are_many():
    s, accepted, reference = attempts(20, 0.0)
    rates = acceptance(s, accepted, reference, 0.5)
    edge = 0.025 ** (1 / 20)
    assert rates['own'].interval == pytest.approx((edge, 1)) and rates['strangers'].interval == pytest.approx((0, 1 - edge))
    assert rates['difference'].interval == pytest.approx((1 - np.hypot(1 - edge, 1 - edge), 1))


def test_other_fingers_of_the_person_count_on_neither_side():
    s, accepted, reference = attempts(15, 0.1)
    own = (accepted == reference) & (np.arange(len(s)) % 2 == 0)
    rates = acceptance(s, accepted, reference, 0.5, own=own)
    assert (rates['own'].n, rates['strangers'].n) == (20, 760)
    with pytest.raises(ValueError, match='own references'):
        acceptance(s[own], accepted[own], reference[own], 0.5)


def test_far_and_frr_follow_from_fmr_fnmr_and_fta():
    """ISO/IEC 19795-1: FAR = FMR (1 - FTA), FRR = FTA + FNMR (1 - FTA), the FTA being that of either kind of attempt."""
    scores, pairs = compared()
    taken = np.tile([True, True, False], len(scores) // 3)
    far_frr_ = far_frr(np.where(taken, scores, np.nan), pairs, 1.0, taken, draws=50)
    for kept, name, formula in (
        (pairs.genuine, 'frr', lambda fta, good: fta + (good < 1).mean() * (1 - fta)),
        (~pairs.genuine, 'far', lambda fta, good: (good >= 1).mean() * (1 - fta)),
    ):
        expected = formula(1 - taken[kept].mean(), scores[kept & taken])
        assert far_frr_[name].estimate == pytest.approx(expected)
    rate = failure_to_acquire([0.1, 0.9, np.nan, 0.5], ['a', 'a', 'b', 'c'], 0.5)
    assert rate.estimate == 0.5 and rate.n_people == 3 and 'under 0.5' in rate.note


def test_any_of_several_is_the_largest_and_helps_strangers_too():
    rng = np.random.default_rng(0)
    group = np.arange(200) % 40
    best, first = any_of(rng.random((200, 40)), group)
    assert best.shape == (40, 40) and group[first].tolist() == sorted(map(int, range(40)), key=str)
    assert (best > 0.9).mean() == pytest.approx(1 - 0.9**5, abs=0.03)
    s = rng.random((6, 3))
    assert any_of(s, list('bababa'))[0].tolist() == [s[[1, 3, 5]].max(axis=0).tolist(), s[[0, 2, 4]].max(axis=0).tolist()]


def test_the_draws_are_those_of_the_seed():
    scores, pairs = compared()
    assert rates_at(scores, pairs, 1.0, seed=3) == rates_at(scores, pairs, 1.0, seed=3)
    assert rates_at(scores, pairs, 1.0, seed=3)['fmr'].interval != rates_at(scores, pairs, 1.0, seed=4)['fmr'].interval
    assert isinstance(rates_at(scores, pairs, 1.0)['fmr'], Rate)
