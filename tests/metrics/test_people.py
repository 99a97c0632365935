"""Permutation and resampling of people against exhaustive enumeration, Holm by hand, max-T, detectable leaks, ICC."""

import itertools

import numpy as np
import pytest
from scipy import stats

from fpray.metrics import people
from fpray.metrics.membership import auc, auc_clustered, auc_difference

SIZES = np.array([1, 4, 2, 3, 1, 2, 5, 3])  # unequal numbers of pictures
PERSON = np.repeat(np.arange(8), SIZES)
SIDES = np.array([1, 1, 1, 0, 0, 0, 0, 1], bool)


def noise(seed, n=None):
    return np.random.default_rng(seed).normal(size=len(PERSON) if n is None else n)


def test_permutation_p_agrees_with_all_seventy_changes_of_sides():
    score, label = noise(0) + SIDES[PERSON], SIDES[PERSON]
    every = [auc(score, np.isin(PERSON, chosen)) for chosen in itertools.combinations(range(8), 4)]
    exact = np.mean(np.array(every) >= auc(score, label) - 1e-12)
    assert people.permutation_p(score, label, PERSON, 0) == pytest.approx(exact, abs=0.02)
    away = np.mean(np.abs(np.array(every) - 0.5) >= abs(auc(score, label) - 0.5) - 1e-12)
    assert people.permutation_p(score, label, PERSON, 0, two_sided=True) == pytest.approx(away, abs=0.02)
    null = people.permuted_null(score, label, PERSON, 0)
    assert null.estimate == pytest.approx(np.mean(every), abs=0.01)
    assert null.interval == pytest.approx(np.quantile(every, (0.025, 0.975)), abs=0.04)


def test_people_on_both_sides_swap_their_pictures():
    person = np.repeat(np.arange(8), 6)
    label = np.tile([1, 1, 1, 0, 0, 0], 8).astype(bool)
    score = noise(1, 48) + 0.5 * label
    every = [auc(score, label ^ np.repeat(swap, 6)) for swap in itertools.product((False, True), repeat=8)]
    exact = np.mean(np.array(every) >= auc(score, label) - 1e-12)
    assert people.permutation_p(score, label, person, 0) == pytest.approx(exact, abs=0.02)


def test_fast_permuted_auc_is_the_auc_of_permuted_labels():
    """One person on both sides among people on one: labels rebuilt picture by picture."""
    label = SIDES[PERSON].copy()
    label[1] = False  # person 1 has pictures on both sides
    data = people.sample(noise(2).round(1), label, PERSON)
    sides = people.permuted_sides(data, people.permutation_keys(8, 50, 0))
    labels = people.permuted_labels(data, sides)
    assert people.permuted_auc(data, sides) == pytest.approx([auc(data.score, row) for row in labels])
    assert people.permuted_labels(data, people.observed_sides(data))[0].tolist() == label.tolist()
    assert (labels.any(axis=1) & ~labels.all(axis=1)).all()
    kept = labels[:, PERSON == 1]
    assert {tuple(row) for row in kept} == {(False, True, True, True), (True, False, False, False)}


def test_bootstrap_draws_people_within_their_side():
    data = people.sample(noise(0), SIDES[PERSON], PERSON)
    weights = people.bootstrap_weights(data, 4_000, 0)
    assert (weights[:, SIDES].sum(axis=1) == 4).all() and (weights[:, ~SIDES].sum(axis=1) == 4).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(8), abs=0.06)
    assert weights.var(axis=0) == pytest.approx(np.full(8, 0.75), abs=0.08)  # binomial(4, 1/4)


def test_holm_by_hand():
    assert people.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert people.holm([0.6, 0.9]) == [1.0, 1.0]


def test_max_t_of_one_entry_is_its_own_p_and_copies_cost_nothing():
    label = SIDES[PERSON]
    score = noise(0) + label
    alone = people.max_t({'a': (score, label, PERSON)}, 0)['a']
    assert alone == pytest.approx(people.permutation_p(score, label, PERSON, 0))
    copies = people.max_t({f'{i}': (score, label, PERSON) for i in range(9)}, 0)
    assert set(copies.values()) == {alone}  # where Holm would multiply by nine


def test_max_t_pays_for_independent_entries_and_keeps_the_planted_one():
    person = np.arange(60)
    label = person < 30
    family = {f'{i}': (noise(i, 60), label, person) for i in range(8)}
    family['planted'] = (noise(9, 60) + 2 * label, label, person)
    family['constant'] = (np.zeros(60), label, person)
    adjusted = people.max_t(family, 0)
    single = {name: people.permutation_p(*entry, 0) for name, entry in family.items()}
    assert adjusted['planted'] < 0.001
    assert all(adjusted[name] >= single[name] - 0.02 for name in family)
    best = min((n for n in family if n != 'planted'), key=lambda n: single[n])
    assert adjusted[best] == pytest.approx(1 - (1 - single[best]) ** 8, abs=0.1)  # Sidak, of what is left


