"""Ranks and choices against loops, copied people and exhaustive permutations; CMC against pyeer; the open set by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from fpray.metrics.identification import (
    choice_auc,
    choice_auc_difference,
    cmc,
    detectable_choice_auc,
    detectable_rank_auc,
    gallery,
    nonmate_scores,
    open_set,
    permuted_choice_auc,
    permuted_rank_auc,
    rank_auc,
    rank_auc_difference,
    rank_n,
)
from fpray.metrics.people import resampled
from fpray.metrics.verification import threshold_at_fmr


def searched(people=8, fingers=2, probes=2, references=3, shift=1.0, seed=0, digits=6):
    """Similarities and names of a search: probes, references, persons and fingers (named alike across people)."""
    rng = np.random.default_rng(seed)
    names = [(f'p{p}', f'f{f}') for p in range(people) for f in range(fingers)]
    probe = [name for name in names for _ in range(probes)]
    ref = [name for name in names for _ in range(references)]
    person, theirs = (np.array([x[0] for x in side]) for side in (probe, ref))
    identity, their = (np.array([x[1] for x in side]) for side in (probe, ref))
    own = (person[:, None] == theirs) & (identity[:, None] == their)
    s = (rng.normal(size=own.shape) + shift * own).round(digits)
    return s, person, theirs, identity, their


def by_loops(s, person, theirs, identity, their, weight=None):
    """The area, probe by probe and pair by pair; people count as often as their weight says."""
    weight = dict.fromkeys(np.unique(theirs), 1) if weight is None else weight
    total = count = 0.0
    for a in range(len(s)):
        own = [r for r in range(len(theirs)) if theirs[r] == person[a] and their[r] == identity[a]]
        wins = pairs = 0.0
        for r in range(len(theirs)):
            if theirs[r] != person[a]:
                w = weight[theirs[r]]
                wins += w * np.mean([(s[a, o] > s[a, r]) + 0.5 * (s[a, o] == s[a, r]) for o in own])
                pairs += w
        if weight[person[a]]:
            total += weight[person[a]] * wins / pairs
            count += weight[person[a]]
    return total / count


@pytest.mark.parametrize('digits', [6, 0])
def test_rank_auc_is_the_share_of_others_below_ones_own(digits):
    s, *names = searched(digits=digits)
    identities = {'probe_identity': names[2], 'ref_identity': names[3]}
    assert rank_auc(gallery(s, *names[:2], **identities), 0, 50).estimate == pytest.approx(by_loops(s, *names), abs=1e-12)
    whole = rank_auc(gallery(s, *names[:2]), 0, 50)  # every finger of the person is its own then
    blank = np.full(len(names[2]), ''), np.full(len(names[3]), '')
    assert whole.estimate == pytest.approx(by_loops(s, *names[:2], *blank), abs=1e-12)
    assert (whole.n, whole.n_people, whole.chance) == (32, 8, 0.5)


def test_rank_bootstrap_is_that_of_copied_people():
    s, *names = searched(people=5, digits=1)
    weights = resampled(np.zeros(5), 200, 7)
    people = np.unique(names[1])
    drawn = [by_loops(s, *names, dict(zip(people, w, strict=True))) for w in weights[1:] if (w > 0).sum() > 1]
    rate = rank_auc(gallery(s, *names), 7, 200)
    half = stats.t.ppf(0.975, 4) * np.std(drawn) * np.sqrt(5 / 4) / (rate.estimate * (1 - rate.estimate))
    logit = np.log(rate.estimate / (1 - rate.estimate))
    assert rate.interval == pytest.approx(1 / (1 + np.exp(-(logit + np.array([-half, half])))), abs=1e-9)


def test_rank_p_and_null_agree_with_all_assignments():
    s, *names = searched(people=5, fingers=1, shift=0.4, seed=3)
    people = np.unique(names[1])
    every = []
    for order in itertools.permutations(people):
        taken = dict(zip(people, order, strict=True))
        every.append(by_loops(s, np.array([taken[p] for p in names[0]]), *names[1:]))
    rate = rank_auc(gallery(s, *names[:2]), 0, 50)
    assert rate.p == pytest.approx(np.mean(np.array(every) >= rate.estimate - 1e-12), abs=0.02)
    null = permuted_rank_auc(gallery(s, *names[:2]), 0)
    assert null.estimate == pytest.approx(np.mean(every), abs=0.005) and null.chance == 0.5
    assert null.interval == pytest.approx(np.quantile(every, (0.025, 0.975)), abs=0.02)
    assert np.mean(every) == pytest.approx(0.5, abs=0.01)


def test_a_picture_that_knows_nothing_of_the_person_has_one_half():
    """One mean image for everybody: all rows are equal, and what favours one person costs another."""
    s, *names = searched(fingers=1)
    same = np.tile(s[0], (len(s), 1))
    rate = rank_auc(gallery(same, *names[:2]), 0, 200)
    assert rate.estimate == pytest.approx(0.5) and rate.lower < 0.5 < rate.upper and rate.p > 0.4
    flat = rank_auc(gallery(np.zeros_like(s), *names[:2]), 0, 200)
    assert (flat.estimate, flat.interval) == (0.5, (None, None)) and flat.p == 1


def test_perfect_ranks_are_as_sure_as_their_people_are_many():
    s, *names = searched(fingers=1, shift=50)
    edge = 0.025 ** (1 / 8)
    assert rank_auc(gallery(s, *names[:2]), 0, 50).interval == pytest.approx((edge, 1))
    assert rank_auc(gallery(-s, *names[:2]), 0, 50).interval == pytest.approx((0, 1 - edge))
    difference = rank_auc_difference(gallery(s, *names[:2]), gallery(-s, *names[:2]), 0, 50)
    assert difference.estimate == 1 and difference.interval == pytest.approx((1 - np.hypot(1 - edge, 1 - edge), 1))


def test_rank_difference_is_paired_by_person():
    s, *names = searched(people=20, fingers=1)
    noise = np.random.default_rng(9).normal(0, 0.05, s.shape)
    search, close, apart = (gallery(x, *names[:2]) for x in (s, s + noise, searched(20, 1, seed=5)[0]))
    near, far = (rank_auc_difference(search, other, 0, 200) for other in (close, apart))
    a, b = (rank_auc(x, 0, 50).estimate for x in (search, close))
    assert near.estimate == pytest.approx(a - b) and near.chance == 0
    assert near.upper - near.lower < 0.3 * (far.upper - far.lower)
    nothing = rank_auc_difference(search, gallery(searched(20, 1, shift=0, seed=6)[0], *names[:2]), 0, 200)
    assert nothing.lower > 0  # an attack against a placebo that knows nothing


def test_further_people_among_the_references_are_others_only():
    s, *names = searched(people=8, fingers=1)
    probes = np.isin(names[0], ['p0', 'p1', 'p2', 'p3'])
    rate = rank_auc(gallery(s[probes], names[0][probes], names[1]), 0, 100)
    assert rate.estimate == pytest.approx(by_loops(s[probes], names[0][probes], names[1], names[2][probes], names[3]))
    assert rate.n_people == 4 and rate.p is not None
    with pytest.raises(ValueError, match='no reference of their own'):
        rank_auc(gallery(s, names[0], np.where(names[1] == 'p0', 'x', names[1])), 0)
    with pytest.raises(ValueError, match='one person only'):
        rank_auc(gallery(s[names[0] == 'p0'][:, :3], names[0][names[0] == 'p0'], names[1][:3]), 0)


def test_people_with_unequal_numbers_of_fingers_are_permuted_too():
    s, *names = searched(people=6, fingers=2)
    probe, ref = (~((p == 'p0') & (f == 'f1')) for p, f in ((names[0], names[2]), (names[1], names[3])))
    cut = s[probe][:, ref], names[0][probe], names[1][ref]
    null = permuted_rank_auc(gallery(*cut, names[2][probe], names[3][ref]), 0)
    assert null.lower < 0.5 < null.upper and null.n_people == 6


def test_sizes_and_numbers_are_checked():
    s, *names = searched()
    with pytest.raises(ValueError, match='do not fit'):
        gallery(s, names[0][:-1], names[1])
    with pytest.raises(ValueError, match='or of neither'):
        gallery(s, names[0], names[1], probe_identity=names[2])
    with pytest.raises(ValueError, match='not finite'):
        gallery(np.where(s > 2, np.nan, s), names[0], names[1])


@pytest.mark.parametrize('kind', ['rank', 'choice'])
def test_the_smallest_detectable_is_quantiles_of_t_times_the_permutations_deviation(kind):
    if kind == 'rank':
        s, *names = searched(people=20, fingers=1, shift=0)
        other = gallery(np.random.default_rng(4).normal(size=s.shape), *names[:2])
        data, find, null = (gallery(s, *names[:2]), 0), detectable_rank_auc, permuted_rank_auc
    else:
        data = (*choices(20, 0)[0:3], 0)
        other = np.random.default_rng(4).normal(size=np.shape(data[0]))
        find, null = detectable_choice_auc, permuted_choice_auc
    smallest, spread = find(*data), null(*data)
    sd = (spread.upper - spread.lower) / (2 * stats.norm.ppf(0.975))
    expected = 0.5 + sum(stats.t.ppf((0.975, 0.8), 19)) * sd
    assert smallest.estimate == pytest.approx(expected, abs=0.02) and smallest.interval == (None, None)
    other = [other] if kind == 'rank' else other
    beside = find(*data, placebo=other)
    assert beside.estimate > smallest.estimate
    assert find(*data, placebo=other, spread=0.05**2).estimate > beside.estimate, 'draws of a placebo differ'
    assert find(*data, power=0.95).estimate > smallest.estimate
    assert (smallest.n, smallest.n_people) == (spread.n, 20)


# Choices ----------------------------------------------------------------------------------------------------------


def choices(people, shift, k=4, seed=0, digits=6):
    """Scores of k candidates, the right one, the person: each person's vectors by each network, twice."""
    rng = np.random.default_rng(seed)
    person, right = np.repeat(np.arange(people), 2 * k), np.tile(np.arange(k), 2 * people)
    scores = rng.normal(size=(len(person), k)) + 0.5 * rng.normal(size=(people, k))[person]
    scores[np.arange(len(right)), right] += shift
    return scores.round(digits), right, person


