"""Thresholds of a matcher, in the terms of ISO/IEC 19795-1: similarity >= threshold accepts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FALSE_MATCHES, FALSE_MATCH_PEOPLE = 30, 10  # what an FMR needs to be resolvable


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
