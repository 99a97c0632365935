"""What is left of a print: ridge orientation, coherence and frequency, singular points, minutiae, pores.

Pure functions of pictures (H, W) on the 0-255 scale, any size, and of the points found in them; `share` and
`distances` turn values a picture into numbers with intervals over people. Coordinates are (x, y) px, x to the
right, y down; angles are radians counter-clockwise, as on paper.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, gaussian_laplace, label, maximum_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from fpray.metrics import people
from fpray.metrics.people import Array
from fpray.metrics.rate import Rate

PERIOD_MM = 0.46  # mean distance of ridges: 9 px at 500 dpi
CORE, DELTA = 1, -1
BOOTSTRAPS, PERMUTATIONS = 1_000, 999
_RATIO = 0.1  # of the strongest tenth's gradient energy, below which a place is background
_SHORTEST = 2.2  # px, the smallest period that a picture can show with some margin


# Ridges -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Structure:
    """The structure tensor of a picture, place by place; all (H, W).

    Attributes:
        orientation: of the ridges, in [0, pi).
        coherence: 0 (no direction) to 1 (parallel ridges).
        energy: mean squared gradient, gray levels^2 / px^2.
    """

    orientation: Array
    coherence: Array
    energy: Array


def structure(picture: npt.ArrayLike, window: float = 6.0, slope: float = 1.0) -> Structure:
    """Orientation and coherence by the structure tensor (Bigun & Granlund 1987; Bazen & Gerez 2002, "Systematic
    methods for the computation of the directional fields and singular points of fingerprints", section 2).

    Args:
        picture: (H, W).
        window: px, deviation of the Gaussian over which the tensor is averaged; about 2/3 of a ridge period.
        slope: px, deviation of the Gaussian derivatives.
    """
    gray = np.asarray(picture, np.float64)
    right, down = (gaussian_filter(gray, slope, order=order) for order in ((0, 1), (1, 0)))
    xx, yy, xy = (gaussian_filter(product, window) for product in (right**2, down**2, -right * down))
    energy = xx + yy
    length = np.hypot(xx - yy, 2 * xy)
    across = np.arctan2(2 * xy, xx - yy) / 2  # of the gradient, which crosses the ridges
    coherence = np.divide(length, energy, out=np.zeros_like(energy), where=energy > 1e-9)
    return Structure((across + np.pi / 2) % np.pi, np.minimum(coherence, 1), energy)


def foreground(made: Structure) -> npt.NDArray[np.bool_]:
    """Where the print is, (H, W): places with at least a tenth of the gradient energy of the strongest tenth."""
    return np.asarray(made.energy > max(_RATIO * float(np.quantile(made.energy, 0.9)), 1e-9))


def turn(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Angle between orientations (ridges have no sense of direction), in [0, pi / 2]."""
    gap = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)) % np.pi
    return np.asarray(np.minimum(gap, np.pi - gap))


def ridge_frequency(picture: npt.ArrayLike, mask: npt.NDArray[np.bool_], block: int = 32) -> Array:
    """Ridges a px of overlapping blocks, (rows, columns): the strongest peak of the windowed power spectrum.

    The peak is placed between the samples of the spectrum by a parabola through its logarithm. Periods from
    2.2 px to half a block count.

    Args:
        picture: (H, W).
        mask: (H, W), where the print is; a block counts if three quarters of it are print.
        block: px a side, at most the picture's.

    Returns:
        NaN where a block does not count or shows no peak.
    """
    gray = np.asarray(picture, np.float64)
    side = min(block, *gray.shape)
    step = max(1, side // 2)
    blocks = _blocks(gray, side, step)
    valid = _blocks(mask.astype(np.float64), side, step).mean(axis=(-2, -1)) >= 0.75
    found = np.full(valid.shape, np.nan)
    if valid.any():
        found[valid] = _peak(blocks[valid])
    return found


def _blocks(values: Array, side: int, step: int) -> Array:
    return np.asarray(np.lib.stride_tricks.sliding_window_view(values, (side, side))[::step, ::step])


def _peak(blocks: Array) -> Array:
    """Frequency of the strongest peak of each block (n, side, side), NaN where it lies on the band's edge."""
    side = blocks.shape[-1]
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1])
    centred = (blocks - blocks.mean(axis=(1, 2), keepdims=True)) * window
    size = 2 * side  # twice the samples: the parabola then errs by under 0.3 %
    power = np.fft.fftshift(np.abs(np.fft.fft2(centred, (size, size))), axes=(1, 2)) + 1e-9
    axis = np.fft.fftshift(np.fft.fftfreq(size))
    radius = np.hypot(axis[:, None], axis[None])
    band = (radius >= 2 / side) & (radius <= 1 / _SHORTEST)
    best = np.where(band, power, 0).reshape(len(blocks), -1).argmax(axis=1)
    row, column = np.unravel_index(best, (size, size))
    n = np.arange(len(blocks))
    y = axis[row] + _vertex(*(np.log(power[n, row + d, column]) for d in (-1, 0, 1))) / size
    x = axis[column] + _vertex(*(np.log(power[n, row, column + d]) for d in (-1, 0, 1))) / size
    frequency = np.hypot(x, y)
    top = power[n, row, column]
    kept = (frequency >= 2 / side) & (top > 1e-6) & np.isfinite(frequency)
    return np.where(kept, frequency, np.nan)