@pytest.mark.parametrize('digits', [6, 0])
def test_choice_auc_is_the_share_of_wrong_candidates_below(digits):
    scores, right, person = choices(15, 1, digits=digits)
    value = [np.mean([(row[r] > row[c]) + 0.5 * (row[r] == row[c]) for c in range(4) if c != r])
             for row, r in zip(scores, right, strict=True)]
    rate = choice_auc(scores, right, person, 0)
    assert rate.estimate == pytest.approx(np.mean(value)) and (rate.n, rate.n_people, rate.chance) == (120, 15, 0.5)
    means = np.bincount(person, value) / np.bincount(person)  # equally many rows: a t interval of people's means
    half = stats.t.ppf(0.975, 14) * means.std(ddof=1) / np.sqrt(15) / (rate.estimate * (1 - rate.estimate))
    logit = np.log(rate.estimate / (1 - rate.estimate))
    assert rate.interval == pytest.approx(1 / (1 + np.exp(-(logit + np.array([-half, half])))), abs=1e-9)


def test_of_two_candidates_it_is_the_accuracy():
    scores, right, person = choices(10, 0.5, k=2)
    assert choice_auc(scores, right, person, 0).estimate == pytest.approx((scores.argmax(axis=1) == right).mean())


def test_choice_p_and_null_agree_with_all_renamings():
    scores, right, person = choices(3, 0.8, k=3, seed=2)
    values = (stats.rankdata(scores, axis=1) - 1) / 2
    every = [np.mean([values[i, names[person[i]][right[i]]] for i in range(len(right))])
             for names in itertools.product(itertools.permutations(range(3)), repeat=3)]
    rate, null = choice_auc(scores, right, person, 0), permuted_choice_auc(scores, right, person, 0)
    assert rate.p == pytest.approx(np.mean(np.array(every) >= rate.estimate - 1e-12), abs=0.015)
    assert null.estimate == pytest.approx(0.5, abs=0.005) and np.mean(every) == pytest.approx(0.5)
    assert null.interval == pytest.approx(np.quantile(every, (0.025, 0.975)), abs=0.02)


