"""Thresholds of a matcher, in the terms of ISO/IEC 19795-1: similarity >= threshold accepts."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from fpray.metrics.people import Array, percentiles
from fpray.metrics.rate import Rate

FALSE_MATCHES, FALSE_MATCH_PEOPLE = 30, 10  # what an FMR needs to be resolvable
_CHUNK = 64  # draws at a time: bounds the memory


@dataclass(frozen=True)
class Threshold:
    """A similarity threshold and what stands behind it.

    Attributes:
        value: comparisons at or above it are accepted.
        fmr: the false match rate that it has on the impostor comparisons it was set on.
        false_matches: how many of these are accepted.
        n_people: distinct people among them; None where the people were not given.
        resolvable: at least 30 false matches from at least 10 people.
    """

    value: float
    fmr: float
    false_matches: int
    n_people: int | None
    resolvable: bool


def threshold_at_fmr(impostor: npt.ArrayLike, fmr: float, people: npt.ArrayLike | None = None) -> Threshold:
    """The lowest threshold whose false match rate does not exceed `fmr`.

    Set it on people who are neither trained on nor judged.

    Args:
        impostor: (n,) similarities of pictures of different people.
        fmr: in [0, 1).
        people: (n, 2) the two people of each comparison.

    Raises:
        ValueError: no comparisons.
    """
    s = np.asarray(impostor, np.float64)
    if not len(s):
        raise ValueError('a threshold needs impostor comparisons')
    falling = np.sort(s)[::-1]
    allowed = int(np.floor(fmr * len(s) + 1e-9))
    value = float(np.nextafter(falling[min(allowed, len(s) - 1)], np.inf))
    accepted = s >= value
    count = int(accepted.sum())
    involved = None if people is None else len(np.unique(np.asarray(people).astype(str)[accepted]))
    enough = count >= FALSE_MATCHES and involved is not None and involved >= FALSE_MATCH_PEOPLE
    return Threshold(value, count / len(s), count, involved, enough)


def equal_error(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> tuple[float, float]:
    """(equal error rate, threshold): where FMR and FNMR cross, their mean at the crossing's closest observed
    score.

    Args:
        genuine: (n,) similarities of two pictures of one finger.
        impostor: (m,) similarities of pictures of different people.
    """
    g, i = np.sort(np.asarray(genuine, np.float64)), np.sort(np.asarray(impostor, np.float64))
    t = np.unique(np.concatenate([g, i]))
    t = np.append(t, np.nextafter(t[-1], np.inf))
    fnmr = np.searchsorted(g, t) / len(g)
    fmr = 1 - np.searchsorted(i, t) / len(i)
    best = int(np.argmin(np.abs(fmr - fnmr)))
    return float((fmr[best] + fnmr[best]) / 2), float(t[best])


@dataclass(frozen=True)
class Comparisons:
    """Pairs of pictures that a matcher compared.

    Attributes:
        genuine: (n,) bool, whether the two show one finger.
        people: (n, 2) whose pictures they are: the same person twice in a genuine pair.
    """

    genuine: npt.NDArray[np.bool_]
    people: npt.NDArray[np.str_]


def separation(
    scores: npt.ArrayLike, pairs: Comparisons, seed: int, fmr: float = 0.01, draws: int = 1_000
) -> dict[str, Rate]:
    """How well similarities tell genuine from impostor pairs, with intervals over people.

    The threshold is set on the impostors of these very pairs, anew in each draw of people, so that two versions of a
    set are compared at one false match rate and not at one threshold.

    Args:
        scores: (n,) similarities.
        pairs: the n comparisons.
        seed: of the bootstrap; a person drawn twice makes no impostor pair with itself.
        fmr: in [0, 1).

    Returns:
        'eer', the equal error rate (chance 1/2); 'fnmr', the share of genuine pairs under the threshold (chance
        1 - fmr), with a note where the false match rate is not resolvable.

    Raises:
        ValueError: no genuine or no impostor pair.
    """
    drawn, k = _drawn(np.asarray(scores, np.float64)[None], pairs, seed, fmr, draws)
    threshold = threshold_at_fmr(np.asarray(scores)[~pairs.genuine], fmr, pairs.people[~pairs.genuine])
    note = f'threshold {threshold.value:g} at FMR {threshold.fmr:.2%}, {threshold.false_matches} false matches'
    note += '' if threshold.resolvable else '; not resolvable: under 30 false matches or 10 people'
    eer, fnmr = (_rated(values[0], len(pairs.genuine), k) for values in drawn)
    return {'eer': replace(eer, chance=0.5), 'fnmr': replace(fnmr, chance=1 - fmr, note=note)}


def separation_change(
    before: npt.ArrayLike, after: npt.ArrayLike, pairs: Comparisons, seed: int, fmr: float = 0.01, draws: int = 1_000
) -> dict[str, Rate]:
    """The rates of `separation` after minus before, on the same pairs and draws of people; chance 0."""
    both = np.stack([np.asarray(before, np.float64), np.asarray(after, np.float64)])
    drawn, k = _drawn(both, pairs, seed, fmr, draws)
    changes = (_rated(values[1] - values[0], len(pairs.genuine), k) for values in drawn)
    return {name: replace(rate, chance=0.0) for name, rate in zip(('eer', 'fnmr'), changes, strict=True)}


def _rated(drawn: Array, n: int, k: int) -> Rate:
    """The Rate of values of which the first is the observed one, the others a bootstrap's."""
    return Rate(float(drawn[0]), percentiles(drawn[1:], float(drawn[0]), k), None, n, k)


