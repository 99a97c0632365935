"""Full black box: how near a picture lies to the nearest of a generator's samples (GAN-Leaks).

A generator that remembers a training picture draws pictures close to it. The calibrated score subtracts what
a reference generator, trained on other people, reaches on the same picture: what is left is not how hard
it is (Chen et al. 2020).
"""

import math

import numpy as np

from fpray.attacks.threat import NEAREST, NEAREST_CALIBRATED, Attack
from fpray.data.images import to_float
from fpray.errors import UserError

BLOCK_BYTES = 64 * 2**20
BLOCK_ROWS = 2048
CANCELLATION = 0.02  # of a query's norm: float32 products err by about 3e-7 of the squared norm


def nearest_distance(queries: np.ndarray, samples: np.ndarray, *, block: int | None = None) -> np.ndarray:
    """The distance of each query to the nearest sample, by blocked matrix products in float32.

    ||q - s||^2 = ||q||^2 - 2 q.s + ||s||^2, after subtracting the queries' mean, which keeps the norms, and
    with them the rounding, small. The product only finds the nearest sample; its distance is then taken from
    the difference itself, so a copy lies at exactly 0. Queries with a sample so near that rounding could have
    picked the wrong one (within 2 % of their norm) go through a second product in float64. The result agrees
    with brute force in float64 within 1e-5.

    Args:
        queries: (N, C, H, W) uint8 pictures, or (N, ...) finite floats (features), taken as they are.
        samples: (M, ...) of the same kind and shape a row. Both may be memory maps: they are read in blocks.
        block: rows of either at a time; None: as many as fill 64 MiB as float32, at most 2,048. Memory is a
            few such blocks and block x block products, whatever N and M; the result does not hang on it
            (1e-5).

    Returns:
        (N,) float64: the root of the mean squared difference a value (a pixel, a feature). Pictures are taken
        on the [-1, 1] scale, so it lies in [0, 2]; times sqrt(C * H * W) it is the Euclidean distance.

    Raises:
        UserError: either is empty, kinds or shapes differ, or a value is not finite.
    """
    width = _checked_width(queries, samples)
    rows = block or max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * width)))
    centre = _mean(queries, rows)
    distance = np.empty(len(queries))
    for start in range(0, len(queries), rows):
        values = _floats(queries[start:start + rows])
        centred = values - centre
        found = _rms(values, _floats(samples[_nearest(centred, samples, centre, rows)]))
        norms = np.sqrt(np.einsum('ij,ij->i', centred, centred) / width)
        close = np.flatnonzero((found > 0) & (found < CANCELLATION * norms))
        if len(close):
            again = _nearest(values[close] - centre.astype(np.float64), samples, centre, rows)
            found[close] = _rms(values[close], _floats(samples[again]))
        distance[start:start + rows] = found
    return distance


def nearest_score(queries: np.ndarray, samples: np.ndarray, *, block: int | None = None) -> np.ndarray:
    """Minus the distance to the nearest of the victim's samples (GAN-Leaks, full black-box generator, k = 1).

    Args, errors: as `nearest_distance`. Returns: (N,) float64, larger = more member-like, at most 0.
    """
    return -nearest_distance(queries, samples, block=block)


def calibrated_score(
    queries: np.ndarray, samples: np.ndarray, reference: np.ndarray, *, block: int | None = None
) -> np.ndarray:
    """Minus (distance to the victim's samples - distance to the reference's) (GAN-Leaks, attack calibration).

    Args, errors: as `nearest_distance`, and
        reference: (R, ...) samples of a generator of the same recipe whose training people are neither
            members nor non-members. Draw R = M: the nearest of more samples is nearer.

    Returns: (N,) float64, larger = more member-like; 0 where both generators come equally near.
    """
    victim = nearest_distance(queries, samples, block=block)
    return nearest_distance(queries, reference, block=block) - victim


def _checked_width(queries: np.ndarray, samples: np.ndarray) -> int:
    """The number of values a row, after checking that the two can be compared."""
    if len(queries) == 0 or len(samples) == 0:
        raise UserError(f'{len(queries)} queries and {len(samples)} samples to compare', 'give some of each')
    if (queries.dtype == np.uint8) != (samples.dtype == np.uint8):
        raise UserError(f'queries are {queries.dtype}, samples {samples.dtype}',
                        'give both as uint8 or as floats')
    if queries.shape[1:] != samples.shape[1:]:
        shapes = ' and '.join('x'.join(map(str, a.shape[1:])) for a in (queries, samples))
        raise UserError(f'queries and samples differ in shape: {shapes}', 'bring both to one size')
    return math.prod(queries.shape[1:])


def _floats(rows: np.ndarray) -> np.ndarray:
    """(n, values) float32: pictures on the [-1, 1] scale, features as they are."""
    values = to_float(rows) if rows.dtype == np.uint8 else np.asarray(rows, dtype=np.float32)
    return np.ascontiguousarray(values).reshape(len(rows), -1)


def _mean(queries: np.ndarray, rows: int) -> np.ndarray:
    """(values,) float32: the queries' mean, summed in float64 so that their order does not matter."""
    sums = [_floats(queries[i:i + rows]).sum(axis=0, dtype=np.float64) for i in range(0, len(queries), rows)]
    mean = np.sum(sums, axis=0) / len(queries)
    if not np.isfinite(mean).all():
        raise UserError('the queries hold values that are not finite', 'look for NaN in the features')
    return mean.astype(np.float32)


def _nearest(queries: np.ndarray, samples: np.ndarray, centre: np.ndarray, rows: int) -> np.ndarray:
    """(n,) row numbers of the samples nearest to the centred queries, in the queries' precision."""
    best = np.full(len(queries), np.inf, dtype=queries.dtype)
    winner = np.zeros(len(queries), dtype=np.intp)
    doubled = -2 * queries
    # both buffers are kept from block to block: new pages cost time
    centred = np.empty((min(rows, len(samples)), len(centre)), dtype=queries.dtype)
    products = np.empty(len(queries) * len(centred), dtype=queries.dtype)
    for start in range(0, len(samples), rows):
        part = _floats(samples[start:start + rows])
        part = np.subtract(part, centre, out=centred[:len(part)], dtype=queries.dtype)
        norms = np.einsum('ij,ij->i', part, part)
        if not np.isfinite(norms).all():
            raise UserError('the samples hold values that are not finite', 'look for NaN in the features')
        squares = products[:len(queries) * len(part)].reshape(len(queries), len(part))
        np.matmul(doubled, part.T, out=squares)
        squares += norms  # ||q||^2 is the same for every sample of a query and is left out
        at = squares.argmin(axis=1)
        value = np.take_along_axis(squares, at[:, None], axis=1)[:, 0]
        nearer = value < best
        best[nearer], winner[nearer] = value[nearer], at[nearer] + start
    return winner


def _rms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) float64 root mean squared differences of the rows, free of cancellation."""
    difference = a - b
    return np.asarray(np.sqrt(np.einsum('ij,ij->i', difference, difference, dtype=np.float64) / a.shape[1]))


nearest = Attack(NEAREST, nearest_score)
nearest_calibrated = Attack(NEAREST_CALIBRATED, calibrated_score)
