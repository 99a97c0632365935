"""Nearest-sample attack: closed forms, scikit-learn's brute force, independence of order and block size."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from fpray.attacks.nearest import calibrated_score, nearest_distance, nearest_score
from fpray.errors import UserError


def pictures(n: int, seed: int, size: int = 12, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def brute(queries: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Root mean squared differences by differences alone, in float64."""
    scale = 127.5 if queries.dtype == np.uint8 else 1
    rows, others = (a.reshape(len(a), -1).astype(np.float64) / scale for a in (queries, samples))
    return np.array([np.sqrt(((others - row) ** 2).mean(axis=1).min()) for row in rows])


def test_closed_forms() -> None:
    black, white = np.zeros((1, 1, 8, 8), np.uint8), np.full((1, 1, 8, 8), 255, np.uint8)
    assert nearest_distance(black, white) == pytest.approx(2)
    one_pixel = black.copy()
    one_pixel[0, 0, 3, 4] = 51  # 0.4 on the [-1, 1] scale, one pixel of 64
    assert nearest_distance(one_pixel, black) == pytest.approx(0.4 / 8)
    far_and_near = np.array([[100.0, 0.0], [0.0, 0.0]])
    assert nearest_distance(np.array([[3.0, 4.0]]), far_and_near) == pytest.approx(5 / 2**0.5)


def test_planted_copies_lie_at_zero_and_rank_first() -> None:
    queries, samples = pictures(40, 0), pictures(300, 1)
    samples[[7, 150, 299]] = queries[[3, 20, 39]]
    score = nearest_score(queries, samples, block=64)
    assert set(np.argsort(-score)[:3]) == {3, 20, 39}
    assert (score[[3, 20, 39]] == 0).all() and (np.delete(score, [3, 20, 39]) < -0.5).all()


@pytest.mark.parametrize('offset', [0.0, 1000.0])
def test_agrees_with_scikit_learn(offset: float) -> None:
    rng = np.random.default_rng(2)
    queries, samples = ((rng.standard_normal((n, 257)) + offset).astype(np.float32) for n in (101, 503))
    peer = NearestNeighbors(n_neighbors=1, algorithm='brute').fit(samples.astype(np.float64))
    expected = peer.kneighbors(queries.astype(np.float64))[0][:, 0]
    ours = nearest_distance(queries, samples, block=50)
    np.testing.assert_allclose(ours * 257**0.5, expected, atol=1e-4)


@pytest.mark.parametrize('noise', [1e-4, 1e-3, 1e-2])
def test_near_copies_are_told_apart(noise: float) -> None:
    """Rounding in float32 alone picks the wrong one of many near copies, up to 3e-4 too far."""
    rng = np.random.default_rng(3)
    queries = rng.uniform(-1, 1, (30, 2000)).astype(np.float32)
    samples = np.concatenate([queries + noise * rng.uniform(0.3, 1.7) * rng.standard_normal(queries.shape)
                              for _ in range(20)]).astype(np.float32)
    np.testing.assert_allclose(nearest_distance(queries, samples), brute(queries, samples), atol=1e-7)


SIZES = [(1, 1, 5), (5, 6, 5), (10, 11, 5), (7, 99, 16), (33, 2, 32), (20, 50, None)]


@pytest.mark.parametrize(('n', 'm', 'block'), SIZES)
def test_no_partial_batch_is_dropped(n: int, m: int, block: int | None) -> None:
    queries, samples = pictures(n, 4), pictures(m, 5)
    samples[-1] = queries[-1]  # the last of both: what a dropped remainder would lose
    distance = nearest_distance(queries, samples, block=block)
    assert distance.shape == (n,) and distance.dtype == np.float64 and distance[-1] == 0
    np.testing.assert_allclose(distance, brute(queries, samples), atol=1e-6)


def test_order_and_block_size_do_not_matter() -> None:
    queries, samples = pictures(50, 6), pictures(200, 7)
    expected = nearest_distance(queries, samples)
    rng = np.random.default_rng(8)
    for block in (1, 13, 64, 1000):
        rows, columns = rng.permutation(50), rng.permutation(200)
        turned = nearest_distance(queries[rows], samples[columns], block=block)
        np.testing.assert_allclose(turned, expected[rows], atol=1e-5)


def test_reads_memory_maps_within_a_bounded_memory(tmp_path) -> None:
    arrays = []
    for name, n in (('queries', 200), ('samples', 3000)):
        np.save(tmp_path / f'{name}.npy', pictures(n, n, size=64))
        arrays.append(np.load(tmp_path / f'{name}.npy', mmap_mode='r'))
    tracemalloc.start()
    distance = nearest_distance(*arrays, block=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 100 * 64 * 64 * 4  # some blocks of floats; all samples would be 30 such blocks
    expected = brute(np.asarray(arrays[0][:3]), np.asarray(arrays[1]))
    np.testing.assert_allclose(distance[:3], expected, atol=1e-6)


def test_calibration_cancels_difficulty() -> None:
    """Non-members lie nearer to any generator than members do; the victim favours members a little."""
    rng = np.random.default_rng(9)
    member = np.arange(200) < 100
    spread = np.where(member, 1.0, 0.5)[:, None]
    queries = (spread * rng.standard_normal((200, 64))).astype(np.float32)
    victim = np.concatenate([0.3 * rng.standard_normal((400, 64)), 0.15 * queries[member]]).astype(np.float32)
    reference = (0.3 * rng.standard_normal((500, 64))).astype(np.float32)
    assert roc_auc_score(member, nearest_score(queries, victim)) < 0.05
    assert roc_auc_score(member, calibrated_score(queries, victim, reference)) > 0.95
    same = calibrated_score(queries, reference, reference[::-1])
    np.testing.assert_allclose(same, 0, atol=1e-7)


@pytest.mark.parametrize(('queries', 'samples', 'word'), [
    (pictures(3, 0), pictures(0, 0), '0 samples'),
    (pictures(0, 0), pictures(3, 0), '0 queries'),
    (pictures(3, 0), pictures(3, 0, size=8), '1x12x12 and 1x8x8'),
    (pictures(3, 0), np.zeros((3, 1, 12, 12), np.float32), 'uint8'),
    (np.zeros((3, 4)), np.full((3, 4), np.nan), 'not finite'),
    (np.full((3, 4), np.nan), np.zeros((3, 4)), 'not finite'),
])
def test_what_cannot_be_compared_is_refused(queries: np.ndarray, samples: np.ndarray, word: str) -> None:
    with pytest.raises(UserError, match=word):
        nearest_distance(queries, samples)
