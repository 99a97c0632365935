"""Membership rates over people: AUC, attack minus placebo, TPR at an FPR, balanced accuracy, hits among the
top k.

All are functions of arrays (score, label, person), one element a picture: score larger = more member-like,
label True on the positive side of the contrast. None depends on the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import stats

from fpray.metrics import people
from fpray.metrics.people import BOOTSTRAPS, Array, Sample, sample
from fpray.metrics.rate import Interval, Rate

if TYPE_CHECKING:
    import pandas as pd

# The column that is the positive side of each contrast: what an attack is to tell in it.
LABELS = {'mia': 'is_member', 'iia': 'is_member_subject', 'memorisation': 'is_member'}
VICTIMS = 3  # that words about more than one model file need
RESOLVABLE = 5  # false positives, and people behind them, that an FPR needs
RECALIBRATED = 'recalibrated_'  # columns of a table of scores: the same scores after other draws of the calibration
_CHUNK = 128  # draws at a time: 4,000 scores stay in the processor's cache


# Scores and units -------------------------------------------------------------------------------------------


def rank_average(scores: Sequence[npt.ArrayLike]) -> Array:
    """Mean of the normalised midranks (rank - 0.5) / n, in (0, 1), of several scores (n,) of one set."""
    ranks = [stats.rankdata(np.asarray(s, np.float64)) for s in scores]
    # midranks are halves, whose sum is exact: dividing last keeps ties, whatever the order of the scores
    return np.asarray((np.sum(ranks, axis=0) / len(ranks) - 0.5) / len(ranks[0]))


def by_unit(frame: 'pd.DataFrame', unit: str, how: str) -> 'pd.DataFrame':
    """The table of membership scores with one row a finger ('identity') or person ('subject').

    Pictures are joined only within one attack, victim, replicate, contrast and side, so that a person on both
    sides (memorisation) keeps two rows. `pictures` says how many pictures a row stands for. Recalibrated scores
    (`refits`) are joined as the scores are.

    Args:
        frame: the table of scores; needs `score`, the unit's column and the membership columns.
        unit: 'identity' or 'subject'.
        how: 'mean' or 'max' of the pictures' scores.

    Raises:
        ValueError: another unit or another `how`.
    """
    if unit not in ('identity', 'subject') or how not in ('mean', 'max'):
        raise ValueError(f"unit is 'identity' or 'subject', how is 'mean' or 'max'; got {unit!r}, {how!r}")
    fixed = ('attack', 'victim', 'replicate', 'contrast', 'subject', unit)
    sides = ('is_member', 'is_member_identity', 'is_member_subject')
    keys = [c for c in dict.fromkeys((*fixed, *sides)) if c in frame.columns]
    groups = frame.groupby(keys, sort=True, dropna=False)
    table = groups['score'].agg(score=how, pictures='size')
    if again := [c for c in frame.columns if c.startswith(RECALIBRATED)]:
        table = table.join(groups[again].agg(how))
    return table.reset_index()


def refits(frame: 'pd.DataFrame', suffix: str = '') -> Array | None:
    """(R, n) of a table of n scores: its columns `recalibrated_0` to R - 1, with a suffix; None without any."""
    found = frame.filter(regex=rf'^{RECALIBRATED}\d+{suffix}$')
    return found.to_numpy(np.float64).T if found.shape[1] else None


def arrays(frame: 'pd.DataFrame', contrast: str) -> tuple[Array, npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    """(score, label, person) of a table of scores, with the label that the contrast asks for (`LABELS`)."""
    label = frame[LABELS[contrast]].to_numpy(bool)
    return frame['score'].to_numpy(np.float64), label, frame['subject'].to_numpy().astype(str)


# Area under the ROC curve -----------------------------------------------------------------------------------


def auc(score: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in order, ties counted half.

    Raises:
        ValueError: one side is empty.
    """
    s, y = np.asarray(score, np.float64), np.asarray(label, bool)
    m = int(y.sum())
    if not 0 < m < len(y):
        raise ValueError('both sides need pictures')
    return float((stats.rankdata(s)[y].sum() - m * (m + 1) / 2) / (m * (len(y) - m)))