def test_max_t_of_other_sizes_and_contrasts():
    big, small = np.arange(40), np.arange(10, 30)
    both = np.repeat(np.arange(20), 2)
    family = {
        'mia': (noise(1, 40) + 2 * (big < 20), big < 20, big),
        'smaller': (noise(2, 20), small < 20, small),
        'memorisation': (noise(3, 40) + 2 * (np.arange(40) % 2), np.arange(40) % 2, both),
    }
    adjusted = people.max_t(family, 0)
    assert adjusted['mia'] < 0.01 and adjusted['memorisation'] < 0.01 and adjusted['smaller'] > 0.05


def test_smallest_detectable_is_its_closed_form_for_one_picture_a_person():
    """Without ties the permutation variance of the AUC is (m + n + 1) / (12 m n)."""
    label = np.arange(60) < 30
    rate = people.smallest_detectable(noise(0, 60), label, np.arange(60), 0)
    spread = (61 / (12 * 30 * 30)) ** 0.5
    closed = 0.5 + (stats.t.ppf(0.975, 58) + stats.t.ppf(0.8, 58)) * spread
    assert rate.estimate == pytest.approx(closed, abs=0.005)
    assert rate.interval == (None, None) and 'for this attack' in rate.note


def test_smallest_detectable_holds_the_calibrations_variance():
    """Scores and their mirror as the two draws: areas a and 1 - a, whose variance is twice the permutations' on average."""
    label, score = np.arange(60) < 30, noise(0, 60)
    rate = people.smallest_detectable(score, label, np.arange(60), 0, recalibrated=([score, -score], None))
    spread = (61 / (12 * 30 * 30)) ** 0.5
    closed = 0.5 + (stats.t.ppf(0.975, 58) * 3**0.5 + stats.t.ppf(0.8, 58)) * spread
    assert rate.estimate == pytest.approx(closed, abs=0.015)
    other = noise(1, 60)
    fixed, alike, apart = (
        people.smallest_detectable(score, label, np.arange(60), 0, placebo=other, recalibrated=each).estimate
        for each in ((None, None), ([score, other], [score, other]), ([score, other], [other, score])))
    assert fixed < alike < apart  # alike: the attack's own interval alone is wider


def test_smallest_detectable_grows_with_the_placebo_and_vanishes_for_too_few():
    label = np.arange(40) < 20
    alone = people.smallest_detectable(noise(0, 40), label, np.arange(40), 0).estimate
    with_placebo = people.smallest_detectable(noise(0, 40), label, np.arange(40), 0, placebo=noise(1, 40)).estimate
    assert with_placebo > alone + 0.03
    few = people.smallest_detectable(noise(0, 6), np.arange(6) < 3, np.arange(6), 0)
    assert few.estimate is None and 'perfect' in few.note
    pair = people.smallest_detectable(noise(0, 2), np.arange(2) < 1, np.arange(2), 0)
    assert pair.estimate is None


@pytest.mark.slow
@pytest.mark.parametrize(('side', 'shared'), [(15, 0.3), (40, 0.6)])
def test_a_leak_of_the_detectable_size_is_found_in_four_of_five_audits(side, shared):
    """Attack and placebo scores share a person's effect; found as the verdict finds, both bounds."""
    rng, label, person = np.random.default_rng(side), np.arange(2 * side) < side, np.arange(2 * side)

    def pair():
        alike = rng.normal(size=2 * side)
        return (shared**0.5 * alike + (1 - shared) ** 0.5 * rng.normal(size=2 * side) for _ in range(2))

    sizes = []
    for seed in range(10):
        attack, placebo = pair()
        sizes.append(people.smallest_detectable(attack, label, person, seed, placebo=placebo).estimate)
    shift, found = 2**0.5 * stats.norm.ppf(np.mean(sizes)), 0
    for _ in range(500):
        attack, placebo = pair()
        attack = attack + shift * label
        seen = auc_clustered(attack, label, person).lower > 0.5
        found += seen and auc_difference(attack, placebo, label, person).lower > 0
    print(f'{side} people a side: AUC {np.mean(sizes):.3f} found in {found / 5:.1f} % of audits')
    assert 0.75 <= found / 500 <= 0.92
