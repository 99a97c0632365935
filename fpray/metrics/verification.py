"""One against one: error rates of a matcher in the terms of ISO/IEC 19795-1; similarity >= threshold accepts.

Thresholds come from people who are neither trained on nor judged; intervals are over people, where a pair of two people
weighs w_i * w_j. One against many, `rank_auc` and `choice_auc` among it, is `fpray.metrics.identification`.

`python -m fpray.metrics.verification SCORES.parquet` prints the rates of a table of comparisons.
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.sparse import coo_array, csr_array

from fpray.metrics.people import BOOTSTRAPS, Array, finite, joined, percentiles, proportion, resampled
from fpray.metrics.rate import Rate

FALSE_MATCHES, FALSE_MATCH_PEOPLE = 30, 10  # what an FMR needs to be resolvable
_CELLS = 2**24  # weights at a time: bounds the memory


@dataclass(frozen=True)
class Threshold:
    """A similarity threshold and what stands behind it.

    Attributes:
        value: comparisons at or above it are accepted.
        fmr: the false match rate that it has on the impostor comparisons it was set on.
        false_matches: how many of these are accepted.
        n_people: distinct people among them; None where the people were not given.
        resolvable: at least 30 false matches from at least 10 people.
        smallest: the smallest false match rate that these comparisons resolve; None: none, or people not given.
    """

    value: float
    fmr: float
    false_matches: int
    n_people: int | None
    resolvable: bool
    smallest: float | None = None


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
    order = np.argsort(-s, kind='stable')
    allowed = int(np.floor(fmr * len(s) + 1e-9))
    value = float(np.nextafter(s[order[min(allowed, len(s) - 1)]], np.inf))
    count = int((s >= value).sum())
    if people is None:
        return Threshold(value, count / len(s), count, None, False)
    involved = _people_so_far(np.asarray(people).astype(str)[order])
    ends = np.flatnonzero(np.append(np.diff(s[order]) != 0, True))  # equal scores match together
    enough = ends[(ends + 1 >= FALSE_MATCHES) & (involved[ends] >= FALSE_MATCH_PEOPLE)]
    smallest = (int(enough[0]) + 1) / len(s) if len(enough) else None
    resolvable = smallest is not None and count / len(s) >= smallest - 1e-12
    return Threshold(value, count / len(s), count, int(involved[count - 1]) if count else 0, resolvable, smallest)


def _people_so_far(pairs: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """(n,) distinct people in the first 1, 2, ... of the pairs (n, 2)."""
    first = np.unique(pairs.reshape(-1), return_index=True)[1] // 2
    return np.cumsum(np.bincount(first, minlength=len(pairs)))


@dataclass(frozen=True)
class Curve:
    """Error rates at every threshold that makes a difference, rising; made by `error_curve`.

    Attributes:
        threshold: (m,) each observed similarity, and a last one above them all.
        fmr, fnmr: (m,) false match and false non-match rate there.
    """

    threshold: Array
    fmr: Array
    fnmr: Array

    def roc(self) -> tuple[Array, Array]:
        """(FMR, TAR = 1 - FNMR), from (0, 0) to (1, 1)."""
        return self.fmr[::-1], 1 - self.fnmr[::-1]

    def det(self) -> tuple[Array, Array]:
        """Normal deviates of (FMR, FNMR): a straight line of slope -1 for two normals of one variance.

        Points with a rate of 0 or 1, whose deviate is infinite, are left out.
        """
        inside = (self.fmr > 0) & (self.fmr < 1) & (self.fnmr > 0) & (self.fnmr < 1)
        return stats.norm.ppf(self.fmr[inside]), stats.norm.ppf(self.fnmr[inside])

    def thinned(self, points: int = 200) -> 'Curve':
        """At most so many points for a drawing, the first and the last among them, evenly along the DET curve."""
        low = 0.25 / max(len(self.fmr), 2)
        steps = sum(np.abs(np.diff(stats.norm.ppf(np.clip(rate, low, 1 - low)))) for rate in (self.fmr, self.fnmr))
        way = np.append(0, np.cumsum(steps))
        kept = np.unique(np.append(np.searchsorted(way, np.linspace(0, way[-1], points - 1)), len(way) - 1))
        return Curve(self.threshold[kept], self.fmr[kept], self.fnmr[kept])


def error_curve(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> Curve:
    """FMR and FNMR at every threshold.

    Args:
        genuine: (n,) similarities of two pictures of one finger.
        impostor: (m,) similarities of pictures of different people.

    Raises:
        ValueError: one side is empty or a similarity is not finite.
    """
    g, i = (np.sort(finite(x, 'similarities')) for x in (genuine, impostor))
    if not len(g) or not len(i):
        raise ValueError('an error curve needs genuine and impostor comparisons')
    t = np.unique(np.concatenate([g, i]))
    t = np.append(t, np.nextafter(t[-1], np.inf))
    return Curve(t, 1 - np.searchsorted(i, t) / len(i), np.searchsorted(g, t) / len(g))


def equal_error(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> tuple[float, float]:
    """(equal error rate, threshold): where FMR and FNMR cross.

    As FVC2000 has it (Maio et al. 2002, IEEE TPAMI 24:402): of the last threshold before the crossing and the first one
    at or past it, that with the smaller sum of rates; the EER is half this sum.

    Args:
        genuine, impostor: see `error_curve`.
    """
    curve = error_curve(genuine, impostor)
    at = int(_crossing(curve.fmr[None], curve.fnmr[None])[0])
    return float((curve.fmr[at] + curve.fnmr[at]) / 2), float(curve.threshold[at])


def _crossing(fmr: Array, fnmr: Array) -> npt.NDArray[np.int64]:
    """(draws,) the point of each falling FMR and rising FNMR (draws, m) at which the EER is read."""
    rows = np.arange(len(fmr))
    past = np.argmax(fmr - fnmr <= 1e-12, axis=1)
    before = np.maximum(past - 1, 0)
    total = fmr + fnmr
    sooner = (np.abs(fmr[rows, past] - fnmr[rows, past]) > 1e-12) & (total[rows, before] <= total[rows, past] + 1e-12)
    return np.where(sooner, before, past)


def d_prime(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> float:
    """Decidability: distance of the two means over the root of the mean variance (Daugman 2000).

    Negative where genuine pairs are the less similar ones; infinite where neither side varies.
    """
    g, i = finite(genuine, 'similarities'), finite(impostor, 'similarities')
    with np.errstate(divide='ignore', invalid='ignore'):
        return float(np.divide(g.mean() - i.mean(), np.sqrt((g.var() + i.var()) / 2)))


@dataclass(frozen=True)
class Comparisons:
    """Pairs of pictures that a matcher compared.

    Attributes:
        genuine: (n,) bool, whether the two show one finger.
        people: (n, 2) whose pictures they are: the same person twice in a genuine pair.
    """

    genuine: npt.NDArray[np.bool_]
    people: npt.NDArray[np.str_]

    @property
    def impostor(self) -> npt.NDArray[np.bool_]:
        """(n,) pairs of two people: two fingers of one person are neither genuine nor impostor."""
        return np.asarray(~self.genuine & (self.people[:, 0] != self.people[:, 1]))


def rates_at(
    scores: npt.ArrayLike, pairs: Comparisons, threshold: float, seed: int = 0, draws: int = BOOTSTRAPS
) -> dict[str, Rate]:
    """FMR, FNMR and TAR at a threshold that was set elsewhere, with intervals over people given this threshold.

    A genuine pair weighs as often as its person is drawn, an impostor pair w_i * w_j; pairs of two fingers of one
    person count for neither. At exactly 0 or 1 the bound is the people's exact one.

    Args:
        scores: (n,) similarities of the pairs.
        threshold: at or above it a pair is accepted.

    Returns:
        'fmr'; 'tar', whose chance is that FMR; 'fnmr' = 1 - TAR.

    Raises:
        ValueError: no genuine or no impostor pair, or a similarity that is not finite.
    """
    accepted = finite(scores, 'similarities') >= threshold
    impostor = pairs.impostor
    if not pairs.genuine.any() or not impostor.any():
        raise ValueError('rates at a threshold need genuine and impostor pairs')
    tar, fmr = (_rate(drawn, pairs.people[kept], pairs.people) for drawn, kept in
                zip(_shares(accepted, (pairs.genuine, impostor), pairs.people, seed, draws),
                    (pairs.genuine, impostor), strict=True))
    tar = replace(tar, chance=fmr.estimate)
    return {'fmr': fmr, 'tar': tar, 'fnmr': _complement(tar)}


def _complement(rate: Rate) -> Rate:
    """1 - rate."""
    assert rate.estimate is not None
    low, high = (None if bound is None else 1 - bound for bound in rate.interval)
    chance = None if rate.chance is None else 1 - rate.chance
    return replace(rate, estimate=1 - rate.estimate, interval=(high, low), chance=chance)


def tar_at_fmr(
    scores: npt.ArrayLike, pairs: Comparisons, fmr: float, threshold: Threshold, seed: int = 0, draws: int = BOOTSTRAPS
) -> Rate:
    """True acceptance rate at the threshold that has the false match rate `fmr` on other people; chance is `fmr`.

    Args:
        scores: (n,) similarities of the pairs; impostor pairs are not needed.
        threshold: `threshold_at_fmr` of impostors of people who are not judged here.

    Returns:
        Rate; the estimate is None where the other people do not resolve this `fmr` (30 false matches from 10 people),
        and the note says the smallest that they do.

    Raises:
        ValueError: no genuine pair, or a similarity that is not finite.
    """
    if not pairs.genuine.any():
        raise ValueError('a true acceptance rate needs genuine pairs')
    accepted = finite(scores, 'similarities') >= threshold.value
    own = pairs.people[pairs.genuine]
    found = _rate(_shares(accepted, (pairs.genuine,), pairs.people, seed, draws)[0], own, own)
    if threshold.resolvable:
        return replace(found, chance=fmr, note=f'threshold {threshold.value:g}, FMR {threshold.fmr:.2%} on other people')
    smallest = 'none is' if threshold.smallest is None else f'the smallest that is: {threshold.smallest:.2%}'
    note = (f'FMR {fmr:.2%} is not resolvable: {threshold.false_matches} false matches of '
            f'{threshold.n_people or "unknown"} people; {smallest}')
    return replace(found, estimate=None, interval=(None, None), chance=fmr, note=note)


def acceptance(
    similarity: npt.ArrayLike,
    accepted: npt.ArrayLike,
    reference: npt.ArrayLike,
    threshold: float,
    seed: int = 0,
    draws: int = BOOTSTRAPS,
    *,
    own: npt.ArrayLike | None = None,
) -> dict[str, Rate]:
    """Impersonation: how often reconstructions pass as their person, and as anybody else.

    Args:
        similarity: (n,) of a reconstruction to a reference.
        accepted: (n,) the person whose template the reconstruction was made from: who wants to be accepted.
        reference: (n,) the person of the reference.
        threshold: set on people who are not judged here; at or above it a comparison is accepted.
        own: (n,) bool, whether the reference shows the very finger; without it every reference of the person does.
            Other fingers of the person count on neither side.

    Returns:
        'own', the acceptance rate against the person's own references, whose chance is the strangers' rate; 'strangers',
        the same reconstructions against other people's references; 'difference', own - strangers, paired over people,
        chance 0. Intervals as in `rates_at`.

    Raises:
        ValueError: no comparison with an own or none with another person's reference, or a similarity not finite.
    """
    people = np.stack([np.asarray(x).astype(str) for x in (accepted, reference)], axis=1)
    other = people[:, 0] != people[:, 1]
    mine = ~other if own is None else np.asarray(own, bool) & ~other
    if not mine.any() or not other.any():
        raise ValueError('acceptance needs own references and those of other people')
    passed = finite(similarity, 'similarities') >= threshold
    drawn = _shares(passed, (mine, other), people, seed, draws)
    rates = [_rate(d, people[kept], people) for d, kept in zip(drawn, (mine, other), strict=True)]
    difference = _paired(drawn[0] - drawn[1], rates[0], rates[1])
    return {'own': replace(rates[0], chance=rates[1].estimate), 'strangers': rates[1], 'difference': difference}


def _paired(drawn: Array, a: Rate, b: Rate) -> Rate:
    """a - b out of their common draws; where one of them is 0 or 1, no narrower than their own intervals make it."""
    value = float(drawn[0])
    low, high = percentiles(drawn[1:], value, a.n_people)
    halves = joined(a, b)
    if low is not None and high is not None and halves is not None and {a.estimate, b.estimate} & {0.0, 1.0}:
        low, high = min(low, value - halves[0]), max(high, value + halves[1])
        low, high = max(low, -1.0), min(high, 1.0)
    return Rate(value, (low, high), 0.0, a.n, a.n_people)


def far_frr(
    scores: npt.ArrayLike,
    pairs: Comparisons,
    threshold: float,
    acquired: npt.ArrayLike,
    seed: int = 0,
    draws: int = BOOTSTRAPS,
) -> dict[str, Rate]:
    """FAR and FRR of single attempts, failures to acquire included (ISO/IEC 19795-1).

    FAR = FMR (1 - FTA), FRR = FTA + FNMR (1 - FTA): a picture that is not acquired is accepted by nobody.

    Args:
        scores: (n,) similarities; what stands for a pair that was not acquired counts nothing and may be NaN.
        acquired: (n,) bool, whether the probe's quality reached what the system asks for: a rule to be stated.

    Returns:
        'far'; 'frr'. The rate of failures itself is one of pictures: `failure_to_acquire`.
    """
    taken = np.asarray(acquired, bool)
    rates = rates_at(np.where(taken, np.asarray(scores, np.float64), -sys.float_info.max), pairs, threshold, seed, draws)
    return {'far': rates['fmr'], 'frr': rates['fnmr']}


def failure_to_acquire(quality: npt.ArrayLike, person: npt.ArrayLike, least: float, seed: int = 0) -> Rate:
    """Share of pictures whose quality lies under `least`, with an interval over people; the note states the rule.

    Args:
        quality: (n,) one number a picture, larger = better; NaN (could not be measured) fails.
        person: (n,) whose picture it is.
    """
    failed = ~(np.asarray(quality, np.float64) >= least)
    return replace(proportion(failed, person, seed), note=f'a picture of quality under {least:g} is not acquired')


def any_of(
    similarity: npt.ArrayLike, group: npt.ArrayLike
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Several reconstructions of one person as one attempt that is accepted if any of them is.

    Strangers profit in the same way: `acceptance` of the result has the any-of-N chance in its 'strangers'.

    Args:
        similarity: (n, m) of n reconstructions to m references.
        group: (n,) the attempt that each reconstruction belongs to.

    Returns:
        (groups, m) the largest similarity in each group, by the sorted groups; (groups,) first row of each group.
    """
    s = finite(similarity, 'similarities')
    _, first, code = np.unique(np.asarray(group).astype(str), return_index=True, return_inverse=True)
    order = np.argsort(code, kind='stable')
    return np.maximum.reduceat(s[order], np.searchsorted(code[order], np.arange(len(first))), axis=0), first