def auc_clustered(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    level: float = 0.95,
    seed: int | None = None,
    *,
    recalibrated: npt.ArrayLike | None = None,
) -> Rate:
    """AUC with an interval over people.

    Obuchowski's (1997, Biometrics 53:567) variance for clustered data, with her covariance term for people on
    both sides, on the logit scale with Satterthwaite's t. An AUC of exactly 1 has the lower bound
    a^(1/people) with a = (1 - level) / 2 and the people of the smaller side; 0 has the mirror.

    Args:
        score, label, person: (n,) each, see `people.sample`.
        level: of the two-sided interval.
        seed: gives a one-sided p by permuting people; without it p is None.
        recalibrated: (R, n), R at least 2, the scores under R bootstraps of the people that a calibration was
            fitted on (`fpray.attacks.compression.recalibrated_scores`). The variance of their R AUCs is added,
            with R - 1 degrees of freedom; p and the bounds at exactly 0 and 1 stay those of the calibration as
            it is. Without it the interval speaks of that one calibration.

    Returns:
        Rate with chance 0.5; the bounds are None where a side has one person or the scores do not vary over
        people.
    """
    data = sample(score, label, person)
    area, residual = _placements(data, data.score)
    interval = _auc_interval(data, area, residual, level, _areas(data, recalibrated, area))
    p = None if seed is None else people.permutation_p(score, label, person, seed)
    note = '' if interval[0] is not None else 'no interval: the people do not vary'
    return Rate(area, interval, 0.5, len(data.score), len(data.names), p, note)


def auc_difference(
    score_a: npt.ArrayLike,
    score_b: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    level: float = 0.95,
    *,
    recalibrated: tuple[npt.ArrayLike | None, npt.ArrayLike | None] = (None, None),
) -> Rate:
    """AUC of `score_a` minus AUC of `score_b` on the same pictures, paired by person (attack minus placebo).

    The variance is that of the difference of the people's placement values (Obuchowski 1997, as for one AUC),
    with Satterthwaite's t. Where one AUC is exactly 0 or 1 it shows no variance of its own: the interval then
    joins the two AUCs' own intervals, uncorrelated as a constant is (MOVER; Zou & Donner 2008, Statistics in
    Medicine 27:1693).

    Args:
        score_a, score_b, label, person: (n,) each, see `people.sample`.
        level: of the two-sided interval.
        recalibrated: of either score (R, n) as for `auc_clustered`, None where it hangs on no calibration. Row r of
            both comes from the same draw, so what the draw does to both AUCs alike cancels.

    Returns:
        Rate with chance 0, bounds within [-1, 1]; None where a side has one person or the people do not vary.
    """
    data = sample(score_a, label, person)
    other = sample(score_b, label, person)
    (a, res_a), (b, res_b) = _placements(data, data.score), _placements(data, other.score)
    again_a, again_b = (_areas(data, each, area) for each, area in zip(recalibrated, (a, b), strict=True))
    if {a, b} & {0.0, 1.0}:
        half = _edge_halves(data, (a, b), (res_a, res_b), level, (again_a, again_b))
    else:
        width = _half_width(data, res_a - res_b, level, again_a - again_b)
        half = None if width is None else (width, width)
    n, k = len(data.score), len(data.names)
    if half is None:
        return Rate(a - b, (None, None), 0.0, n, k, note='no interval: the people do not vary')
    return Rate(a - b, (max(a - b - half[0], -1.0), min(a - b + half[1], 1.0)), 0.0, n, k)