def _vertex(before: Array, at: Array, after: Array) -> Array:
    """Where between the neighbours, in (-1/2, 1/2), a parabola through three values peaks."""
    bend = before - 2 * at + after
    return np.clip(np.divide(before - after, 2 * bend, out=np.zeros_like(at), where=bend < -1e-12), -0.5, 0.5)


# Points -----------------------------------------------------------------------------------------------------


def singular_points(
    orientation: Array, mask: npt.NDArray[np.bool_], period: float = 9.0, weight: Array | None = None
) -> Array:
    """Cores and deltas of an orientation field by the Poincare index (Kawagoe & Tojo 1984), (k, 3): x, y, CORE or
    DELTA.

    The field is averaged as doubled angles over 1 1/4 ridge periods, and the index is the field's turn around a
    square of one period a side. A core and a delta nearer than three periods cancel, as noise makes them in pairs;
    a whorl's two cores stay.

    Args:
        orientation: (H, W), in radians.
        mask: (H, W), where the print is; points nearer than two periods to its edge do not count.
        period: px, of the ridges.
        weight: (H, W) of the places in the average, such as the coherence.
    """
    step = max(1, round(period / 2))
    weight = np.ones_like(orientation) if weight is None else weight
    double = (weight * mask * np.exp(2j * orientation)).astype(np.complex128)
    smooth = gaussian_filter(double.real, 1.25 * period) + 1j * gaussian_filter(double.imag, 1.25 * period)
    inner = gaussian_filter(mask.astype(np.float64), 1.0 * period) > 0.95
    field, inside = np.angle(smooth)[::step, ::step], inner[::step, ::step]
    ring = [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1), (0, 0)]  # (row, column): counter-clockwise
    rows, columns = field.shape[0] - 2, field.shape[1] - 2
    if min(rows, columns) < 1:
        return np.zeros((0, 3))
    around = np.stack([field[r : r + rows, c : c + columns] for r, c in ring])
    turns = ((np.diff(around, axis=0) + np.pi) % (2 * np.pi) - np.pi).sum(axis=0) / (2 * np.pi)
    index = np.rint(turns).astype(int) * inside[1:-1, 1:-1]
    found = [(step * x, step * y, float(kind)) for kind in (CORE, DELTA) for x, y in _centres(index * kind)]
    return _cancel(np.array(found).reshape(-1, 3), 3 * period)


def _centres(index: npt.NDArray[np.int64]) -> list[tuple[float, float]]:
    """Centres (column, row) of the connected places of positive index. A point lies in four overlapping squares, so
    a group whose indices sum to eight is two points at one place, as the cores of a round whorl are."""
    groups, count = label(index > 0, np.ones((3, 3)))
    centres = []
    for n in range(1, count + 1):
        row, column = (float(v) + 1 for v in np.argwhere(groups == n).mean(axis=0))
        centres += [(column, row)] * max(1, round(float(index[groups == n].sum()) / 4))
    return centres


def _cancel(points: Array, reach: float) -> Array:
    cores, deltas = np.flatnonzero(points[:, 2] == CORE), np.flatnonzero(points[:, 2] == DELTA)
    pairs = match_points(points[cores, :2], points[deltas, :2], reach)
    gone = np.concatenate([cores[pairs[:, 0]], deltas[pairs[:, 1]]]).astype(int)
    return np.delete(points, gone, axis=0)


