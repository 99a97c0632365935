"""Accuracy, confusion, majority, vectors seen and calibration against closed forms, scikit-learn and counting."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

from fpray.metrics.classification import accuracy, calibration_error, confusion, majority, reliability, seen

PERSON = np.repeat(np.arange(30), 4)


def test_accuracy_is_the_mean_with_an_interval_over_people():
    right = np.random.default_rng(0).random(120) < 0.7
    rate = accuracy(right, PERSON, 0.25, 0)
    assert (rate.estimate, rate.chance, rate.n, rate.n_people) == (right.mean(), 0.25, 120, 30)
    alike = accuracy(right[PERSON], PERSON, 0.25, 0)  # four equal answers a person: half as sure
    lone = accuracy(right[:30], np.arange(30), 0.25, 0)
    assert alike.interval == pytest.approx(lone.interval) and alike.n_people == 30
    spread = np.sqrt(lone.estimate * (1 - lone.estimate) / 30)
    assert lone.upper - lone.lower == pytest.approx(2 * stats.t.ppf(0.975, 29) * spread, rel=0.15)


def test_accuracy_at_the_edges_is_as_sure_as_its_people_are_many():
    assert accuracy(np.ones(120), PERSON, 0.25, 0).interval == pytest.approx((0.025 ** (1 / 30), 1))
    assert accuracy(np.zeros(120), PERSON, 0.25, 0).interval == pytest.approx((0, 1 - 0.025 ** (1 / 30)))
    for wrong, message in (([2.0], 'from 0 to 1'), ([np.nan], 'not finite')):
        with pytest.raises(ValueError, match=message):
            accuracy(wrong, ['a'], None, 0)
    with pytest.raises(ValueError, match='one person a row'):
        accuracy([1, 0], ['a'], None, 0)


def test_confusion_is_scikit_learns():
    rng = np.random.default_rng(0)
    label, predicted = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    assert (confusion(label, predicted, 6) == confusion_matrix(label, predicted, labels=range(6))).all()
    with pytest.raises(ValueError, match='between 0 and 3'):
        confusion(label, predicted, 4)
    with pytest.raises(ValueError, match='one prediction a label'):
        confusion(label, predicted[1:], 5)


def test_majority_shares_what_ties():
    group = ['b', 'a', 'a', 'b', 'c', 'a', 'c']
    label = [7, 1, 1, 7, 3, 1, 3]
    credit, first = majority([7, 1, 2, 7, 5, 1, 3], label, group)
    assert credit.tolist() == [1, 1, 0.5] and first.tolist() == [1, 0, 4]
    assert majority([0, 0, 0], [1, 1, 1], [0, 0, 0])[0].tolist() == [0]
    with pytest.raises(ValueError, match='two labels'):
        majority([1, 1], [0, 1], ['a', 'a'])


def vectors(shift, people=40, pictures=4, seed=0):
    """Log-probabilities of two networks' vectors whose log-odds are normal about +-shift/2."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 2 * pictures)
    label = np.tile([0, 1], people * pictures)
    odds = shift / 2 * np.where(label, 1, -1) + rng.normal(size=len(label))
    return np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1), label, person


def test_accuracy_against_vectors_seen_grows_as_the_root_of_their_number():
    """Sums of m normal log-odds: Phi(shift / 2 sqrt(m)), the log of odds being what is summed."""
    rates = seen(*vectors(0.8, people=120), counts=(1, 5, 20), seed=0, draws=40)
    for m, rate in rates.items():
        assert rate.estimate == pytest.approx(stats.norm.cdf(0.4 * np.sqrt(m)), abs=0.06)
        assert rate.lower < rate.estimate < rate.upper and rate.chance == 0.5
    assert rates[1].n_people == 120 and rates[1].n == 960


def test_one_vector_seen_is_the_accuracy():
    log_probs, label, person = vectors(1.0)
    one = seen(log_probs, label, person, (1,), 0, draws=100)[1]
    plain = accuracy(log_probs.argmax(axis=1) == label, person, 0.5, 0)
    assert one.estimate == pytest.approx(plain.estimate)
    assert one.interval == pytest.approx(plain.interval, abs=0.015)


def test_vectors_seen_without_knowledge_stay_at_chance_and_too_many_are_not_to_be_had():
    rates = seen(*vectors(0.0, people=60), counts=(1, 5, 500), seed=1, draws=60)
    assert all(rates[m].lower < 0.5 < rates[m].upper for m in (1, 5))
    assert rates[500].estimate is None and '240 vectors only' in rates[500].note


def test_sets_that_are_all_right_are_as_sure_as_sets_that_share_nobody():
    rates = seen(*vectors(60.0), counts=(1, 10), seed=0, draws=20)
    assert rates[1].interval == pytest.approx((0.025 ** (1 / 40), 1))
    assert rates[10].interval == pytest.approx((0.025 ** (1 / 4), 1)) and '4 sets' in rates[10].note


def test_all_of_few_vectors_is_their_sum():
    """Ten vectors a network, all of them drawn: one set each, whose sum decides."""
    log_probs, label, person = vectors(0.3, people=10, pictures=1, seed=3)
    sums = [log_probs[label == c].sum(axis=0) for c in (0, 1)]
    expected = np.mean([s.argmax() == c for c, s in enumerate(sums)])
    assert seen(log_probs, label, person, (10,), 0, draws=5)[10].estimate == expected


def test_calibration_of_honest_and_of_boasting_probabilities():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 40_000)
    right = rng.random(40_000) < p
    log_probs, label = np.log(np.stack([p, 1 - p], axis=1)), np.where(right, 0, 1)
    person = np.arange(40_000) % 400
    assert calibration_error(log_probs, label, person, 0, draws=100).estimate < 0.015
    confidence, share, count = reliability(log_probs, label)
    assert share == pytest.approx(confidence, abs=0.02) and count.sum() == 40_000 and len(count) == 5
    boast = np.log(np.stack([np.full(40_000, 0.95), np.full(40_000, 0.05)], axis=1))
    error = calibration_error(boast, label, person, 0, draws=100)
    assert error.estimate == pytest.approx(0.95 - right.mean()) and error.lower > 0.19
    with pytest.raises(ValueError, match='add up to 1'):
        reliability(np.zeros((3, 2)), [0, 0, 1])


def test_log_probabilities_are_checked():
    log_probs, label, person = vectors(1.0)
    with pytest.raises(ValueError, match='NaN'):
        seen(np.where(log_probs < -1, np.nan, log_probs), label, person)
    with pytest.raises(ValueError, match='between 0 and 1'):
        seen(log_probs, label + 1, person)
    with pytest.raises(ValueError, match='label'):
        seen(log_probs, label[1:], person)
