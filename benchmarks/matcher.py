"""Are synthetic fingers as hard to match as real ones? Equal error rates of an independent matcher.

The matcher is the package fingerprint-recognition (minutiae aligned by ORB descriptors), which knows nothing
of how the synthetic fingers are made and wants prints near 500 ppi. Sets: synthetic people, one finger each,
and, where FPRAY_TEST_DATA names a folder that holds them, FVC2002 DB1_B and DB2_B. All genuine pairs (two
impressions of a finger) and all impostor pairs (impressions of two fingers) count. Exit code 1 if the
synthetic rate leaves 2 to 12 %: prints that are too easy or too hard to match stand in badly for real ones.

    python benchmarks/matcher.py [--fingers 24] [--impressions 4] [--seed 0] [--processes 1]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fpray.data import synthetic

SIZE, PPI = 356, 500
ACCEPTED = (0.02, 0.12)


@dataclass(frozen=True)
class Prints:
    """Pictures of fingers: uint8 (H, W) each, and the finger that each shows."""

    name: str
    pictures: list[np.ndarray]
    fingers: np.ndarray


@dataclass(frozen=True)
class Measured:
    """An equal error rate with its 95 % interval, what it rests on, and the matcher's cost."""

    rate: float
    interval: tuple[float, float]
    fingers: int
    pictures: int
    genuine: int
    impostor: int
    template_s: float
    match_ms: float

    def __str__(self) -> str:
        return (f'EER {self.rate:.1%} (95 % {self.interval[0]:.1%} to {self.interval[1]:.1%}, fingers drawn '
                f'anew), n = {self.fingers} fingers, {self.pictures} pictures, {self.genuine} genuine and '
                f'{self.impostor} impostor pairs; {self.template_s:.2f} s a template, '
                f'{self.match_ms:.1f} ms a match')


def synthetic_prints(seed: int, fingers: int, impressions: int) -> Prints:
    """One finger of each of `fingers` people."""
    pixels, _ = synthetic.generate(seed, range(fingers), 1, impressions, SIZE, PPI)
    return Prints(f'synthetic stand-in, {SIZE} px at {PPI} ppi', list(pixels[:, 0]),
                  np.repeat(np.arange(fingers), impressions))


def fvc_prints(folder: Path) -> Prints:
    """All prints of a folder of files <finger>_<impression>.<ext>."""
    from PIL import Image

    paths = sorted(p for p in folder.iterdir() if '_' in p.stem)
    return Prints(f'{folder.parent.name} {folder.name}',
                  [np.asarray(Image.open(p).convert('L')) for p in paths],
                  np.array([int(p.stem.split('_')[0]) for p in paths]))


def template(picture: np.ndarray) -> Any:
    """The matcher's template of a picture; OpenCV's key points as tuples, so that a process can send them."""
    import cv2
    import fingerprint_recognition

    cv2.setNumThreads(1)
    features = fingerprint_recognition.extract_features(picture)
    points = [(k.pt, k.size, k.angle, k.class_id) for k in features.keypoints]
    return features.minutiae, points, features.descriptors


def match_row(row: tuple[Any, list[Any]]) -> list[int]:
    """Scores (matched minutiae) of one template against several."""
    import cv2
    from fingerprint_recognition import Features, match_features

    def restore(sent: Any) -> Any:
        minutiae, points, descriptors = sent
        keys = [cv2.KeyPoint(*pt, size, angle, 0, 0, kind) for pt, size, angle, kind in points]
        return Features(minutiae, keys, descriptors, None)  # the ridge map plays no part in matching

    cv2.setNumThreads(1)
    first = restore(row[0])
    return [match_features(first, restore(other)).score for other in row[1]]


