"""Scores of generated pictures: Inception Score, Fréchet distance, precision, recall, distinct identities."""

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from fpray.metrics.people import Array

_BLOCK = 1_024  # rows at a time in blocked distances


def inception_score(logits: npt.ArrayLike, splits: int = 10, shuffle_seed: int | None = 2020) -> tuple[float, float]:
    """Inception Score (Salimans et al. 2016; thesis 4.1.1): exp E KL(p(y|x) || p(y)), mean and deviation over
    splits.

    The arithmetic of torch-fidelity: same logits, same splits, same shuffle give its number. It is bounded by
    the number of classes, and it is a matching rule, not a quality claim.

    Args:
        logits: (n, classes), n >= splits.
        splits: parts that are scored apart; the deviation (divisor n) is over them.
        shuffle_seed: of the shuffle before splitting (torch-fidelity's default is 2020); None keeps the
            order.

    Raises:
        ValueError: fewer rows than splits.
    """
    x = np.asarray(logits, np.float64)
    if x.ndim != 2 or len(x) < splits:
        raise ValueError(f'logits must be (n, classes) with n >= {splits} splits, got {x.shape}')
    if shuffle_seed is not None:
        x = x[np.random.RandomState(shuffle_seed).permutation(len(x))]
    log_p = x - logsumexp(x, axis=1, keepdims=True)
    scores = []
    for i in range(splits):
        part = log_p[i * len(x) // splits : (i + 1) * len(x) // splits]
        marginal = logsumexp(part, axis=0, keepdims=True) - np.log(len(part))
        scores.append(np.exp((np.exp(part) * (part - marginal)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def frechet_distance(features_a: npt.ArrayLike, features_b: npt.ArrayLike) -> float:
    """Fréchet distance between Gaussians fitted to two feature sets (Dowson & Landau 1982; Heusel et al.
    2017).

    |mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2), in squared units of the features, by
    symmetric eigendecompositions, so that few samples in many dimensions do no harm. Compare only equal
    sample counts: the estimate is biased upwards, the more the fewer the samples.

    Args:
        features_a, features_b: (n, d) and (m, d), at least two rows each.
    """
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    distance = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return float(max(distance, 0.0))


def precision_recall(real: npt.ArrayLike, generated: npt.ArrayLike, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019) on k-nearest-neighbour balls.

    Precision: share of generated samples inside the ball of some real sample, whose radius is the distance to
    that sample's k-th nearest real neighbour. Recall: the same with the sets exchanged.

    Args:
        real, generated: (n, d) and (m, d) features, more than k rows each.

    Raises:
        ValueError: too few rows.
    """
    a, b = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    if min(len(a), len(b)) <= k:
        raise ValueError(f'each set needs more than k = {k} rows, got {len(a)} and {len(b)}')
    return _covered(b, a, _squared_radii(a, k)), _covered(a, b, _squared_radii(b, k))


def distinct_count(embeddings: npt.ArrayLike, threshold: float) -> int:
    """Distinct identities among samples, by greedy leaders: a fall against real pictures shows mode collapse.

    Samples are taken in their order; one that is less similar than `threshold` to every leader so far becomes
    a leader. (Connected components would chain: at an FMR of 1 % a thousand strangers already hang together.)
    The count
    depends on the order and, through chance matches, on the number of samples: compare it only with the same
    number of other people's real pictures, in one run.

    Args:
        embeddings: (n, d), compared by cosine.
        threshold: cosine at or above which two samples show one identity; from
            `verification.threshold_at_fmr`.
    """
    x = np.asarray(embeddings, np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    free, count = np.ones(len(x), bool), 0
    while free.any():
        leader = x[np.argmax(free)]  # the first sample that no leader covers
        free[np.argmax(free)] = False
        free &= x @ leader < threshold
        count += 1
    return count


def _squared_distances(a: Array, b: Array) -> Array:
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0))


def _squared_radii(x: Array, k: int) -> Array:
    """Squared distance of each row to its k-th nearest other row, (n,)."""
    blocks = []
    for start in range(0, len(x), _BLOCK):
        d = _squared_distances(x[start : start + _BLOCK], x)
        d[np.arange(len(d)), np.arange(start, start + len(d))] = np.inf  # a sample is no neighbour of itself
        blocks.append(np.partition(d, k - 1, axis=1)[:, k - 1])
    return np.concatenate(blocks)


def _covered(points: Array, centres: Array, squared_radii: Array) -> float:
    """Share of points inside at least one ball."""
    inside = 0
    for i in range(0, len(points), _BLOCK):
        distances = _squared_distances(points[i : i + _BLOCK], centres)
        inside += int((distances <= squared_radii).any(axis=1).sum())
    return inside / len(points)
