"""Simulated studies of embeddings with a known truth: what is called 95 % must cover it, what is called 5 % must reject.

People differ in how alike they are to others and to themselves; the true rates follow from sums of normals.
"""

import numpy as np
import pytest
from scipy import stats

from fpray.metrics.classification import accuracy, seen
from fpray.metrics.identification import choice_auc, detectable_rank_auc, gallery, rank_auc, rank_auc_difference
from fpray.metrics.image import median_rate
from fpray.metrics.verification import Comparisons, acceptance, rates_at

STUDIES = 400
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def missed(rates, truth):
    """Percent of studies whose interval lies above, below the truth."""
    return np.array([100 * np.mean([r.lower > truth for r in rates]), 100 * np.mean([r.upper < truth for r in rates])])


def reconstructions(rng, people, shift, references=3):
    """Similarities of one reconstruction a person to everybody's references, of variance 1 a comparison."""
    theirs = np.repeat(np.arange(people), references)
    alike, pair = rng.normal(0, 0.5, people)[theirs], rng.normal(0, 0.5, (people, people))[:, theirs]
    own = np.arange(people)[:, None] == theirs
    return alike + pair + rng.normal(0, 0.5**0.5, own.shape) + shift * own, np.arange(people), theirs


@pytest.mark.parametrize('people', [10, 20, 50])
@pytest.mark.parametrize('shift', [0.0, 1.0, 2.5])
def test_rank_auc_covers_and_its_p_holds(people, shift):
    rates = [rank_auc(gallery(*reconstructions(np.random.default_rng((i, people)), people, shift)), i, 400)
             for i in range(STUDIES)]
    miss = missed(rates, stats.norm.cdf(shift / 2**0.5))
    print(f'\n{people} people, AUC {stats.norm.cdf(shift / 2**0.5):.2f}: missed {miss} %')
    assert (miss <= 5).all() and miss.sum() <= 8
    if not shift:
        assert 2 <= 100 * np.mean([r.p <= 0.05 for r in rates]) <= 8


@pytest.mark.parametrize('people', [12, 40])
def test_attack_minus_placebo_covers(people):
    rates = []
    for i in range(STUDIES):
        rng = np.random.default_rng((i, people))
        attack, placebo = (gallery(*reconstructions(rng, people, shift)) for shift in (1.0, 0.0))
        rates.append(rank_auc_difference(attack, placebo, i, 400))
    miss = missed(rates, stats.norm.cdf(0.5**0.5) - 0.5)
    print(f'\n{people} people, attack minus placebo: missed {miss} %')
    assert (miss <= 5).all() and miss.sum() <= 8


def test_the_smallest_detectable_is_found_in_four_of_five_studies():
    people = 30
    smallest = detectable_rank_auc(gallery(*reconstructions(np.random.default_rng(0), people, 0.0)), 0).estimate
    shift = stats.norm.ppf(smallest) * 2**0.5
    found = [rank_auc(gallery(*reconstructions(np.random.default_rng((i, 9)), people, shift)), i, 400).lower > 0.5
             for i in range(STUDIES)]
    print(f'\nAUC {smallest:.3f}: found in {100 * np.mean(found):.0f} %')
    assert 0.7 <= np.mean(found) <= 0.9


@pytest.mark.parametrize('people', [10, 50])
@pytest.mark.parametrize('shift', [0.0, 1.0, 2.0])
def test_choice_auc_covers_and_its_p_holds(people, shift):
    """Each person's vectors by four networks, twice; people differ in what is likely and in how plain the right one is."""
    person, right, rates = np.repeat(np.arange(people), 8), np.tile(np.arange(4), 2 * people), []
    plain = 0.5 if shift else 0.0  # without knowledge the candidates of a person are exchangeable
    for i in range(STUDIES):
        rng = np.random.default_rng((i, people))
        scores = rng.normal(0, 0.5, (people, 4))[person] + rng.normal(size=(len(person), 4))
        scores[np.arange(len(right)), right] += shift + rng.normal(0, plain, people)[person]
        rates.append(choice_auc(scores, right, person, i, 499))
    truth = stats.norm.cdf(shift / np.sqrt(2 * (1 + 0.25) + plain**2))
    miss = missed(rates, truth)
    print(f'\n{people} people, AUC {truth:.2f}: missed {miss} %')
    assert (miss <= 5).all() and miss.sum() <= 8
    if not shift:
        assert 2 <= 100 * np.mean([r.p <= 0.05 for r in rates]) <= 8