def _shares(
    accepted: npt.NDArray[np.bool_],
    sides: tuple[npt.NDArray[np.bool_], ...],
    people: npt.NDArray[np.str_],
    seed: int,
    draws: int,
) -> list[Array]:
    """Share of accepted pairs on each side, (1 + draws,): as observed, then in common bootstraps over people.

    Draws without a pair on some side are left out of all.
    """
    names, code = np.unique(people, return_inverse=True)
    code = code.reshape(-1, 2)
    weight = resampled(np.zeros(len(names)), draws, seed)
    counts = [_weighted(side, code, weight) for side in sides]
    usable = np.all([c > 0 for c in counts], axis=0)
    return [(_weighted(side & accepted, code, weight) / np.where(usable, c, 1))[usable]
            for side, c in zip(sides, counts, strict=True)]


def _weighted(kept: npt.NDArray[np.bool_], code: npt.NDArray[np.int64], weight: Array) -> Array:
    """(draws,) weighted count of the pairs that are kept (n,): of one person w_i, of two w_i * w_j."""
    k, single = weight.shape[1], code[:, 0] == code[:, 1]
    alone = np.bincount(code[kept & single, 0], minlength=k)
    a, b = code[kept & ~single].T
    between = coo_array((np.ones(len(a)), (a, b)), (k, k)).tocsr()
    return np.asarray(weight @ alone + ((between.T @ weight.T).T * weight).sum(axis=1))