def _drawn(scores: Array, pairs: Comparisons, seed: int, fmr: float, draws: int) -> tuple[tuple[Array, Array], int]:
    """(EER, FNMR), each (versions, 1 + draws), of scores (versions, n): first as observed; and the number of people."""
    names, code = np.unique(pairs.people, return_inverse=True)
    code, k = code.reshape(-1, 2), len(names)
    if not 0 < pairs.genuine.sum() < len(pairs.genuine):
        raise ValueError('a separation needs genuine and impostor pairs')
    drawn = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), draws)
    people = np.concatenate([np.ones((1, k), np.int64), drawn])
    rates = np.concatenate([_rates(scores, pairs.genuine, code, people[i : i + _CHUNK], fmr)
                            for i in range(0, len(people), _CHUNK)], axis=-1)
    return (rates[0], rates[1]), k


def _rates(
    scores: Array, genuine: npt.NDArray[np.bool_], code: npt.NDArray[np.int64], people: npt.NDArray[np.int64], fmr: float
) -> Array:
    """EER and FNMR, (2, versions, draws), where each person counts as often as `people` (draws, people) says; draws
    without a genuine or an impostor pair are left out."""
    first, second = people[:, code[:, 0]], people[:, code[:, 1]]
    weight = np.where(genuine, first, first * second * (code[:, 0] != code[:, 1])).astype(np.float64)
    weight = weight[(weight @ genuine > 0) & (weight @ ~genuine > 0)]
    return np.stack([np.stack(_curve(row, genuine, weight, fmr)) for row in scores], axis=1)


def _curve(scores: Array, genuine: npt.NDArray[np.bool_], weight: Array, fmr: float) -> tuple[Array, Array]:
    """EER and FNMR at `fmr`, (draws,) each, of one version's scores under each row of weights (draws, n)."""
    place = np.unique(scores, return_inverse=True)[1]
    at_level = csr_array((np.ones(len(place)), (place, np.arange(len(place)))))
    below = []
    for side in (genuine, ~genuine):
        counts = (at_level @ (weight * side).T).T
        under = np.cumsum(np.insert(counts, 0, 0, axis=1), axis=1)
        below.append(under / under[:, -1:])
    fnmr, matched = below[0], 1 - below[1]  # at a threshold on each level, and above them all
    rows = np.arange(len(weight))
    cross = np.argmin(np.abs(matched - fnmr), axis=1)
    allowed = np.argmax(matched <= fmr + 1e-12, axis=1)
    return (matched[rows, cross] + fnmr[rows, cross]) / 2, fnmr[rows, allowed]
