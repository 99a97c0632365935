"""The control that looks at the pictures alone: do members differ from non-members before any model is asked?

A gamma of 0.85 or a slight blur on one side looks like a leak to an attack; it is seen here.
"""

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import expit, logit

from fpray.metrics import people
from fpray.metrics.membership import auc_clustered
from fpray.metrics.people import Array, Sample, sample
from fpray.metrics.rate import Interval, Rate

WARN_BELOW = 0.01  # Holm-adjusted p
BANDS = 6  # rings of the radial spectrum
_COARSE = 16  # px, side of the coarse picture
_COMPONENTS = 16  # principal components of the coarse pictures
_BLOCK = 256  # pictures, or permutations, at a time


def simple_features(pixels: npt.NDArray[np.uint8]) -> tuple[Array, list[str]]:
    """Features that know no identity: (n, d) float64, and their d names.

    mean and contrast (mean and standard deviation of gray, in [0, 1]); gradient (mean absolute step to the
    right and down); spectrum_0 .. spectrum_5 (log mean power in rings of spatial frequency, up to half a
    cycle a pixel); png_bytes (size of the picture under PNG's lossless coding, headers aside).

    Args:
        pixels: (n, channels, height, width) uint8, at least 8 px a side; may be a memory map, read in blocks.
    """
    names = ['mean', 'contrast', 'gradient', *(f'spectrum_{i}' for i in range(BANDS)), 'png_bytes']
    blocks = [_features(pixels[i : i + _BLOCK]) for i in range(0, len(pixels), _BLOCK)]
    return np.concatenate(blocks), names


def png_bytes(picture: npt.NDArray[np.uint8]) -> int:
    """Size of a picture (channels, height, width) under PNG's lossless coding, headers aside: how hard it is.

    The smallest deflated size under the filters none, sub and up, one for the whole picture.
    """
    rows = np.moveaxis(picture, 0, -1)
    filtered = (rows, np.diff(rows, axis=1, prepend=np.uint8(0)), np.diff(rows, axis=0, prepend=np.uint8(0)))
    return min(len(zlib.compress(np.ascontiguousarray(f).tobytes(), 6)) for f in filtered)


def picture_control(
    pixels: npt.NDArray[np.uint8],
    label: npt.ArrayLike,
    person: npt.ArrayLike,
    seed: int,
    folds: int = 5,
    *,
    extra: Mapping[str, npt.ArrayLike] | None = None,
    draws: int = 1_999,
) -> dict[str, Rate]:
    """Member against non-member pictures, no model asked: a cross-fitted classifier and the simple features
    one by one.

    The classifier is ridge regression of the side on the standardised simple features and the principal
    components of the coarse pictures. Folds hold whole people and are drawn blind to the side. Being linear
    in the labels, it is refitted in every permutation of people, so its p is exact for the whole procedure;
    its interval is the wider of the clustered one and t times the permutations' deviation on the logit scale,
    which holds the fit's own chance.

    Args:
        pixels: (n, channels, height, width) uint8.
        label, person: (n,) each, see `people.sample`.
        seed: of folds and permutations.
        folds: by person; at most as many as people.
        extra: further features (n,) by name, such as the file's size or format on disk.

    Returns:
        'classifier' and each feature: AUC with chance 0.5 and its p, adjusted by Holm over all of them
        (classifier: one-sided; features: two-sided). The note begins with 'warning' where that is under 0.01.
    """
    features, names = simple_features(pixels)
    for name, values in (extra or {}).items():
        features = np.column_stack([features, np.asarray(values, np.float64)])
        names.append(name)
    data = sample(np.zeros(len(pixels)), label, person)
    sides = people.permuted_sides(data, people.permutation_keys(len(data.names), draws, seed))
    inputs = np.column_stack([_standardise(features), _coarse_components(pixels)])
    rates = {'classifier': _classifier(data, inputs, sides, folds, seed)}
    for name, values in zip(names, features.T, strict=True):
        column = replace(data, score=values)
        observed = abs(people.permuted_auc(column, people.observed_sides(data))[0] - 0.5)
        p = people.tail(observed, np.abs(people.permuted_auc(column, sides) - 0.5))
        rates[name] = replace(auc_clustered(values, label, person), p=p)
    adjusted = people.holm([float(r.p or 0) for r in rates.values()])
    return {name: _judged(rate, p) for (name, rate), p in zip(rates.items(), adjusted, strict=True)}


def warnings(control: Mapping[str, Rate]) -> list[str]:
    """One sentence for each entry of `picture_control` whose adjusted p lies under 0.01."""
    found = [(name, rate) for name, rate in control.items() if rate.p is not None and rate.p < WARN_BELOW]
    return [f'pictures alone differ by {name}: AUC {r.estimate:.2f}, p {r.p:.2g}' for name, r in found]


def _judged(rate: Rate, adjusted: float) -> Rate:
    notes = [f'p before Holm {rate.p:.2g}', rate.note]
    if adjusted < WARN_BELOW:
        notes.insert(0, 'warning: the pictures differ without any model')
    return replace(rate, p=adjusted, note='; '.join(n for n in notes if n))


