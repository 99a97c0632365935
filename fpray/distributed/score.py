"""Scores of many pictures by one model: actors stream row ranges of one memory-mapped file.

For many models that each see all queries once, one task a model is cheaper (a stage each, with `actors=0`).
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util import ActorPool

from fpray.distributed import gauges
from fpray.store import Place, Store

Score = Callable[[np.ndarray], np.ndarray]  # rows (n, C, H, W) uint8 -> (n,) or (n, k) scores, row by row

MICRO = 64  # rows of a forward pass: fixed, because a model's last bits depend on the size of the batch
RESTARTS = 3  # of an actor that was killed


@dataclass(frozen=True)
class Scorer:
    """What makes a scoring function in each actor: 'package.module:function' and its (small) arguments."""

    factory: str
    arguments: tuple[Any, ...] = ()

    def build(self) -> Score:
        """Calls the factory.

        Raises:
            ImportError, AttributeError: there is none of that name.
        """
        module, _, name = self.factory.partition(':')
        made: Score = getattr(importlib.import_module(module), name)(*self.arguments)
        return made


@dataclass(frozen=True)
class Scored:
    """scores: (N,) or (N, k) float64 in the order of the rows; seconds: start-up included; per_second: pictures/s
    from the first range handed out to the last one back, start-up left out."""

    scores: np.ndarray
    seconds: float
    per_second: float


# A .npy file on a path that all machines share, or a file of a published stage: (store, key, name).
Source = str | Path | tuple[Store, str, str]


def file_of(place: Place, name: str) -> Source:
    """A file of a stage's results as what `score` reads."""
    return (*place, name) if isinstance(place, tuple) else Path(place, name)


def score(source: Source, scorer: Scorer, *, rows: Sequence[int] | np.ndarray | None = None, actors: int = 2,
          batch: int = 1024, threads: int = 1, gpus: float = 0, out: Path | None = None, stage: str = '',
          progress: Callable[[int, int, str], None] | None = None) -> Scored:
    """Scores pictures; equal scores whatever the number of actors and the size of a range.

    Every forward pass has `MICRO` rows, the last one filled up with copies of its last row and cut afterwards, so
    no row is dropped and none sees another batch size. Memory does not grow with the number of rows but for the
    scores themselves.

    Args:
        source: (N, C, H, W) uint8 pictures.
        scorer: makes the scoring function.
        rows: which rows, in which order; all by default.
        actors: that work side by side, one CPU each; 0: in this process, without Ray.
        batch: rows that an actor takes at a time; rounded up to whole forward passes.
        threads: of each actor; scores may differ in the last bits between numbers of threads.
        gpus: of each actor.
        out: file for the scores (.npy), written as well.
        stage: name for the dashboards.
        progress: called with (done, total, 'queries').

    Raises:
        ValueError: the scoring function returned another number of rows than it got.
    """
    start = time.monotonic()
    total = len(_open(source)) if rows is None else len(rows)
    wanted = None if rows is None else np.asarray(rows, np.int64)
    size = -(-batch // MICRO) * MICRO
    ranges = [(a, min(a + size, total), None if wanted is None else wanted[a:a + size])
              for a in range(0, total, size)]
    parts: dict[int, np.ndarray] = {}
    done, results = 0, _results(source, scorer, ranges, actors, threads, gpus)
    begin = next(results)[0]  # the moment when the first actor stood ready
    for first, part in results:
        parts[first] = part
        done += len(part)
        gauges.emit('fpray_queries_seen', done, stage=stage)
        gauges.emit('fpray_queries_per_second', done / max(1e-9, time.monotonic() - begin), stage=stage)
        if progress is not None:
            progress(done, total, 'queries')
    scores = np.concatenate([parts[first] for first, _, _ in ranges]) if parts else np.empty(0)
    end = time.monotonic()
    if out is not None:
        np.save(out, scores)
    return Scored(scores, end - start, total / max(1e-9, end - begin))


Range = tuple[int, int, np.ndarray | None]  # first row, row after the last, and which rows if not these


def _results(source: Source, scorer: Scorer, ranges: Sequence[Range], actors: int, threads: int,
             gpus: float) -> Iterator[tuple[Any, Any]]:
    """First (moment when scoring began, None), then (first row, scores) of each range as they come."""
    if actors == 0:
        worker = _Worker(source, scorer, threads)
        yield time.monotonic(), None
        yield from (worker.score(*one) for one in ranges)
        return
    made: Any = ray.remote(_Worker)
    made = made.options(num_cpus=threads, num_gpus=gpus, max_restarts=RESTARTS,
                                       max_task_retries=RESTARTS)
    crew = [made.remote(source, scorer, threads) for _ in range(min(actors, max(1, len(ranges))))]
    try:
        ray.wait([actor.ready.remote() for actor in crew], num_returns=1)
        yield time.monotonic(), None
        pool = ActorPool(crew)
        yield from pool.map_unordered(lambda actor, one: actor.score.remote(*one), list(ranges))
    finally:
        for actor in crew:
            ray.kill(actor)


class _Worker:
    """Scores row ranges of one file; an actor, or an object of this process."""

    def __init__(self, source: Source, scorer: Scorer, threads: int) -> None:
        os.environ['OMP_NUM_THREADS'] = str(threads)
        self.pixels, self.function = _open(source), scorer.build()
        if (torch := sys.modules.get('torch')) is not None:
            torch.set_num_threads(threads)

    def ready(self) -> bool:
        """Answers once the model stands."""
        return True

    def score(self, first: int, end: int, rows: np.ndarray | None) -> tuple[int, np.ndarray]:
        """(first, float64 scores) of the rows from `first` to `end`, or of `rows`."""
        found = []
        for a in range(first, end, MICRO):
            b = min(a + MICRO, end)
            block = np.asarray(self.pixels[a:b] if rows is None else self.pixels[rows[a - first:b - first]])
            filled = np.concatenate([block, np.repeat(block[-1:], MICRO - len(block), axis=0)])
            scores = np.asarray(self.function(filled), np.float64)
            if len(scores) != MICRO:
                raise ValueError(f'a scoring function returned {len(scores)} scores for {MICRO} pictures')
            found.append(scores[:b - a])
        return first, np.concatenate(found)


def _open(source: Source) -> np.ndarray:
    if isinstance(source, tuple):
        store, key, name = source
        source = store.folder(key) / name
    array: np.ndarray = np.load(source, mmap_mode='r')
    return array
