"""Embeddings of one set by a pool of networks, beside a plain loop that builds each network and embeds the set with it.

    python benchmarks/embedding.py [--models 12 --pictures 500 --side 64 --workers 2]

The first of each family of the pool, random weights, one thread a process; the vectors must be equal to the bit. Printed:
seconds, pictures/s over all networks (building them included), what all 105 would take, and the driver's and the workers'
memory after a third of the networks and at the end, which says whether it grows. The local Ray is started by this run and
ends with it.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import ray
import torch
import tyro

from fpray.distributed.cluster import connect
from fpray.distributed.embed import Candidate, embed_pool, read_vectors
from fpray.models.extractors import build_extractor
from fpray.models.pool import POOL, PoolRow
from fpray.training.loop import derive
from fpray.training.recognition import embed


@dataclass(frozen=True)
class Options:
    """Sizes of the comparison."""

    models: int = 12
    """Networks, one a family as far as they go; 105: all."""
    pictures: int = 500
    """Pictures that each embeds."""
    side: int = 64
    """Of a picture, px."""
    workers: int = 2
    """Actors, one CPU each."""


def chosen(models: int) -> list[PoolRow]:
    """The first of each family, then the others, in the pool's order."""
    firsts = {row.family: row for row in reversed(POOL)}
    rows = [row for row in POOL if firsts[row.family] is row] + [row for row in POOL if firsts[row.family] is not row]
    return rows[:models]


def plain(candidates: list[Candidate], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The vectors of each network by a loop in this process."""
    return {one.name: embed(build_extractor(one.config, derive(0, one.seed)), pixels) for one in candidates}


def memory() -> float:
    """MB of this process and all below it that embed."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    ours = [one for one in family if one.pid == family[0].pid or '_Worker' in ' '.join(one.cmdline())]
    return sum(one.memory_info().rss for one in ours) / 1e6


def main(options: Options) -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    size = (options.side, options.side)
    candidates = [Candidate(row.name, row.config(size)) for row in chosen(options.models)]
    pixels = np.random.default_rng(0).integers(0, 256, (options.pictures, 1, *size), dtype=np.uint8)
    used: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / 'pixels.npy', pixels)
        start = time.perf_counter()
        expected = plain(candidates, pixels)
        alone = time.perf_counter() - start
        connect({'address': 'local', 'cpus': options.workers})
        try:
            start = time.perf_counter()
            records = embed_pool(candidates, Path(name) / 'pixels.npy', np.arange(len(pixels)), Path(name) / 'out',
                                 workers=options.workers, progress=lambda done, *_: used.setdefault(done, memory()) and None)
            pooled = time.perf_counter() - start
        finally:
            ray.shutdown()
        for one in records:
            vectors = read_vectors(Path(name) / 'out', one['length'], one['model'])
            np.testing.assert_array_equal(vectors, expected[one['model']])
    count = len(candidates)
    print(f'{count} networks, {options.pictures} pictures of {options.side} px each, equal vectors')
    for text, seconds in (('plain loop', alone), (f'pool of {options.workers}', pooled)):
        print(f'{text:12} {seconds:7.1f} s {count * options.pictures / seconds:8,.0f} pictures/s ({alone / seconds:.2f} x), '
              f'105 such networks {105 * seconds / count / 60:.1f} min')
    third = max(1, count // 3)
    print(f'memory after {third} networks {used[third]:,.0f} MB, after {count} {used[count]:,.0f} MB')


if __name__ == '__main__':
    main(tyro.cli(Options, description=__doc__))