@pytest.mark.parametrize('people', [12, 40])
@pytest.mark.parametrize('own', [0.0, 0.4])
def test_rates_at_a_threshold_cover(people, own):
    """Where people do not differ (own = 0) weights w_i * w_j count the noise of a pair thrice: FMR's intervals are wide."""
    person = np.repeat(np.arange(people), 3)
    a, b = np.triu_indices(len(person), 1)
    pairs = Comparisons(person[a] == person[b], np.stack([person[a], person[b]], axis=1).astype(str))
    threshold, rates = 2 * np.sqrt(1 + 2 * own**2), []
    for i in range(STUDIES):
        rng = np.random.default_rng((i, people))
        alike = rng.normal(0, own, people)
        scores = alike[person[a]] + alike[person[b]] + rng.normal(size=len(a)) + 2.5 * pairs.genuine
        rates.append(rates_at(scores, pairs, threshold, i, 400))
    truth = {'fmr': stats.norm.sf(2), 'tar': stats.norm.sf((threshold - 2.5) / np.sqrt(1 + 4 * own**2))}
    for name, value in truth.items():
        miss = missed([r[name] for r in rates], value)
        print(f'\n{people} people, deviation {own}: {name} {value:.3f} missed {miss} %')
        assert (miss <= 7).all() and miss.sum() <= 9


@pytest.mark.parametrize('people', [15, 60])
def test_impersonation_covers(people):
    rates, shift, threshold = [], 2.0, 1.5
    for i in range(STUDIES):
        s, mine, theirs = reconstructions(np.random.default_rng((i, people)), people, shift)
        a, b = (x.ravel() for x in np.broadcast_arrays(mine[:, None], theirs))
        rates.append(acceptance(s.ravel(), a, b, threshold, i, 400))
    strangers, own = stats.norm.sf(threshold), stats.norm.sf(threshold - shift)
    for name, value in (('own', own), ('strangers', strangers), ('difference', own - strangers)):
        miss = missed([r[name] for r in rates], value)
        print(f'\n{people} people: {name} {value:.3f} missed {miss} %')
        assert (miss <= 7).all() and miss.sum() <= 9


@pytest.mark.parametrize('people', [10, 40])
def test_accuracy_and_median_cover(people):
    person, right, middle = np.repeat(np.arange(people), 4), [], []
    for i in range(STUDIES):
        rng = np.random.default_rng((i, people))
        value = rng.normal(0, 0.7, people)[person] + rng.normal(size=len(person))
        right.append(accuracy(value > 0, person, None, i, 400))
        middle.append(median_rate(value, person, i, 400))
    for name, miss in (('accuracy', missed(right, 0.5)), ('median', missed(middle, 0.0))):
        print(f'\n{people} people: {name} missed {miss} %')
        assert (miss <= 6).all() and miss.sum() <= 9


@pytest.mark.parametrize('people', [20, 60])
def test_vectors_seen_cover(people):
    """Log-odds of a vector: its person's share and its own; a set of few people is almost a set of independent vectors."""
    rates, counts = [], (1, 5)
    person, label = np.repeat(np.arange(people), 8), np.tile([0, 1], 4 * people)
    sign = np.where(label, 1, -1)
    for i in range(STUDIES // 4):
        rng = np.random.default_rng((i, people))
        odds = sign * (0.5 + rng.normal(0, 0.5, people)[person] + rng.normal(size=len(person)))
        log_probs = np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1)
        rates.append(seen(log_probs, label, person, counts, i, draws=100, sets=120))
    for m in counts:
        truth = stats.norm.cdf(0.5 * np.sqrt(m) / np.sqrt(1.25))
        miss = missed([r[m] for r in rates], truth)
        print(f'\n{people} people, {m} vectors: {truth:.2f} missed {miss} %')
        assert (miss <= 8).all()