def test_a_classifier_that_always_says_the_same_knows_nothing():
    _, right, person = choices(12, 0)
    rate = choice_auc(np.tile([4.0, 3.0, 2.0, 1.0], (len(right), 1)), right, person, 0)
    assert rate.estimate == 0.5 and rate.p > 0.4


def test_perfect_choices_are_as_sure_as_their_people_are_many():
    scores, right, person = choices(15, 99)
    edge = 0.025 ** (1 / 15)
    assert choice_auc(scores, right, person, 0).interval == pytest.approx((edge, 1))
    against = choice_auc_difference(scores, choices(15, 0, seed=1)[0], right, person)
    assert against.estimate == pytest.approx(0.5, abs=0.1) and 0 < against.lower < against.estimate
    ruled_out = np.where(scores < np.sort(scores, axis=1)[:, [-2]], -np.inf, scores)
    assert choice_auc(ruled_out, right, person, 0).estimate == 1


def test_choice_difference_is_a_paired_t_over_people():
    (a, right, person), (b, _, _) = choices(15, 1), choices(15, 0.5, seed=3)
    value = [((stats.rankdata(s, axis=1) - 1) / 3)[np.arange(len(right)), right] for s in (a, b)]
    means = np.bincount(person, value[0] - value[1]) / 8
    rate = choice_auc_difference(a, b, right, person)
    expected = stats.t.interval(0.95, 14, means.mean(), stats.sem(means))
    assert rate.estimate == pytest.approx(means.mean()) and rate.interval == pytest.approx(expected) and rate.chance == 0


