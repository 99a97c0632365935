"""Scores hang on the pictures alone: not on actors, ranges, or who was killed."""

import os
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from fpray.distributed.score import MICRO, Scorer, score
from fpray.store import Stage, Store

N = 333  # no multiple of anything


def network(seed, mark=''):
    """A small convolutional network; kills its process at its third batch, once, if a mark is given."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(1568, 1))
    calls = []

    def scores(pixels):
        calls.append(len(pixels))
        if mark and len(calls) == 3 and not os.path.exists(mark):
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with torch.inference_mode():
            return net(torch.from_numpy(pixels).float() / 255)[:, 0].numpy()

    return scores


def means():
    return lambda pixels: np.stack([pixels.mean((1, 2, 3)), pixels.max((1, 2, 3))], 1)


def short():
    return lambda pixels: pixels[1:].mean((1, 2, 3))


@pytest.fixture
def file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (N, 1, 16, 16), dtype=np.uint8)
    np.save(tmp_path / 'pixels.npy', pixels)
    return tmp_path / 'pixels.npy'


def scorer(name, *arguments):
    return Scorer(f'{__name__}:{name}', arguments)


def test_equal_scores_whatever_the_actors_and_ranges(ray, file, tmp_path):
    alone = score(file, scorer('network', 1), actors=0, batch=1)
    assert alone.scores.dtype == np.float64 and alone.scores.shape == (N,)
    by_hand = network(1)(np.load(file))
    np.testing.assert_allclose(alone.scores, by_hand, atol=1e-5)
    seen = []
    for actors, batch in ((0, 1000), (1, 64), (2, 100)):
        found = score(file, scorer('network', 1), actors=actors, batch=batch, out=tmp_path / 'scores.npy',
                      progress=lambda *at: seen.append(at))
        assert (found.scores == alone.scores).all() and found.per_second > 0
    assert (np.load(tmp_path / 'scores.npy') == alone.scores).all()
    assert seen[-1] == (N, N, 'queries')


def test_a_killed_actor_changes_no_score(ray, file, tmp_path):
    mark = tmp_path / 'mark'
    found = score(file, scorer('network', 1, str(mark)), actors=2, batch=64)
    assert mark.exists() and (found.scores == score(file, scorer('network', 1), actors=0).scores).all()


def test_rows_in_their_order_and_several_scores(file, tmp_path):
    rows = np.random.default_rng(1).permutation(N)[:100]
    found = score(file, scorer('means'), rows=rows, actors=0, batch=64)
    assert (found.scores == means()(np.load(file)[rows])).all()
    assert score(file, scorer('means'), rows=[], actors=0).scores.size == 0


def publish(context):
    np.save(context.out / 'pixels.npy', np.full((3, 1, 2, 2), 7, np.uint8))


def test_a_file_of_a_stage(tmp_path):
    store, stage = Store(f'file://{tmp_path}/store', cache=tmp_path / 'cache'), Stage('data', 1, {}, {}, publish)
    store.execute(stage)
    assert score((store, stage.key, 'pixels.npy'), scorer('means'), actors=0).scores.tolist() == [[7, 7]] * 3


def test_a_scoring_function_that_drops_rows_is_found_out(file):
    with pytest.raises(ValueError, match=f'{MICRO - 1} scores for {MICRO} pictures'):
        score(file, scorer('short'), actors=0)


def test_memory_does_not_grow_with_the_queries(tmp_path):
    """80 MB of pictures are scored within 4 MB of Python's and numpy's memory."""
    np.lib.format.open_memmap(tmp_path / 'big.npy', 'w+', np.uint8, (5_000, 1, 128, 128)).flush()
    tracemalloc.start()
    score(tmp_path / 'big.npy', scorer('means'), actors=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6
