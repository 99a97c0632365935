"""What Ray costs and gains beside plain loops, in one run: scoring by 1 and 2 actors, and a plan of stages.

    python benchmarks/scoring.py [--pictures 20000 --stages 6 --repeats 3]

Scoring: one discriminator and one memory-mapped file of 64-px pictures, one thread a process; the scores must
be equal to the bit. Plan: equal stages, one at a time, each scoring a part of the file, so that all that differs
from the plain loop is Ray, the store and, in the first round, the start of a worker; goal: under 5 % more time.
Rounds are interleaved, so that a busy machine slows all alike. The local Ray is started by this run and ends with
it.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import ray
import torch
import tyro

from fpray.attacks.discriminator import load_discriminator
from fpray.distributed.cluster import connect
from fpray.distributed.plan import run_plan
from fpray.distributed.score import Scorer, score
from fpray.models.config import DiscriminatorConfig
from fpray.models.gan import build_discriminator
from fpray.store import Context, Resources, Stage, Store

T = TypeVar('T')

CPUS = 2
BLOCK = 1024  # rows a plain loop takes from the file at a time, as an actor does


@dataclass(frozen=True)
class Options:
    """Sizes of the comparison."""

    pictures: int = 20_000
    """Pictures to score."""
    stages: int = 6
    """Stages of the plan; each scores half of the pictures."""
    repeats: int = 3
    """Rounds; medians are printed."""


def prepare(folder: Path, pictures: int) -> None:
    """A discriminator's two files, and a file of random pictures."""
    config = DiscriminatorConfig()
    (folder / 'config.json').write_text(json.dumps(asdict(config)))
    torch.save(build_discriminator(config).state_dict(), folder / 'weights.pt')
    pixels = np.random.default_rng(0).integers(0, 256, (pictures, 1, *config.image), dtype=np.uint8)
    np.save(folder / 'pixels.npy', pixels)


def plain(folder: Path, rows: slice = slice(None)) -> np.ndarray:
    """The scores by a loop in this process."""
    function = load_discriminator(folder / 'config.json', folder / 'weights.pt')
    pixels = np.load(folder / 'pixels.npy', mmap_mode='r')[rows]
    return np.concatenate([function(pixels[i:i + BLOCK]) for i in range(0, len(pixels), BLOCK)])


def run_stage(context: Context) -> None:
    """One stage of the plan: the plain loop over its part of the file."""
    start, stop = context.config['rows']
    np.save(context.out / 'scores.npy', plain(Path(context.settings['folder']), slice(start, stop)))


def parts(options: Options) -> list[tuple[int, int]]:
    """Rows of each stage: half of the pictures, from different places on."""
    half = options.pictures // 2
    return [(i * half // options.stages, i * half // options.stages + half) for i in range(options.stages)]


def plan(folder: Path, options: Options, number: int) -> None:
    """All stages as Ray tasks into a new store; a stage asks for all CPUs, so that one runs at a time."""
    stages = [Stage(f'scores/{i}', 1, {'rows': rows}, {}, run_stage, Resources(cpus=CPUS))
              for i, rows in enumerate(parts(options))]
    run_plan(stages, Store(folder / f'store-{number}'), {'folder': str(folder)}, show=False)


def loop(folder: Path, options: Options) -> None:
    """What the plan does, as a loop."""
    for i, rows in enumerate(parts(options)):
        np.save(folder / f'loop-{i}.npy', plain(folder, slice(*rows)))


def timed(method: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what the method returned."""
    start = time.perf_counter()
    result = method()
    return time.perf_counter() - start, result


def compare_scoring(folder: Path, options: Options) -> None:
    """Print pictures a second of the plain loop and of 1 and 2 actors, with their start and without."""
    scorer = Scorer('fpray.attacks.discriminator:load_discriminator',
                    (str(folder / 'config.json'), str(folder / 'weights.pt')))
    rates: dict[str, list[float]] = {}
    warm: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        seconds, expected = timed(lambda: plain(folder))
        rates.setdefault('plain loop', []).append(options.pictures / seconds)
        for actors in (1, 2):
            name = f'{actors} actor{"s" * (actors > 1)}'
            scored = score(folder / 'pixels.npy', scorer, actors=actors, batch=BLOCK)
            np.testing.assert_array_equal(scored.scores.ravel(), expected)
            rates.setdefault(name, []).append(options.pictures / scored.seconds)
            warm.setdefault(name, []).append(scored.per_second)
    base = median(rates['plain loop'])
    print(f'\nscoring {options.pictures:,} pictures of 64 x 64, {options.repeats} rounds, equal scores')
    for name, all_rates in rates.items():
        rate, standing = median(all_rates), median(warm.get(name, all_rates))
        print(f'{name:12} {rate:8,.0f} pictures/s ({rate / base:.2f} x), once started {standing:8,.0f}/s '
              f'({standing / base:.2f} x)')


def compare_plan(folder: Path, options: Options) -> None:
    """Print the seconds of the plan beside the loop's."""
    times = [(timed(partial(loop, folder, options))[0], timed(partial(plan, folder, options, n))[0])
             for n in range(options.repeats)]
    alone, staged = (median(column) for column in zip(*times, strict=True))
    ratio = median(b / a - 1 for a, b in times)
    print(f'\n{options.stages} stages one at a time, {options.repeats} rounds')
    print(f'plain loop {alone:.1f} s, plan {staged:.1f} s: {100 * ratio:+.1f} % ({len(times)} ratios: '
          + ', '.join(f'{100 * (b / a - 1):+.1f}' for a, b in times) + ')')


def main(options: Options) -> None:
    """Print both comparisons."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), options.pictures)
        seconds, _ = timed(lambda: connect({'address': 'local', 'cpus': CPUS}))
        print(f'start of a local Ray: {seconds:.1f} s')
        try:
            compare_scoring(Path(name), options)
            compare_plan(Path(name), options)
        finally:
            ray.shutdown()


if __name__ == '__main__':
    main(tyro.cli(Options, description=__doc__))
