"""Nearest-sample search beside scikit-learn's brute force and one plain blocked matrix product, in one run.

    python benchmarks/nearest.py [--queries 2000 --samples 10000 --values 4096 --repeats 3]

Goal: the time of the plain product, and distances equal to scikit-learn's within 1e-4. Rounds are
interleaved, so that a busy machine slows all of them alike.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import tyro
from sklearn.neighbors import NearestNeighbors

from fpray.attacks.nearest import nearest_distance

BLOCK = 2048  # rows, for the plain product and the search alike


@dataclass(frozen=True)
class Options:
    """Sizes of the comparison."""

    queries: int = 2000
    """Query rows."""
    samples: int = 10_000
    """Sample rows."""
    values: int = 4096
    """Values a row; 4,096 are a 64 x 64 picture."""
    repeats: int = 3
    """Rounds; medians are printed."""


def product(queries: np.ndarray, samples: np.ndarray) -> float:
    """One blocked matrix product and nothing else."""
    return sum(float((queries @ samples[i:i + BLOCK].T)[0, 0]) for i in range(0, len(samples), BLOCK))


def brute_force(queries: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """scikit-learn's nearest neighbour, Euclidean."""
    search = NearestNeighbors(n_neighbors=1, algorithm='brute').fit(samples)
    return np.asarray(search.kneighbors(queries)[0][:, 0])


def main(options: Options) -> None:
    """Print one row a method: seconds and CPU seconds (medians, range), also over the plain product's."""
    rng = np.random.default_rng(0)
    queries, samples = (rng.standard_normal((n, options.values), dtype=np.float32)
                        for n in (options.queries, options.samples))
    levels = [np.clip(a * 40 + 128, 0, 255).astype(np.uint8)[:, None, None] for a in (queries, samples)]
    methods: dict[str, Callable[[], object]] = {
        'plain blocked product': lambda: product(queries, samples),
        'fpray, float32': lambda: nearest_distance(queries, samples, block=BLOCK),
        'fpray, uint8 pictures': lambda: nearest_distance(*levels, block=BLOCK),
        'scikit-learn brute force': lambda: brute_force(queries, samples),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    used: dict[str, list[float]] = {name: [] for name in methods}
    results = {}
    for _ in range(options.repeats):
        for name, method in methods.items():
            start, before = time.perf_counter(), time.process_time()
            results[name] = method()
            seconds[name].append(time.perf_counter() - start)
            used[name].append(time.process_time() - before)
    print(f'{options.queries} x {options.samples} x {options.values}, {options.repeats} rounds')
    for name, times in seconds.items():
        share, work = (median(t[name]) / median(t['plain blocked product']) for t in (seconds, used))
        print(f'{name:26} {median(times):7.2f} s  ({min(times):.2f}-{max(times):.2f})  {share:5.2f} x'
              f'   {median(used[name]):7.2f} CPU s  {work:5.2f} x')
    ours = np.asarray(results['fpray, float32']) * options.values**0.5
    worst = np.abs(ours - np.asarray(results['scikit-learn brute force'])).max()
    print(f'largest difference of the Euclidean distances to scikit-learn: {worst:.1e} of {ours.mean():.1f}')


if __name__ == '__main__':
    main(tyro.cli(Options, description=__doc__))
