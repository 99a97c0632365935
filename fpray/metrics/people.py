"""Inference over people: the resampling and permutation that every rate stands on.

The person is the unit. Scores of one person's fingers are alike, so an interval or a test over pictures or
fingers rejects far too many true nulls; here whole people are resampled, and whole people change sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import expit, logit

from fpray.metrics.rate import Interval, Rate

Array = npt.NDArray[np.float64]
BOOTSTRAPS = 1_000
PERMUTATIONS = 4_999  # the smallest p is 1 in 5,000: below 0.01 after Holm over some fifty entries
SOME = 256  # permutations over which the small share of a calibration's error is averaged
_SAME = 1e-12  # statistics closer than this are the same value: rounding must not decide a p-value


@dataclass(frozen=True)
class Sample:
    """Scores with their sides and people, checked once.

    Attributes:
        score: (n,) float64, larger = more member-like.
        label: (n,) bool, True on the positive side.
        code: (n,) int, the person as an index into the sorted distinct people.
        names: (people,) str, the distinct people, sorted: nothing depends on the order of the rows.
        pictures: (2, people) int, pictures of each person on the negative and the positive side.
    """

    score: Array
    label: npt.NDArray[np.bool_]
    code: npt.NDArray[np.int64]
    names: npt.NDArray[np.str_]
    pictures: npt.NDArray[np.int64]

    @property
    def both(self) -> npt.NDArray[np.bool_]:
        """(people,) bool: people with pictures on both sides (the memorisation contrast)."""
        return np.asarray((self.pictures > 0).all(axis=0))

    @property
    def people(self) -> tuple[int, int]:
        """People with pictures on the negative and on the positive side."""
        negative, positive = (self.pictures > 0).sum(axis=1)
        return int(negative), int(positive)

    def sums(self, values: Array) -> Array:
        """(2, people): `values` (n,) summed by person on the negative and the positive side."""
        flat = self.label * len(self.names) + self.code
        return np.bincount(flat, values, 2 * len(self.names)).astype(np.float64).reshape(2, -1)


def sample(score: npt.ArrayLike, label: npt.ArrayLike, person: npt.ArrayLike) -> Sample:
    """Check (score, label, person), each (n,), and index the people.

    Args:
        score: finite numbers, larger = more member-like.
        label: True or 1 on the positive side.
        person: any identifiers; compared as text.

    Raises:
        ValueError: lengths differ, a score is not finite, a label is neither 0 nor 1, or one side is empty.
    """
    s, y = np.asarray(score, np.float64), np.asarray(label)
    names, code = np.unique(np.asarray(person).astype(str), return_inverse=True)
    if not (s.ndim == 1 and s.shape == y.shape == code.shape):
        raise ValueError(f'score, label and person must be equally long: {s.shape}, {y.shape}, {code.shape}')
    if not np.isfinite(s).all():
        raise ValueError(f'{(~np.isfinite(s)).sum()} scores are not finite')
    if not np.isin(y, (0, 1)).all():
        raise ValueError('labels must be True or False')
    y = y.astype(bool)
    if not 0 < y.sum() < len(y):
        raise ValueError('both sides need pictures')
    pictures = np.stack([np.bincount(code[side], minlength=len(names)) for side in (~y, y)])
    return Sample(s, y, code, names, pictures)


# Resampling and permutation of people -----------------------------------------------------------------------


def bootstrap_weights(data: Sample, draws: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each person is drawn, (draws, people): the bootstrap over people, within each side.

    People of the negative side, of the positive side and of both are resampled apart, so that no draw is
    one-sided.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((draws, len(data.names)), np.float32)
    has = data.pictures > 0
    for group in (has[0] & ~has[1], has[1] & ~has[0], data.both):
        if size := int(group.sum()):
            weights[:, group] = rng.multinomial(size, np.full(size, 1 / size), draws)
    return weights


def permutation_keys(people: int, draws: int, seed: int) -> npt.NDArray[np.float32]:
    """Random keys (2, draws, people): the first order people to change sides, the second decide swaps."""
    return np.random.default_rng(seed).random((2, draws, people), np.float32)


def permuted_sides(data: Sample, keys: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Permuted sides (draws, people) of 0 and 1, from `permutation_keys` of these people.

    A person on one side takes, with all pictures, the side of the person whose place its key has. A person on
    both sides swaps its two sets of pictures (1) or keeps them (0): the draw of the training impressions
    within a person.
    """
    both = data.both
    sides = np.empty(keys.shape[1:], np.float32)
    sides[:, both] = keys[1][:, both] < 0.5
    single = np.flatnonzero(~both)
    positive = (data.pictures[1] > 0)[single].astype(np.float32)
    sides[:, single] = positive[np.argsort(keys[0][:, single], axis=1)]
    return sides