def _edge_halves(
    data: Sample, areas: tuple[float, float], residuals: tuple[Array, Array], level: float, again: tuple[Array, Array]
) -> tuple[float, float] | None:
    """Distances of the difference's two bounds from it, out of the two AUCs' own intervals (MOVER)."""
    a, b = areas
    low_a, high_a = _auc_interval(data, a, residuals[0], level, again[0])
    low_b, high_b = _auc_interval(data, b, residuals[1], level, again[1])
    if low_a is None or high_a is None or low_b is None or high_b is None:
        return None
    return float(np.hypot(a - low_a, high_b - b)), float(np.hypot(high_a - a, b - low_b))


def over_victims(rates: Sequence[Rate], level: float = 0.95) -> Rate:
    """Mean of one rate over victims with new seeds and new member draws, with a t interval over the victims.

    Words about a training-set size, a recipe or a defence stand on this, and need at least three victims.

    Args:
        rates: the same rate of each victim, an AUC or a difference of two (chance 0); those without an estimate are
            left out.

    Returns:
        Rate whose `n` and `n_people` are summed, its interval cut where an AUC or a difference ends; with under three
        victims no interval, and the note 'this run'.
    """
    values = np.asarray([r.estimate for r in rates if r.estimate is not None], np.float64)
    if not len(values):
        return Rate(None, (None, None), rates[0].chance, 0, 0, note='no victim has an estimate')
    n, n_people = sum(r.n for r in rates), sum(r.n_people for r in rates)
    mean, chance = float(values.mean()), rates[0].chance
    if len(values) < VICTIMS:
        return Rate(mean, (None, None), chance, n, n_people, note=f'this run: {len(values)} of {VICTIMS} victims')
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    low = max(mean - half, -1.0 if chance == 0 else 0.0)
    return Rate(mean, (low, min(mean + half, 1.0)), chance, n, n_people, note=f'over {len(values)} victims')


def over_draws(rates: Sequence[Rate]) -> Rate:
    """Mean of one rate over draws of a placebo, of the same people: its interval holds both draws and people.

    A classifier of shuffled labels, or a network that reads another's vectors, orders what it sees in some way of its own,
    alike for all people: an interval over people alone would call that a finding. Half the width is the root of the summed
    squares of the t interval over the draws and of the mean half-width over people.

    Args:
        rates: three or more, of one chance: 0.5 for an area, 0 for a difference of two.

    Returns:
        Rate with a one-sided p against the chance, from the same error as the interval; no interval where a draw has none.
    """
    values, chance = [r.estimate for r in rates if r.estimate is not None], rates[0].chance
    if min(len(rates), len(values)) < VICTIMS or chance is None:
        raise ValueError(f'{len(values)} draws with an estimate; three are needed for an interval')
    mean, df = float(np.mean(values)), len(values) - 1
    widths = [r.interval[1] - r.interval[0] for r in rates if r.interval[0] is not None and r.interval[1] is not None]
    if len(widths) < len(rates):
        return Rate(mean, (None, None), chance, rates[0].n, rates[0].n_people, note='a draw has no interval over people')
    wide = float(stats.t.ppf(0.975, df))
    half = float(np.hypot(wide * np.sqrt(draws_variance(rates)), np.mean(widths) / 2))
    low = 0.0 if chance == 0.5 else -1.0
    p = float(stats.t.sf((mean - chance) * wide / half, df)) if half > 0 else 1.0
    return Rate(mean, (max(mean - half, low), min(mean + half, 1.0)), chance, rates[0].n, rates[0].n_people, p,
                note=f'mean over {len(values)} draws; the interval holds draws and people')


def draws_variance(rates: Sequence[Rate]) -> float:
    """Variance of the mean over draws of a placebo, beyond the draw of people."""
    values = [r.estimate for r in rates if r.estimate is not None]
    return float(np.var(values, ddof=1) / len(values))


def _placements(data: Sample, score: Array) -> tuple[float, Array]:
    """AUC, and each person's summed placement values less the AUC, (2, people): negative, positive side."""
    within = np.empty(len(score))
    for side in (data.label, ~data.label):
        within[side] = stats.rankdata(score[side])
    below = stats.rankdata(score) - within  # pictures of the other side below this one, ties half
    m = int(data.label.sum())
    value = np.where(data.label, below / (len(score) - m), 1 - below / m)
    area = float(value[data.label].mean())
    return area, data.sums(value - area)