def match_points(
    a: npt.ArrayLike, b: npt.ArrayLike, tolerance: float, allowed: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """One-to-one pairs of points within a tolerance, as many as possible, then as near as possible.

    Args:
        a, b: (n, 2) and (m, 2) px.
        tolerance: px, the largest distance of a pair.
        allowed: (n, m), which pairs may be.

    Returns:
        (pairs, 2) indices into a and b.
    """
    p, q = np.asarray(a, np.float64).reshape(-1, 2), np.asarray(b, np.float64).reshape(-1, 2)
    distance = cdist(p, q)
    fits = (distance <= tolerance) & (True if allowed is None else allowed)
    far = tolerance * (min(distance.shape, default=0) + 1) + 1.0  # one such costs more than all pairs together
    rows, columns = linear_sum_assignment(np.where(fits, distance, far))
    kept = fits[rows, columns]
    return np.column_stack([rows[kept], columns[kept]]).astype(np.int64)


@dataclass(frozen=True)
class Minutiae:
    """Minutiae of one picture: position (n, 2) px; direction (n,) in radians; kind (n,) 'E' ending, 'B'
    bifurcation, or another letter where unknown."""

    position: Array
    direction: Array
    kind: npt.NDArray[np.str_]


@dataclass(frozen=True)
class Agreement:
    """Two sets of minutiae of one print: how many each has, how many pair up, how many pairs are of one kind, and
    the sum of the pairs' distances (px)."""

    before: int
    after: int
    matched: int
    same_kind: int
    distance: float


def match_minutiae(before: Minutiae, after: Minutiae, tolerance: float = 8.0, angle: float = np.pi / 6) -> Agreement:
    """Pairs minutiae of two versions of one picture: no alignment is made, the pixels are the same places.

    Args:
        tolerance: px, the largest distance of a pair: 8 is just under a ridge period at 500 dpi.
        angle: radians, the largest difference of directions (which run full circle).
    """
    gap = np.abs(before.direction[:, None] - after.direction[None]) % (2 * np.pi)
    pairs = match_points(before.position, after.position, tolerance, np.minimum(gap, 2 * np.pi - gap) <= angle)
    i, j = pairs[:, 0], pairs[:, 1]
    distance = np.linalg.norm(before.position[i] - after.position[j], axis=1).sum()
    return Agreement(len(before.position), len(after.position), len(pairs),
                     int((before.kind[i] == after.kind[j]).sum()), float(distance))


def pores(picture: npt.ArrayLike, mask: npt.NDArray[np.bool_], dpi: float) -> Array:
    """Sweat pores, (k, 2) px: small bright spots on dark ridges, as a Mexican hat finds them.

    The filter is Jain, Chen & Demirkus' (2007, "Pores and ridges: high-resolution fingerprint matching using
    level 3 features", section 3) at a spot's size of 0.11 mm; a spot counts where its response exceeds half of
    the picture's contrast and the place, averaged over a ridge's width, is darker than its surroundings.

    Args:
        picture: (H, W), ridges dark.
        mask: (H, W), where the print is.
        dpi: at least 1000; below, a pore is under 4 px wide and cannot be told from noise.

    Raises:
        ValueError: under 1000 dpi.
    """
    if dpi < 1_000:
        raise ValueError(f'pores need 1000 dpi, got {dpi:g}')
    gray = np.asarray(picture, np.float64)
    millimetre = dpi / 25.4
    sigma = 0.11 * millimetre / 2 / np.sqrt(2)  # the hat's best answer to a disc of that diameter
    spot = -(sigma**2) * gaussian_laplace(gray, sigma)
    ridge = gaussian_filter(gray, 0.1 * millimetre) < gaussian_filter(gray, PERIOD_MM * millimetre)
    threshold = 0.5 * gray[mask].std() if mask.any() else np.inf
    peak = (spot == maximum_filter(spot, round(0.15 * millimetre) | 1)) & (spot > threshold) & ridge & mask
    return np.argwhere(peak)[:, ::-1].astype(np.float64)


# Numbers over people ----------------------------------------------------------------------------------------


def share(
    part: npt.ArrayLike,
    whole: npt.ArrayLike | None,
    person: npt.ArrayLike,
    seed: int,
    chance: float | None = None,
    bounded: bool = False,
    draws: int = BOOTSTRAPS,
) -> Rate:
    """sum(part) / sum(whole) over pictures, with a 95 % bootstrap interval over people.

    Args:
        part: (n,); pictures where it is NaN are left out.
        whole: (n,), not negative; None: 1 each, which gives the mean.
        person: (n,).
        chance: the value expected of pictures that have nothing in common.
        bounded: the ratio lies in [0, 1]; at its ends, where no draw varies, the interval is the exact one of the
            people.

    Returns:
        Rate; no estimate where nothing is left to divide by, no interval with one person.
    """
    a = np.asarray(part, np.float64)
    b = np.ones_like(a) if whole is None else np.asarray(whole, np.float64)
    kept = np.isfinite(a) & np.isfinite(b)
    names, code = np.unique(np.asarray(person).astype(str)[kept], return_inverse=True)
    top, bottom = (np.bincount(code, v[kept], len(names)) for v in (a, b))
    n, k = int(kept.sum()), len(names)
    if not k or bottom.sum() <= 0:
        return Rate(None, (None, None), chance, n, k, note='nothing to measure')
    note = '' if n == len(a) else f'{len(a) - n} pictures without a value'
    estimate = float(top.sum() / bottom.sum())
    weights = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), draws)
    below = weights @ bottom
    drawn = (weights @ top)[below > 0] / below[below > 0]
    low, high = people.percentiles(drawn, estimate, k)
    if bounded and low is not None and high is not None:
        edge = 0.025 ** (1 / k)
        low, high = (min(low, edge) if estimate >= 1 else low), (max(high, 1 - edge) if estimate <= 0 else high)
    return Rate(estimate, (low, high), chance, n, k, note=note)