def observed_sides(data: Sample) -> npt.NDArray[np.float32]:
    """The sides as they are, (1, people), as `permuted_sides` writes them."""
    return ((data.pictures[1] > 0) & ~data.both).astype(np.float32)[None]


def permuted_sums(data: Sample, sides: npt.NDArray[np.float32], values: Array) -> Array:
    """Sum of `values` (n,) over the pictures that `sides` (draws, people) makes positive, (draws,)."""
    negative, positive = data.sums(values)
    both = data.both
    slope = np.where(both, negative - positive, negative + positive)
    return np.asarray(positive[both].sum() + sides @ slope)


def permuted_labels(data: Sample, sides: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """The label of every picture under `sides` (draws, people), (draws, n)."""
    keep = data.label & data.both[data.code]
    return np.asarray((sides[:, data.code] > 0.5) ^ keep)


def permuted_auc(data: Sample, sides: npt.NDArray[np.float32]) -> Array:
    """The AUC under each row of `sides` (draws, people), (draws,): two products with the midranks' sums."""
    ranks = permuted_sums(data, sides, stats.rankdata(data.score))
    m = permuted_sums(data, sides, np.ones(len(data.score)))
    return np.asarray((ranks - m * (m + 1) / 2) / (m * (len(data.score) - m)))


def tail(observed: float, permuted: Array) -> float:
    """Permutation p-value (1 + how many reach `observed`) / (1 + draws): never 0, valid for few draws."""
    return float((1 + (permuted >= observed - _SAME).sum()) / (1 + len(permuted)))


def percentiles(drawn: Array, estimate: float, people: int, edge_people: float = 0) -> Interval:
    """95 % bootstrap interval that holds `estimate`: percentiles, expanded for few people (Hesterberg 2015).

    With k people the tails are the normal's beyond sqrt(k / (k - 1)) t[k - 1]: plain percentiles are too narrow, at
    10 people a side they left out a true 0.5 in 9.5 % of audits. A rate of exactly 0 or 1 varies in no draw: its
    bound is then the exact one of `edge_people`, if given.
    """
    if people < 2 or not len(drawn):
        return None, None
    tail_ = stats.norm.sf(np.sqrt(people / (people - 1)) * stats.t.ppf(0.975, people - 1))
    low, high = (float(q) for q in np.quantile(drawn, (tail_, 1 - tail_)))
    low, high = min(low, estimate), max(high, estimate)
    if edge_people >= 1:
        edge = 0.025 ** (1 / edge_people)
        low = min(low, edge) if estimate >= 1 else low
        high = max(high, 1 - edge) if estimate <= 0 else high
    return low, high


def logit_interval(area: float, half: float | None, people: float, level: float = 0.95) -> Interval:
    """Interval of an area under a curve on the logit scale, which keeps it within [0, 1].

    Args:
        area: in [0, 1].
        half: half the width on the area's own scale (a t quantile times the standard error); None: unknown.
        people: at exactly 1 the lower bound is ((1 - level) / 2)^(1 / people), at 0 the upper one its mirror.
    """
    edge = float(((1 - level) / 2) ** (1 / people))
    if area >= 1:
        return edge, 1.0
    if area <= 0:
        return 0.0, 1 - edge
    if half is None:
        return None, None
    width = half / (area * (1 - area))
    return float(expit(logit(area) - width)), float(expit(logit(area) + width))


def joined(a: Rate, b: Rate) -> tuple[float, float] | None:
    """Distances of the bounds of a - b from it, out of the two rates' own intervals (MOVER; Zou & Donner 2008).

    For a rate of exactly 0 or 1, which shows no variance of its own and is as uncorrelated as a constant.
    """
    if a.estimate is None or b.estimate is None or None in (*a.interval, *b.interval):
        return None
    low = np.hypot(a.estimate - a.lower, b.upper - b.estimate)
    return float(low), float(np.hypot(a.upper - a.estimate, b.estimate - b.lower))


# Means over people, of values that know no side ----------------------------------------------------------------


def resampled(strata: npt.ArrayLike, draws: int, seed: int) -> Array:
    """How often each person counts, (1 + draws, people): once each in the first row, then bootstraps.

    Args:
        strata: (people,) the group that each person is resampled within.
    """
    groups, rng = np.asarray(strata), np.random.default_rng(seed)
    weights = np.ones((1 + draws, len(groups)))
    for group in np.unique(groups):
        size = int((groups == group).sum())
        weights[1:, groups == group] = rng.multinomial(size, np.full(size, 1 / size), draws)
    return weights


def people_of(person: npt.ArrayLike, rows: int) -> tuple[npt.NDArray[np.int64], int]:
    """(n,) index into the sorted distinct people, and their number.

    Raises:
        ValueError: not one person a row, or no rows.
    """
    names, code = np.unique(np.asarray(person).astype(str), return_inverse=True)
    if code.shape != (rows,) or not rows:
        raise ValueError(f'one person a row is needed: {code.shape} for {rows} rows')
    return code, len(names)


def finite(values: npt.ArrayLike, what: str) -> Array:
    """The values as float64.

    Raises:
        ValueError: one is not finite.
    """
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f'{(~np.isfinite(array)).sum()} {what} are not finite')
    return array