def _covariance(data: Sample, a: Array, b: Array) -> tuple[float, float, float]:
    """Obuchowski's covariance of two AUCs from their residuals: positive, negative side, people on both."""
    n, m = data.pictures.sum(axis=1)
    k0, k1 = data.people
    k = len(data.names)
    positive = k1 / (k1 - 1) * (a[1] @ b[1]) / m**2
    negative = k0 / (k0 - 1) * (a[0] @ b[0]) / n**2
    shared = k / (k - 1) * (a[1] @ b[0] + a[0] @ b[1]) / (m * n)
    return float(positive), float(negative), float(shared)


def _areas(data: Sample, recalibrated: npt.ArrayLike | None, area: float) -> Array:
    """(R,) AUCs of recalibrated scores (R, n); the one area where there is no calibration to draw anew."""
    if recalibrated is None:
        return np.array([area])
    scores, m = people.finite(recalibrated, 'recalibrated scores'), int(data.label.sum())
    if scores.ndim != 2 or len(scores) < 2 or scores.shape[1] != len(data.score):
        raise ValueError(f'recalibrated scores of shape {scores.shape} for {len(data.score)} scores: give two rows or more')
    above = stats.rankdata(scores, axis=1)[:, data.label].sum(axis=1) - m * (m + 1) / 2
    return np.asarray(above / (m * (len(data.score) - m)))


def _auc_interval(data: Sample, area: float, residual: Array, level: float, again: Array) -> Interval:
    return people.logit_interval(area, _half_width(data, residual, level, again), min(data.people), level)


def _half_width(data: Sample, residual: Array, level: float, again: Array) -> float | None:
    """Satterthwaite's t times the standard error of an AUC or a difference, from its residuals and its values (R,) under
    other calibrations; R = 1: there is none."""
    k0, k1 = data.people
    if min(k0, k1) < 2:
        return None
    positive, negative, shared = _covariance(data, residual, residual)
    variance = positive + negative + shared
    if variance <= 1e-15:
        return None
    df = variance**2 / (positive**2 / (k1 - 1) + negative**2 / (k0 - 1))
    if data.both.any():  # the two sides are no independent parts then
        df = min(k0, k1) - 1.0
    if len(again) > 1:
        extra = float(again.var(ddof=1))
        df = (variance + extra) ** 2 / (variance**2 / df + extra**2 / (len(again) - 1))
        variance += extra
    return float(stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance))


# Rates on the ROC curve, by bootstrap over people -----------------------------------------------------------