def equal_error_rate(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Where false matches and false non-matches are equally frequent; linear between thresholds.

    Args:
        genuine, impostor: (weighted) counts of the scores 0, 1, ...; a score of at least the threshold matches.
    """
    missed = np.r_[0, np.cumsum(genuine)] / genuine.sum()
    matched = 1 - np.r_[0, np.cumsum(impostor)] / impostor.sum()
    gap = missed - matched  # rises from -1 to 1
    k = int(np.argmax(gap >= 0))
    share = -gap[k - 1] / (gap[k] - gap[k - 1])
    return float(missed[k - 1] + share * (missed[k] - missed[k - 1]))


def measure(prints: Prints, run: Callable[..., Any], draws: int = 1000) -> Measured:
    """Makes all templates and matches all pairs; `run` is `map` or a pool's. The interval draws fingers anew."""
    start = time.perf_counter()
    templates = list(run(template, prints.pictures))
    middle = time.perf_counter()
    rows = [(t, templates[i + 1:]) for i, t in enumerate(templates[:-1])]
    scores = np.array([s for row in run(match_row, rows) for s in row])
    end = time.perf_counter()
    names, finger = np.unique(prints.fingers, return_inverse=True)
    n = len(names)
    first, second = finger[np.array(list(combinations(range(len(finger)), 2)))].T
    counts = np.zeros((n, n, scores.max() + 1))
    np.add.at(counts, (first, second, scores), 1)
    genuine = counts[np.arange(n), np.arange(n)].copy()
    counts[np.arange(n), np.arange(n)] = 0  # a finger drawn twice makes no impostor pair with itself
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=draws)
    rates = [equal_error_rate(w @ genuine, np.tensordot(np.outer(w, w), counts)) for w in weights]
    low, high = np.percentile(rates, [2.5, 97.5])
    return Measured(equal_error_rate(genuine.sum(0), counts.sum((0, 1))), (low, high), n, len(finger),
                    int(genuine.sum()), int(counts.sum()), (middle - start) / len(finger),
                    (end - middle) / len(scores) * 1e3)


def sets(seed: int, fingers: int, impressions: int) -> list[Prints]:
    """The synthetic set and the real ones at hand."""
    found = [synthetic_prints(seed, fingers, impressions)]
    root = os.environ.get('FPRAY_TEST_DATA')
    for name in ('DB1_B', 'DB2_B'):
        if root and (Path(root) / 'fvc2002' / name).is_dir():
            found.append(fvc_prints(Path(root) / 'fvc2002' / name))
        else:
            print(f'fvc2002 {name}: skipped, FPRAY_TEST_DATA names no folder with fvc2002/{name}')
    return found


def main() -> int:
    """Prints a line a set; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--fingers', type=int, default=24, help='synthetic people, one finger each')
    parser.add_argument('--impressions', type=int, default=4, help='impressions a synthetic finger')
    parser.add_argument('--seed', type=int, default=0, help='of the synthetic people')
    parser.add_argument('--processes', type=int, default=1, help='processes that make templates and match')
    args = parser.parse_args()
    if args.fingers < 2 or args.impressions < 2:
        parser.error('an equal error rate needs at least two fingers with two impressions each')
    try:
        import fingerprint_recognition
    except ImportError:
        print("the package fingerprint-recognition is missing; install the extra: pip install '.[matcher]'",
              file=sys.stderr)
        return 2
    print(f'matcher fingerprint-recognition {fingerprint_recognition.__version__}, seed {args.seed}')
    rates = []
    with ProcessPoolExecutor(args.processes) as pool:
        for prints in sets(args.seed, args.fingers, args.impressions):
            measured = measure(prints, pool.map)
            rates.append(measured.rate)
            print(f'{prints.name}: {measured}', flush=True)
    fits = ACCEPTED[0] <= rates[0] <= ACCEPTED[1]
    print(f'the synthetic EER lies {"within" if fits else "outside"} {ACCEPTED[0]:.0%} to {ACCEPTED[1]:.0%}')
    return 0 if fits else 1


if __name__ == '__main__':
    sys.exit(main())