def proportion(
    right: npt.ArrayLike, person: npt.ArrayLike, seed: int, chance: float | None = None, draws: int = BOOTSTRAPS
) -> Rate:
    """Mean of values in [0, 1], one a picture, with a bootstrap over people; at 0 and 1 the exact bound of the people.

    Args:
        right: (n,) bool, or the share that is right where ties count their expectation.
        person: (n,) whose picture each is.

    Raises:
        ValueError: a value outside [0, 1] or not finite, not one person a row, no rows.
    """
    values = finite(right, 'values')
    code, k = people_of(person, len(values))
    if values.min() < 0 or values.max() > 1:
        raise ValueError('a proportion is of values from 0 to 1')
    weights = resampled(np.zeros(k), draws, seed)
    drawn = (weights @ np.bincount(code, values, k)) / (weights @ np.bincount(code, minlength=k))
    estimate = float(values.mean())
    return Rate(estimate, percentiles(drawn[1:], estimate, k, k), chance, len(values), k)


# Tests ------------------------------------------------------------------------------------------------------


def permutation_p(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    seed: int,
    *,
    two_sided: bool = False,
    draws: int = PERMUTATIONS,
) -> float:
    """p-value of the AUC by permuting whole people between the sides, each with all of its pictures.

    People on both sides (memorisation) swap their two sets of pictures instead. Exact under the audit's own
    random draw of members, whatever the numbers of pictures.

    Args:
        score, label, person: (n,) each, see `sample`.
        seed: of the permutations.
        two_sided: judge |AUC - 0.5| (a control whose direction is unknown) rather than the AUC.
    """
    data = sample(score, label, person)
    sides = permuted_sides(data, permutation_keys(len(data.names), draws, seed))
    observed, permuted = permuted_auc(data, observed_sides(data)), permuted_auc(data, sides)
    if two_sided:
        observed, permuted = np.abs(observed - 0.5), np.abs(permuted - 0.5)
    return tail(observed[0], permuted)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjusted p-values, in the order given."""
    p = np.asarray(ps, float)
    order = np.argsort(p, kind='stable')
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(a) for a in adjusted]


def max_t(
    family: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]],
    seed: int,
    draws: int = PERMUTATIONS,
) -> dict[str, float]:
    """Adjusted p-value of each entry of a family of attacks and contrasts: step-down max-T (Westfall & Young
    1993).

    The statistic is the AUC over its permutation standard deviation. One permutation of people goes through
    all entries at once, so entries that share people keep their dependence; changes of side (MIA, IIA) and
    swaps within people (memorisation) are drawn apart.

    Args:
        family: name -> (score, label, person), (n,) each; the sizes and the people may differ between
            entries.
    """
    samples = {name: sample(*entry) for name, entry in family.items()}
    names = np.unique(np.concatenate([s.names for s in samples.values()]))
    keys = permutation_keys(len(names), draws, seed)
    observed, permuted = np.empty(len(samples)), np.empty((len(samples), draws))
    for i, data in enumerate(samples.values()):
        auc = permuted_auc(data, permuted_sides(data, keys[:, :, np.searchsorted(names, data.names)]))
        spread = auc.std() or np.inf  # a constant score has nothing to say: its statistic is 0
        observed[i] = (permuted_auc(data, observed_sides(data))[0] - 0.5) / spread
        permuted[i] = (auc - 0.5) / spread
    order = np.argsort(-observed, kind='stable')
    rest = np.maximum.accumulate(permuted[order[::-1]])[::-1]  # maximum over this entry and later ones
    p = np.maximum.accumulate([tail(observed[i], row) for i, row in zip(order, rest, strict=True)])
    adjusted = dict(zip(order.tolist(), p.tolist(), strict=True))
    return {name: adjusted[i] for i, name in enumerate(samples)}


def permuted_null(
    score: npt.ArrayLike, label: npt.ArrayLike, person: npt.ArrayLike, seed: int, draws: int = PERMUTATIONS
) -> Rate:
    """Mean AUC over whole-people permutations, with their 95 % range as interval.

    It checks the arithmetic; the placebo checks the attack.
    """
    data = sample(score, label, person)
    auc = permuted_auc(data, permuted_sides(data, permutation_keys(len(data.names), draws, seed)))
    return null_range(auc, len(data.score), len(data.names))


def null_range(permuted: Array, n: int, k: int) -> Rate:
    """Mean of areas under permutations (draws,) of k people with n pictures, their 95 % range as interval."""
    low, high = np.quantile(permuted, (0.025, 0.975))
    note = '95 % range over permutations of people'
    return Rate(float(permuted.mean()), (float(low), float(high)), 0.5, n, k, note=note)


def smallest_detectable(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    seed: int,
    power: float = 0.8,
    alpha: float = 0.05,
    *,
    placebo: npt.ArrayLike | None = None,
    recalibrated: tuple[npt.ArrayLike | None, npt.ArrayLike | None] = (None, None),
    draws: int = PERMUTATIONS,
) -> Rate:
    """The smallest true AUC that this attack on these people would have shown in `power` of such audits.

    0.5 + (t[1 - alpha/2] + t[power]) x the standard deviation of the AUC over permutations of people, with
    the people's degrees of freedom. With `placebo`, the attack minus placebo must be found too, as the
    verdict asks: the shift is then the `power` quantile, over the same permutations, of the larger of the two
    shifts that are needed.

    Args:
        score, label, person: (n,) each, see `sample`; for the verdict those of the primary endpoint.
        power: share of audits, 0.8 = "4 of 5".
        alpha: two-sided level of the interval that must exclude chance.
        placebo: (n,) scores of the same pictures by the placebo victim's attack.
        recalibrated: (R, n) of the attack and of the placebo, as for `membership.auc_difference`: the intervals that
            must exclude chance are wider by as much.

    Returns:
        Rate whose estimate is that AUC, None where even a perfect attack would not do; it has no interval.
    """
    data = sample(score, label, person)
    sides = permuted_sides(data, permutation_keys(len(data.names), draws, seed))
    df = len(data.names) - (1 if data.both.all() else 2)
    other = None if placebo is None else permuted_auc(sample(placebo, label, person), sides)
    own, others = (np.full((1, 1), 0.5) if each is None else np.array(
        [permuted_auc(sample(row, label, person), sides[:SOME]) for row in np.asarray(each)]) for each in recalibrated)
    extra = _between(own), _between(own - others)
    found = detectable(permuted_auc(data, sides), df, power, alpha, other, extra)
    return replace(found, n=len(data.score), n_people=len(data.names))


def _between(areas: Array) -> float:
    """Variance over the rows (R, draws), mean over the columns; 0 of a single row."""
    return float(areas.var(axis=0, ddof=1).mean()) if len(areas) > 1 else 0.0


def detectable(
    permuted: Array, df: int, power: float = 0.8, alpha: float = 0.05, placebo: Array | None = None,
    extra: tuple[float, float] = (0.0, 0.0),
) -> Rate:
    """The arithmetic of `smallest_detectable`, for any area whose chance is 0.5.

    Args:
        permuted: (draws,) the area under permutations.
        df: the people's degrees of freedom.
        placebo: (draws,) the placebo's area under the same permutations.
        extra: variances that the interval of the area, and of the area minus the placebo's, holds beside.

    Returns:
        Rate whose counts, `n` and `n_people`, are left at 0 for the caller.
    """
    if df < 1:
        return Rate(None, (None, None), 0.5, 0, 0, note='too few people')
    critical, reserve = stats.t.ppf((1 - alpha / 2, power), df)
    shift = critical * np.sqrt(permuted.var() + extra[0]) + reserve * permuted.std()
    note = f'for this attack; power {power:g}, two-sided level {alpha:g}'
    if placebo is not None:
        stretch = reserve / stats.norm.ppf(power)  # widens the permutations' quantile as t does the normal's
        needed = [critical * np.sqrt(x.var() + more) - stretch * (x - x.mean())
                  for x, more in zip((permuted, permuted - placebo), extra, strict=True)]
        shift = max(shift, float(np.quantile(np.maximum(*needed), power)))
        note += '; attack and attack minus placebo'
    if 0.5 + shift >= 1:
        return Rate(None, (None, None), 0.5, 0, 0, note='not even a perfect attack would show')
    return Rate(float(0.5 + shift), (None, None), 0.5, 0, 0, note=note)