def _rate(drawn: Array, involved: npt.NDArray[np.str_], everyone: npt.NDArray[np.str_]) -> Rate:
    """The Rate of a share in [0, 1] of pairs of the `involved` (n, 2), drawn among `everyone`."""
    value, k = float(drawn[0]), len(np.unique(involved))
    return Rate(value, percentiles(drawn[1:], value, len(np.unique(everyone)), k), None, len(involved), k)


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
    impostor = pairs.impostor
    threshold = threshold_at_fmr(np.asarray(scores)[impostor], fmr, pairs.people[impostor])
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
    people = resampled(np.zeros(k), draws, seed)
    rows = max(1, min(64, _CELLS // len(code)))
    rates = np.concatenate([_rates(scores, pairs.genuine, code, people[i : i + rows], fmr)
                            for i in range(0, len(people), rows)], axis=-1)
    return (rates[0], rates[1]), k


def _rates(
    scores: Array, genuine: npt.NDArray[np.bool_], code: npt.NDArray[np.int64], people: Array, fmr: float
) -> Array:
    """EER and FNMR, (2, versions, draws), where each person counts as often as `people` (draws, people) says; draws
    without a genuine or an impostor pair are left out."""
    first, second = people[:, code[:, 0]], people[:, code[:, 1]]
    weight = np.where(genuine, first, first * second * (code[:, 0] != code[:, 1]))
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
    cross = _crossing(matched, fnmr)
    allowed = np.argmax(matched <= fmr + 1e-12, axis=1)
    return (matched[rows, cross] + fnmr[rows, cross]) / 2, fnmr[rows, allowed]


if __name__ == '__main__':
    from fpray.metrics.verification_cli import main

    sys.exit(main())