def distances(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    person_before: npt.ArrayLike,
    person_after: npt.ArrayLike,
    seed: int,
    draws: int = BOOTSTRAPS,
) -> dict[str, Rate]:
    """'wasserstein' (W1, in the values' unit) and 'ks' (Kolmogorov & Smirnov, 0 to 1) of two samples.

    Both are above 0 for samples of one law too: `chance` is their mean, and p their tail, over permutations of
    people between the two samples (people in both swap their two sets of values). The interval is a bootstrap over
    people, widened to hold the estimate, because resampling adds to a distance.

    Args:
        before, after: (n,) and (m,) finite values.
        person_before, person_after: (n,) and (m,).
    """
    values = np.concatenate([np.asarray(v, np.float64) for v in (before, after)])
    side = np.repeat([False, True], [len(np.asarray(before)), len(np.asarray(after))])
    person = np.concatenate([np.asarray(p).astype(str) for p in (person_before, person_after)])
    order = np.argsort(values, kind='stable')
    data = people.sample(values[order], side[order], person[order])
    weights = people.bootstrap_weights(data, draws, seed)[:, data.code]
    sides = people.permuted_sides(data, people.permutation_keys(len(data.names), PERMUTATIONS, seed))
    one = np.ones((1, len(values)), np.float32)
    observed = _gaps(data.score, data.label[None], one)
    drawn = _gaps(data.score, data.label[None], weights)
    permuted = _gaps(data.score, people.permuted_labels(data, sides), one)
    rates = {}
    for name, o, d, p in zip(('wasserstein', 'ks'), observed, drawn, permuted, strict=True):
        interval = people.percentiles(d, float(o[0]), min(data.people))
        rates[name] = Rate(float(o[0]), interval, float(p.mean()), len(values), len(data.names), people.tail(o[0], p))
    return rates


def _gaps(values: Array, label: npt.NDArray[np.bool_], weight: npt.NDArray[np.float32]) -> tuple[Array, Array]:
    """(W1, KS) of weighted samples side by side, (draws,) each; values rise, label and weight are (draws or 1, n)."""
    a, b = (np.cumsum(weight * side, axis=1, dtype=np.float64) for side in (~label, label))
    gap = np.abs(a / a[:, -1:] - b / b[:, -1:])
    ends = np.append(np.diff(values) > 0, True)
    return gap[:, :-1] @ np.diff(values), gap[:, ends].max(axis=1)