def roc(score: npt.ArrayLike, label: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """The ROC curve from (0, 0) to (1, 1): FPR, TPR, threshold (score >= it), one point a distinct score."""
    s, y = np.asarray(score, np.float64), np.asarray(label, bool)
    order, ends = _descending(s)
    positive = np.append(0, np.cumsum(y[order])[ends])
    negative = np.append(0, np.cumsum(~y[order])[ends])
    return negative / negative[-1], positive / positive[-1], np.append(np.inf, s[order][ends])


def bootstrap(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    seed: int,
    fprs: Sequence[float] = (0.01,),
    draws: int = BOOTSTRAPS,
) -> Array:
    """AUC and TPR at each FPR over bootstraps of people, (draws, 1 + len(fprs)); see `tpr_at_fpr` for the
    TPR.

    About 0.3 s for 1,000 draws of 4,000 scores: people become weights, and the curve of a weighted sample is
    two cumulative sums.
    """
    data = sample(score, label, person)
    weights = people.bootstrap_weights(data, draws, seed)
    order, ends = _descending(data.score)
    code, positive = data.code[order], data.label[order].astype(np.float32)
    out = []
    for start in range(0, draws, _CHUNK):
        w = weights[start : start + _CHUNK, code]
        out.append(_curve_statistics(w * positive, w, ends, fprs))
    return np.concatenate(out)


def mean_gap(
    value: npt.ArrayLike, label: npt.ArrayLike, person: npt.ArrayLike, seed: int, draws: int = BOOTSTRAPS
) -> Rate:
    """Mean of a quantity over the positives minus its mean over the negatives, signed, with a bootstrap over people.

    Args:
        value, label, person: (n,) a number, whether it is a positive's, and whose it is, per picture.
        seed, draws: of the bootstrap.

    Returns:
        Rate in the quantity's own unit, chance 0; no interval with fewer than two people a side.
    """
    data = sample(value, label, person)
    sums, weights = data.sums(data.score), people.bootstrap_weights(data, draws, seed).astype(np.float64)
    negative, positive = (weights @ sums[side] / (weights @ data.pictures[side]) for side in (0, 1))
    estimate = float(data.score[data.label].mean() - data.score[~data.label].mean())
    interval = _percentiles(positive - negative, estimate, data)
    return Rate(estimate, interval, 0.0, len(data.score), len(data.names))


def smallest_resolvable_fpr(score: npt.ArrayLike, label: npt.ArrayLike, person: npt.ArrayLike) -> float | None:
    """The smallest FPR with 5 false positives or more, from 5 people or more; None where there is none."""
    data = sample(score, label, person)
    negative, code = data.score[~data.label], data.code[~data.label]
    order, ends = _descending(negative)
    first = np.zeros(len(order), int)
    first[np.unique(code[order], return_index=True)[1]] = 1
    enough = (ends + 1 >= RESOLVABLE) & (np.cumsum(first)[ends] >= RESOLVABLE)
    return float((ends[enough][0] + 1) / len(order)) if enough.any() else None


def tpr_at_fpr(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    fpr: float = 0.01,
    seed: int = 0,
    draws: int = BOOTSTRAPS,
) -> Rate:
    """True-positive rate at a false-positive rate, where the people can resolve it.

    With k = floor(fpr x negatives): the share of positives above the k-th negative, linear through ties. (The
    curve's other end at k false positives, just above the next negative, is (k + 1) / k times chance under the
    null.) The interval is a bootstrap over people, p a permutation of people.

    Args:
        score, label, person: (n,) each, see `people.sample`.
        fpr: in (0, 1).

    Returns:
        Rate with chance `fpr`. Where `fpr` gives fewer than 5 false positives or they come from fewer than 5
        people, the estimate is None and the note names the smallest FPR that can be resolved, with the TPR
        there.
    """
    data = sample(score, label, person)
    n, k = len(data.score), len(data.names)
    finest = smallest_resolvable_fpr(score, label, person)
    if finest is None:
        return Rate(None, (None, None), fpr, n, k, note='not resolvable: under 5 people')
    if np.floor(fpr * (~data.label).sum() + 1e-9) < round(finest * (~data.label).sum()):
        at = tpr_at_fpr(score, label, person, finest, seed, draws)
        there = f'{at.estimate:.3f} ({at.lower:.3f}-{at.upper:.3f})'
        note = f'not resolvable; the smallest FPR that is: {finest:.4f}, TPR there {there}'
        return Rate(None, (None, None), fpr, n, k, note=note)
    order, ends = _descending(data.score)
    positive = data.label[order].astype(np.float32)[None]
    observed = float(_curve_statistics(positive, np.ones_like(positive), ends, [fpr])[0, 1])
    drawn = bootstrap(score, label, person, seed, [fpr], draws)[:, 1]
    sides = people.permuted_sides(data, people.permutation_keys(k, draws - 1, seed))
    permuted = []
    for start in range(0, len(sides), _CHUNK):
        labels = people.permuted_labels(data, sides[start : start + _CHUNK])[:, order].astype(np.float32)
        permuted.append(_curve_statistics(labels, np.ones_like(labels), ends, [fpr])[:, 1])
    interval = _percentiles(drawn, observed, data, data.people[1])
    return Rate(observed, interval, fpr, n, k, people.tail(observed, np.concatenate(permuted)))


def balanced_accuracy(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    threshold: float,
    seed: int = 0,
    draws: int = BOOTSTRAPS,
) -> Rate:
    """Mean of the true-positive and the true-negative rate where score >= `threshold` says member.

    The threshold comes from elsewhere (the rehearsal victim), never from these scores. Interval by bootstrap
    over people; a side that is all right or all wrong varies in no bootstrap and adds its exact bound over
    people. p by permuting people.
    """
    data = sample(score, label, person)
    said = (data.score >= threshold).astype(float)
    n, m = data.pictures.sum(axis=1)
    hits = data.sums(said)
    tpr, fpr = hits[1].sum() / m, hits[0].sum() / n
    weights = people.bootstrap_weights(data, draws, seed)
    drawn_tpr = (weights @ hits[1]) / (weights @ data.pictures[1])
    drawn_fpr = (weights @ hits[0]) / (weights @ data.pictures[0])
    estimate = float((tpr + 1 - fpr) / 2)
    low, high = _percentiles((drawn_tpr + 1 - drawn_fpr) / 2, estimate, data)
    if low is not None and high is not None:
        for rate, k in ((tpr, data.people[1]), (1 - fpr, data.people[0])):
            slack = (1 - 0.025 ** (1 / k)) / 2
            low, high = low - slack * (rate == 1), high + slack * (rate == 0)
    sides = people.permuted_sides(data, people.permutation_keys(len(data.names), people.PERMUTATIONS, seed))
    yes, count = (people.permuted_sums(data, sides, x) for x in (said, np.ones(len(said))))
    permuted = (yes / count + 1 - (said.sum() - yes) / (len(said) - count)) / 2
    return Rate(estimate, (low, high), 0.5, len(said), len(data.names), people.tail(estimate, permuted))


@dataclass(frozen=True)
class TopK(Rate):
    """Share of members among the k highest scores (Table 5.1 of the thesis), a `Rate` with its counts.

    Attributes:
        k: pictures looked at.
        hits: members among them; ties at the k-th place count their expectation.
        hit_people: distinct people among the hits (expected, with ties).
        p_source: exact binomial p at the base rate, "as the source": it takes pictures for independent.
    """

    k: int = 0
    hits: float = 0.0
    hit_people: float = 0.0
    p_source: float = 1.0


def top_k(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    k: float = 0.5,
    seed: int = 0,
    draws: int = BOOTSTRAPS,
) -> TopK:
    """Members among the k highest scores: estimate hits / k, chance the base rate, p by permuting people.

    Args:
        score, label, person: (n,) each, see `people.sample`.
        k: a number of pictures, or a share of them where below 1 (0.5 = "top 50 %", at least one picture).

    Raises:
        ValueError: more pictures asked for than there are, or none.
    """
    data = sample(score, label, person)
    n = len(data.score)
    k = int(k) if k >= 1 else max(1, int(k * n + 1e-9))
    if not 0 < k <= n:
        raise ValueError(f'k must lie between 1 and the {n} pictures, got {k}')
    within = inclusion(data.score, k)
    base = float(data.label.mean())
    hits = float(within @ data.label)
    sides = people.permuted_sides(data, people.permutation_keys(len(data.names), people.PERMUTATIONS, seed))
    excess = people.permuted_sums(data, sides, within) / k - people.permuted_sums(data, sides, np.ones(n)) / n
    hit_people, miss_people = (_expected_people(data, within, k, side) for side in (data.label, ~data.label))
    drawn = _bootstrap_top(data, k / n, draws, seed)
    interval = _percentiles(drawn, hits / k, data, hit_people if hits else miss_people)
    return TopK(
        hits / k, interval, base, n, len(data.names), people.tail(hits / k - base, excess),
        k=k, hits=hits, hit_people=hit_people,
        p_source=float(stats.binom.sf(np.floor(hits + 1e-9) - 1, k, base)),
    )  # fmt: skip


def inclusion(score: Array, k: int) -> Array:
    """Probability of each picture to lie among the k highest of (n,) scores, ties broken at random, (n,)."""
    cut = np.partition(score, len(score) - k)[len(score) - k]
    above, tied = score > cut, score == cut
    return above + tied * ((k - above.sum()) / tied.sum())


def _expected_people(data: Sample, within: Array, k: int, side: npt.NDArray[np.bool_]) -> float:
    """Expected number of distinct people with a picture of this side (n,) among the k highest."""
    sure = np.unique(data.code[side & (within >= 1)])
    tied = (within > 0) & (within < 1)
    if not tied.any():
        return float(len(sure))
    chance = side & tied & ~np.isin(data.code, sure)
    mine = np.bincount(data.code[chance])
    places = k - int((within >= 1).sum())
    missed = stats.hypergeom.pmf(0, int(tied.sum()), mine[mine > 0], places)
    return float(len(sure) + (1 - missed).sum())


def _bootstrap_top(data: Sample, share: float, draws: int, seed: int) -> Array:
    """Share of positives among the `share` highest of each bootstrap over people, (draws,)."""
    weights = people.bootstrap_weights(data, draws, seed)
    order, ends = _descending(data.score)
    code, positive = data.code[order], data.label[order].astype(np.float32)
    out = []
    for start in range(0, draws, _CHUNK):
        w = weights[start : start + _CHUNK, code]
        all_ = np.cumsum(w, axis=1)[:, ends]
        hits = np.cumsum(w * positive, axis=1)[:, ends]
        limit = share * all_[:, -1]
        out.append(_interpolate(all_, hits, limit) / limit)
    return np.concatenate(out)


def _descending(score: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Order of falling scores, and the last place of each distinct score in it."""
    order = np.argsort(-score, kind='stable')
    return order, np.flatnonzero(np.append(np.diff(score[order]) != 0, True))


def _curve_statistics(
    positive: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    ends: npt.NDArray[np.int64],
    fprs: Sequence[float],
) -> Array:
    """AUC and TPR at each FPR of weighted samples in falling order of score, (draws, 1 + len(fprs)).

    Args:
        positive: weights of the positive pictures, 0 elsewhere, (draws, n); whole numbers, exact in float32.
        weight: weights of all pictures, (draws, n).
        ends: last place of each distinct score.
    """
    tp, fp = (np.cumsum(w, axis=1) for w in (positive, weight - positive))
    if len(ends) < tp.shape[1]:
        tp, fp = tp[:, ends], fp[:, ends]
    m, n = tp[:, -1].astype(float), fp[:, -1].astype(float)
    above = (fp[:, 1:] - fp[:, :-1]) * (tp[:, 1:] + tp[:, :-1])
    area = (above.sum(axis=1, dtype=np.float64) + fp[:, 0] * tp[:, 0]) / (2 * m * n)
    rates = [_interpolate(fp, tp, np.floor(fpr * n + 1e-9)) / m for fpr in fprs]
    return np.column_stack([area, *rates])


def _interpolate(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], limit: Array) -> Array:
    """y where the rising x (draws, points) first reaches `limit` (draws,), linear within that step."""
    rows = np.arange(len(x))
    j = (x < limit[:, None]).sum(axis=1)
    x1, y1 = x[rows, j].astype(float), y[rows, j].astype(float)
    x0, y0 = (np.where(j > 0, a[rows, j - 1], 0).astype(float) for a in (x, y))
    return np.asarray(y0 + (y1 - y0) * (limit - x0) / np.maximum(x1 - x0, 1e-30))


def _percentiles(drawn: Array, estimate: float, data: Sample, edge_people: float = 0) -> Interval:
    """The percentiles of the smaller side's people; at 0 or 1 the exact bound of `edge_people`, if given."""
    return people.percentiles(drawn, estimate, min(data.people), edge_people)
