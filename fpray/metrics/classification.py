"""Is the named class the right one? Accuracy over people, confusions, accuracy against the vectors seen, calibration."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fpray.metrics.people import BOOTSTRAPS, Array, people_of, percentiles, proportion, resampled
from fpray.metrics.rate import Rate

SETS = 100  # sets of vectors a class and draw
DRAWS = 200  # bootstraps of people in `seen`, each of which draws its sets anew


def accuracy(
    right: npt.ArrayLike, person: npt.ArrayLike, chance: float | None, seed: int, draws: int = BOOTSTRAPS
) -> Rate:
    """Share of right answers with a bootstrap over people; at 0 and 1 the exact bound of the people.

    Args:
        right: (n,) bool, or in [0, 1] where ties count their expectation (`majority`).
        person: (n,) whose picture or vector each is.
        chance: accuracy of guessing, such as 1 / classes.
    """
    return proportion(right, person, seed, chance, draws)


def confusion(label: npt.ArrayLike, predicted: npt.ArrayLike, k: int) -> npt.NDArray[np.int64]:
    """(k, k) counts: rows the true class, columns the predicted one.

    Raises:
        ValueError: unequal lengths, or a class outside 0 to k - 1.
    """
    a, b = np.asarray(label), np.asarray(predicted)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f'one prediction a label is needed: {a.shape}, {b.shape}')
    if not (np.isin(a, np.arange(k)).all() and np.isin(b, np.arange(k)).all()):
        raise ValueError(f'classes must lie between 0 and {k - 1}')
    return np.bincount(a.astype(int) * k + b.astype(int), minlength=k * k).reshape(k, k)


def majority(predicted: npt.ArrayLike, label: npt.ArrayLike, group: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.int64]]:
    """Credit of the class that most of a group's predictions name; classes that tie share it.

    Args:
        predicted, label, group: (n,) the class named, the true one (the same throughout a group), and the group.

    Returns:
        (groups,) in [0, 1], by the sorted groups; (groups,) first row of each group.

    Raises:
        ValueError: unequal lengths, or a group with two labels.
    """
    named, truth = np.asarray(predicted), np.asarray(label)
    _, first, code = np.unique(np.asarray(group).astype(str), return_index=True, return_inverse=True)
    if not named.shape == truth.shape == code.shape:
        raise ValueError(f'a prediction, a label and a group a row: {named.shape}, {truth.shape}, {code.shape}')
    if not (truth == truth[first][code]).all():
        raise ValueError('a group has two labels')
    classes, index = np.unique(np.concatenate([named, truth]), return_inverse=True)
    votes = np.zeros((len(first), len(classes)))
    np.add.at(votes, (code, index[: len(named)]), 1)
    most = votes == votes.max(axis=1, keepdims=True)
    return most[np.arange(len(first)), index[len(named):][first]] / most.sum(axis=1), first


def seen(
    log_probs: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    counts: Sequence[int] = (1, 5, 10, 50),
    seed: int = 0,
    draws: int = DRAWS,
    sets: int = SETS,
) -> dict[int, Rate]:
    """Accuracy against the number of vectors of one network that are seen, combined by summed log-probability.

    For every class, sets of vectors are drawn at random without replacement, of whatever people; the answer is the class
    with the largest sum. The estimate is the mean over many sets and over the classes; the interval is a bootstrap over
    people, whose draws hold the noise of drawing sets as well. Where all sets are right (or wrong) the bound is the exact
    one of as many people as there are sets that share nobody, people // count.

    Args:
        log_probs: (n, k) log-probabilities, one vector a row; -inf allowed.
        label: (n,) the true class.
        person: (n,) whose vector it is.
        counts: numbers of vectors.
        sets: sets a class, in the estimate ten times as many.

    Returns:
        count -> Rate with chance 1 / k; the estimate is None where a class has fewer vectors.
    """
    scores, truth, code, k = _checked(log_probs, label, person)
    rows = [np.flatnonzero(truth == c) for c in np.unique(truth)]
    fewest = min(map(len, rows))
    fit = [m for m in counts if m <= fewest]
    weight = resampled(np.zeros(k), draws, seed)
    rng = np.random.default_rng((seed, 1))
    values = np.array([_set_accuracy(scores, truth, rows, w[code], fit, sets * (10 if i == 0 else 1), rng)
                       for i, w in enumerate(weight)]).reshape(len(weight), len(fit))
    few = f'a class has {fewest} vectors only'
    n, chance = len(scores), 1 / scores.shape[1]
    rates = {m: Rate(None, (None, None), chance, n, k, note=few) for m in counts}
    for m, drawn in zip(fit, values.T, strict=True):
        apart = max(k // m, 1)
        note = f'{apart} sets of {m} that share nobody'
        rates[m] = Rate(float(drawn[0]), percentiles(drawn[1:], float(drawn[0]), k, apart), chance, n, k, note=note)
    return rates


def _set_accuracy(
    scores: Array,
    truth: npt.NDArray[np.int64],
    rows: Sequence[npt.NDArray[np.int64]],
    weight: Array,
    counts: Sequence[int],
    sets: int,
    rng: np.random.Generator,
) -> list[float]:
    """Mean accuracy over random sets of each size. A row's weight (n,) is its chance to be drawn next; 0: never.

    Smaller sets are the beginnings of larger ones; where too few rows are left, a set is smaller.
    """
    right = []
    for mine in (r[weight[r] > 0] for r in rows):
        if not len(mine):
            continue
        keys = rng.exponential(size=(sets, len(mine))) / weight[mine]  # the m smallest: drawn without replacement
        most = min(max(counts, default=1), len(mine))
        near = np.argpartition(keys, most - 1, axis=1)[:, :most]
        drawn = mine[np.take_along_axis(near, np.argsort(np.take_along_axis(keys, near, 1), axis=1), 1)]
        total = np.cumsum(scores[drawn], axis=1)
        right.append([_credit(total[:, min(m, most) - 1], int(truth[mine[0]])) for m in counts])
    return [float(x) for x in np.mean(right, axis=0)]


def _credit(total: Array, right: int) -> float:
    """Share of rows (n, k) whose largest entry is the right one; ties share it."""
    best = total == total.max(axis=1, keepdims=True)
    return float((best[:, right] / best.sum(axis=1)).mean())


def reliability(log_probs: npt.ArrayLike, label: npt.ArrayLike, bins: int = 10) -> tuple[Array, Array, Array]:
    """Reliability diagram (Guo et al. 2017): mean confidence, accuracy and number of rows of each occupied bin.

    Args:
        log_probs: (n, k) log-probabilities; the confidence is the largest probability.
        bins: of equal width over (0, 1].
    """
    confidence, right, place = _confidence(log_probs, label, bins)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    means = [np.bincount(place, x, bins)[used] / count[used] for x in (confidence, right)]
    return means[0], means[1], count[used].astype(np.float64)


def calibration_error(
    log_probs: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    seed: int,
    bins: int = 10,
    draws: int = BOOTSTRAPS,
) -> Rate:
    """Expected calibration error (Guo et al. 2017): mean gap of confidence and accuracy over bins of confidence.

    Args:
        log_probs: (n, k) log-probabilities.
        label, person: (n,) the true class, and whose vector each row is.

    Returns:
        Rate in [0, 1], chance None, with a bootstrap over people. Noise within the bins makes gaps of its own: of few
        vectors the value is too large, and its interval stands above the truth.
    """
    _, _, code, k = _checked(log_probs, label, person)
    confidence, right, place = _confidence(log_probs, label, bins)
    gap = np.zeros((k, bins))
    np.add.at(gap, (code, place), confidence - right)
    weight = resampled(np.zeros(k), draws, seed)
    drawn = np.abs(weight @ gap).sum(axis=1) / (weight @ np.bincount(code, minlength=k))
    rate = Rate(float(drawn[0]), percentiles(drawn[1:], float(drawn[0]), k), None, len(code), k)
    return replace(rate, note=f'{bins} bins; of few vectors too large')


def _confidence(
    log_probs: npt.ArrayLike, label: npt.ArrayLike, bins: int
) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Confidence, whether it is right (ties share it), and the bin, (n,) each."""
    p = np.exp(np.asarray(log_probs, np.float64))
    if p.ndim != 2 or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise ValueError('log_probs must be (n, k), and probabilities add up to 1')
    confidence = np.minimum(p.max(axis=1), 1)
    best = p == p.max(axis=1, keepdims=True)
    right = best[np.arange(len(p)), np.asarray(label)] / best.sum(axis=1)
    return confidence, right, np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def _checked(
    log_probs: npt.ArrayLike, label: npt.ArrayLike, person: npt.ArrayLike
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    s, y = np.asarray(log_probs, np.float64), np.asarray(label)
    if s.ndim != 2 or y.shape != s.shape[:1]:
        raise ValueError(f'log_probs must be (n, k) and label (n,), got {s.shape} and {y.shape}')
    if np.isnan(s).any():
        raise ValueError(f'{np.isnan(s).sum()} log-probabilities are NaN')
    if not np.isin(y, np.arange(s.shape[1])).all():
        raise ValueError(f'labels must lie between 0 and {s.shape[1] - 1}')
    code, k = people_of(person, len(s))
    return s, y.astype(np.int64), code, k