def _classifier(data: Sample, inputs: Array, sides: npt.NDArray[np.float32], folds: int, seed: int) -> Rate:
    weights, tests = _cross_fit(data, inputs, folds, seed)
    observed = _predict(data, inputs, weights, tests, people.observed_sides(data))[0]
    area = float(people.permuted_auc(replace(data, score=observed), people.observed_sides(data))[0])
    permuted = np.concatenate([
        _auc_rows(
            _predict(data, inputs, weights, tests, sides[i : i + _BLOCK]),
            people.permuted_labels(data, sides[i : i + _BLOCK]),
        )
        for i in range(0, len(sides), _BLOCK)
    ])  # fmt: skip
    clustered = auc_clustered(observed, data.label, data.code)
    interval = _wider(clustered.interval, area, float(permuted.std()), len(data.names) - 2)
    note = f'cross-fitted by person; mean under permutation {permuted.mean():.2f}'
    return Rate(area, interval, 0.5, len(data.score), len(data.names), people.tail(area, permuted), note)


def _cross_fit(data: Sample, inputs: Array, folds: int, seed: int) -> tuple[list[Array], list[npt.NDArray[np.bool_]]]:
    """For each fold the matrix (d, n) that makes ridge weights of centred labels, and its test rows (n,)."""
    fold = np.random.default_rng(seed).permutation(len(data.names)) % min(folds, len(data.names))
    weights, tests = [], []
    for f in range(int(fold.max()) + 1):
        test = fold[data.code] == f
        x = inputs * ~test[:, None]
        gram = x.T @ x + (~test).sum() * np.eye(x.shape[1])
        weights.append(np.linalg.solve(gram, x.T))
        tests.append(test)
    return weights, tests


def _predict(
    data: Sample,
    inputs: Array,
    weights: list[Array],
    tests: list[npt.NDArray[np.bool_]],
    sides: npt.NDArray[np.float32],
) -> Array:
    """Cross-fitted scores under each row of `sides`, (draws, n). No intercept: unequal folds shift none."""
    y = people.permuted_labels(data, sides).astype(np.float64)
    scores = np.empty_like(y)
    for w, test in zip(weights, tests, strict=True):
        centred = (y - y[:, ~test].mean(axis=1, keepdims=True)) * ~test
        scores[:, test] = (centred @ w.T) @ inputs[test].T
    return scores


def _auc_rows(scores: Array, labels: npt.NDArray[np.bool_]) -> Array:
    """AUC of each row, (draws,)."""
    m = labels.sum(axis=1)
    ranks = (stats.rankdata(scores, axis=1) * labels).sum(axis=1)
    return np.asarray((ranks - m * (m + 1) / 2) / (m * (labels.shape[1] - m)))


def _wider(clustered: Interval, area: float, deviation: float, df: int) -> Interval:
    """The wider, bound by bound, of an AUC's interval and that of the permutations' deviation."""
    if df < 1 or clustered[0] is None or clustered[1] is None:
        return None, None
    if not 0 < area < 1:
        return clustered
    half = stats.t.ppf(0.975, df) * deviation / 0.25  # the logit's slope at the permutations' centre, 1/2
    low, high = expit(logit(area) - half), expit(logit(area) + half)
    return float(min(low, clustered[0])), float(max(high, clustered[1]))


def _gray(pixels: npt.NDArray[np.uint8]) -> Array:
    return np.asarray(pixels, np.float64).mean(axis=1) / 255


def _features(pixels: npt.NDArray[np.uint8]) -> Array:
    gray = _gray(pixels)
    h, w = gray.shape[1:]
    mean = gray.mean(axis=(1, 2))
    gradient = sum(np.abs(np.diff(gray, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
    power = np.abs(np.fft.rfft2(gray - mean[:, None, None])) ** 2 / (h * w)
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
    ring = np.where(radius > 0, np.minimum((radius * 2 * BANDS).astype(int), BANDS), BANDS)
    rings = [np.log(power[:, ring == i].mean(axis=1) + 1e-8) for i in range(BANDS)]
    size = [png_bytes(p) for p in pixels]
    return np.column_stack([mean, gray.std(axis=(1, 2)), gradient, *rings, size])


def _coarse_components(pixels: npt.NDArray[np.uint8]) -> Array:
    """Leading principal components of the pictures at 16 px a side, unit variance each, (n, at most 16)."""
    blocks = []
    for i in range(0, len(pixels), _BLOCK):
        gray = _gray(pixels[i : i + _BLOCK])
        for axis in (1, 2):
            edges = np.linspace(0, gray.shape[axis], min(_COARSE, gray.shape[axis]) + 1).astype(int)
            gray = np.add.reduceat(gray, edges[:-1], axis=axis) / np.diff(edges).reshape([-1, 1][: 3 - axis])
        blocks.append(gray.reshape(len(gray), -1))
    x = np.concatenate(blocks)
    x = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    kept = np.flatnonzero(values > 1e-9 * max(values[-1], 1e-9))[-_COMPONENTS:]
    return np.asarray(x @ vectors[:, kept] / np.sqrt(values[kept]))


def _standardise(x: Array) -> Array:
    centre, spread = x.mean(axis=0), x.std(axis=0)
    varies = spread > 1e-9 * (1 + np.abs(centre))  # not the rounding of a constant
    return np.asarray((x - centre) * varies / np.where(varies, spread, 1))