def test_choices_are_checked():
    scores, right, person = choices(5, 0)
    with pytest.raises(ValueError, match='NaN'):
        choice_auc(np.where(scores > 1, np.nan, scores), right, person, 0)
    with pytest.raises(ValueError, match='between 0 and 3'):
        choice_auc(scores, right + 1, person, 0)
    with pytest.raises(ValueError, match='k >= 2'):
        choice_auc(scores[:, :1], right, person, 0)
    with pytest.raises(ValueError, match='one person a row'):
        choice_auc(scores, right, person[1:], 0)


# CMC and the open set ---------------------------------------------------------------------------------------------


def test_cmc_is_pyeers():
    pyeer = pytest.importorskip('pyeer.cmc_stats')
    s, *names = searched(people=12, fingers=1, references=1)
    listed = {a: ([names[0][a]], sorted(zip(names[1], s[a], strict=True), key=lambda x: -x[1])) for a in range(len(s))}
    assert cmc(gallery(s, *names[:2]), 6) == pytest.approx(pyeer.get_cmc_curve(listed, 6), abs=1e-6)
    curve = cmc(gallery(s, *names[:2]))
    assert len(curve) == 12 and curve[-1] == 1 and (np.diff(curve) >= 0).all()


def test_ties_count_their_expectation():
    s = np.array([[1.0, 1, 1, 0], [2, 1, 1, 0]])
    search = gallery(s, ['a', 'b'], ['a', 'b', 'c', 'd'])
    assert cmc(search) == pytest.approx([(1 / 3 + 0) / 2, (2 / 3 + 1 / 2) / 2, 1, 1])
    rate = rank_n(search, 1, 0)
    assert rate.estimate == pytest.approx(1 / 6) and rate.chance == 0.25


def test_several_references_of_an_identity_are_one_entry():
    s, *names = searched(people=10, fingers=2)
    search = gallery(s, *names)
    keys = np.char.add(names[1], names[3])
    best = np.stack([s[:, keys == key].max(axis=1) for key in np.unique(keys)], axis=1)
    first = np.unique(keys)[best.argmax(axis=1)] == np.char.add(names[0], names[2])
    rate = rank_n(search, 1, 0)
    assert rate.estimate == pytest.approx(first.mean()) and rate.chance == 1 / 20 and rate.n_people == 10


def test_open_set_by_hand():
    s = np.array([[9.0, 1, 2], [1, 2, 7], [8, 1, 3]])  # the second fails, the third is not enrolled
    search = gallery(s, ['a', 'b', 'z'], ['a', 'b', 'c'])
    rates = open_set(search, 5.0, 0)
    assert rates['fpir'].estimate == pytest.approx(2 / 3)  # b finds c, z finds a; a without a finds nobody
    assert rates['fnir'].estimate == 0.5 and rates['fnir'].n == 2 and '3 identities' in rates['fnir'].note
    assert open_set(search, 1.5, 0)['fnir'].estimate == 0
    assert open_set(search, 1.5, 0, rank=1)['fnir'].estimate == 0.5  # b is only second
    assert 'fnir' not in open_set(gallery(s, ['x', 'y', 'z'], ['a', 'b', 'c']), 5.0, 0)
    scores, person = nonmate_scores(search)
    assert scores.tolist() == [2, 7, 8] and len(np.unique(person)) == 3


def test_a_threshold_on_nonmates_has_its_fpir():
    s, *names = searched(people=60, fingers=1, shift=4)
    search = gallery(s, *names[:2])
    at = threshold_at_fmr(nonmate_scores(search)[0], 0.1)
    assert open_set(search, at.value, 0)['fpir'].estimate == pytest.approx(at.fmr) == pytest.approx(0.1, abs=0.01)
