"""The training loop that every network shares: batches in, steps, reports out. It knows no Ray, no MLflow, no files.

Randomness: each batch's rows come from a permutation of each pass over the data, drawn from (seed, pass); noise from
(seed, images seen); dropout from (seed, rank, images seen). So a training that stops and resumes at the same number of
images goes on to the same numbers, bit for bit on a CPU with as many threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fpray.data.images import to_float
from fpray.errors import UserError
from fpray.training.config import LoopConfig
from fpray.training.parallel import any_worker, average, world_size

Batch = Tensor | tuple[Tensor, ...]
ORDER, NOISE, DROPOUT, WEIGHTS, SAMPLES = range(5)  # what a seed is used for: five independent streams


class Batches(Protocol):
    """Training pictures by row."""

    def __len__(self) -> int:
        """Number of rows."""

    def batch(self, rows: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """(n, C, H, W) uint8 pictures of n rows, or (n, length) float32 vectors; or a tuple of these and whatever else a
        learner needs, such as labels.
        """


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory or in a memory map, with labels or without.

    Raises:
        UserError: no pictures.
    """

    pixels: np.ndarray
    """(N, C, H, W) uint8."""
    rows: np.ndarray | None = None
    """The rows of `pixels` to train on; None: all."""
    labels: np.ndarray | None = None
    """One class a training row, int64, in the order of `rows`; None: pictures alone."""

    def __post_init__(self) -> None:
        if len(self) == 0:
            raise UserError('no pictures to train on', 'choose a set that has some')

    def __len__(self) -> int:
        return len(self.pixels if self.rows is None else self.rows)

    def batch(self, rows: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """See `Batches`."""
        pixels = np.asarray(self.pixels[rows if self.rows is None else self.rows[rows]])
        return pixels if self.labels is None else (pixels, self.labels[rows])


class Learner(Protocol):
    """Networks with their optimisers: what a step does to them."""

    device: torch.device

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """Learn from one worker's slice of a batch; pictures are float32 in [-1, 1] on the learner's device.

        Args:
            batch: (n, C, H, W) pictures, or a tuple that starts with them.
            noise: a CPU generator in the same state in every worker: draw for the whole batch, take the slice.

        Returns:
            Losses of this slice, scalars, detached.
        """

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs, in tensors and primitives (torch.load reads it with weights_only). Not copied."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    images_seen: int
    total: int
    losses: dict[str, float]
    """Means since the last report, over all workers."""
    images_per_s: float
    """Since the last report, all workers together, without the time spent in `on_progress`."""
    snapshot: bool
    """Whether this is the moment for a checkpoint."""
    last: bool


OnProgress = Callable[[Progress], bool]


def train(
    loop: LoopConfig,
    learner: Learner,
    data: Batches,
    seed: int,
    *,
    start: int = 0,
    on_progress: OnProgress,
    rank: int = 0,
    world: int = 1,
) -> int:
    """Train until `loop.images` images are seen or `on_progress` wants to stop.

    Args:
        loop: how long and how.
        learner: the networks, as they were at `start`.
        data: the training pictures. Every one is seen equally often: batches follow one another through permutation
            after permutation, none is dropped.
        seed: of order, noise and dropout; at least 0.
        start: images seen before (a resume).
        on_progress: called in every worker at reports and snapshots; a true answer of any worker ends the training.
        rank, world: this worker's number and how many there are, those of torch's process group.

    Returns:
        Images seen.

    Raises:
        UserError: no data.
        ValueError: `world` is neither the loop's nor the process group's number of workers.
    """
    if not world == loop.workers == world_size():
        raise ValueError(f'{world} workers, {loop.workers} in the configuration, {world_size()} in the process group')
    order, share = Order(len(data), seed), loop.batch // world
    noise, tally, seen = torch.Generator(), _Tally(), start
    with numerics(loop.threads, learner.device):
        while seen < loop.images:
            batch = _load(data, order.rows(seen + rank * share, share), learner.device, loop.channels_last)
            noise.manual_seed(derive(seed, NOISE, seen))
            torch.manual_seed(derive(seed, DROPOUT, rank, seen))
            tally.add(learner.step(batch, noise))
            before, seen = seen, seen + loop.batch
            snapshot, report = _due(loop, before, seen)
            if report:
                speed = tally.count * loop.batch / tally.seconds()
                progress = Progress(seen, loop.images, average(tally.means()), speed, snapshot, seen >= loop.images)
                if any_worker(bool(on_progress(progress)), learner.device):
                    break
                tally = _Tally()
    return seen


class Order:
    """The endless stream of rows: one permutation of all rows after another, each drawn from (seed, its number)."""

    def __init__(self, length: int, seed: int) -> None:
        if length == 0:
            raise UserError('no pictures to train on', 'choose a set that has some')
        self.length, self.seed = length, seed
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def rows(self, start: int, count: int) -> np.ndarray:
        """(count,) int64: rows `start` to `start + count` of the stream."""
        pieces = []
        while count:
            epoch, place = divmod(start, self.length)
            piece = self._permuted(epoch)[place : place + count]
            pieces.append(piece)
            start, count = start + len(piece), count - len(piece)
        return np.concatenate(pieces)

    def _permuted(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng([self.seed, ORDER, epoch]).permutation(self.length)
        return self._permutation


def derive(seed: int, *parts: int) -> int:
    """A 64-bit seed from a seed and further numbers, all at least 0 and of any size (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0])


@contextmanager
def numerics(threads: int, device: torch.device | None = None) -> Iterator[None]:
    """Fix what a result's last bits hang on: threads, tiny numbers flushed to 0; leaves torch's generators alone.

    Tiny numbers (denormals) make a CPU a hundred times slower; a sleeping network's gradients are full of them.
    """
    before, flushed = torch.get_num_threads(), not (torch.tensor(1e-39) * 0.5).item()  # torch tells no one the latter
    devices = [device] if device is not None and device.type == 'cuda' else []
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(before)


@contextmanager
def asked(network: nn.Module, threads: int) -> Iterator[torch.device]:
    """A network in eval mode, without gradients, on so many threads; gives its device, restores its mode."""
    device, training = next(network.parameters()).device, network.training
    network.eval()
    try:
        with numerics(threads, device), torch.inference_mode():
            yield device
    finally:
        network.train(training)


def padded(pixels: np.ndarray, batch: int, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Batches of exactly `batch` pictures as floats, or float32 vectors as they are, each with its first row; the last
    repeats its last one.

    A picture's result then hangs neither on how many there are nor on their order.
    """
    for first in range(0, len(pixels), batch):
        part = np.array(pixels[first : first + batch])
        part = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        yield first, _floats(part, device, channels_last=True)


def anneal(optimiser: torch.optim.Optimizer, lr: float, share: float) -> None:
    """Sets the learning rate on a cosine from `lr` at share 0 of the training to 0 at share 1."""
    for group in optimiser.param_groups:
        group['lr'] = lr * (1 + math.cos(math.pi * share)) / 2


def pick_device(name: str) -> torch.device:
    """The device of `LoopConfig.device`.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if name == 'cuda' and not torch.cuda.is_available():
        raise UserError('loop.device cuda: no GPU that torch can use', 'give loop.device cpu or auto')
    return torch.device('cuda' if name != 'cpu' and torch.cuda.is_available() else 'cpu')


@dataclass
class _Tally:
    """Losses and time since the last report; the losses stay tensors, so that no step waits for a number."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    count: int = 0
    begun: float = field(default_factory=time.perf_counter)

    def add(self, losses: dict[str, Tensor]) -> None:
        self.count += 1
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.detach().clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, Tensor]:
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def seconds(self) -> float:
        return max(time.perf_counter() - self.begun, 1e-9)


def _due(loop: LoopConfig, before: int, seen: int) -> tuple[bool, bool]:
    """Whether the step from `before` to `seen` images ends in a snapshot, and in a report."""
    last = seen >= loop.images
    marks = (math.ceil(share * loop.images) for share in loop.snapshot_at)
    snapshot = last or _crosses(loop.snapshot_every, before, seen) or any(before < mark <= seen for mark in marks)
    return snapshot, snapshot or _crosses(loop.report_every, before, seen)


def _crosses(every: int, before: int, seen: int) -> bool:
    return every > 0 and seen // every > before // every


def _load(data: Batches, rows: np.ndarray, device: torch.device, channels_last: bool) -> Batch:
    """A batch on the device: pictures as floats, float32 vectors and anything beside them as they are."""
    found = data.batch(rows)
    first, *others = found if isinstance(found, tuple) else (found,)
    pixels = _floats(first, device, channels_last)
    beside = (torch.from_numpy(np.ascontiguousarray(other)).to(device) for other in others)
    return (pixels, *beside) if others else pixels


def _floats(rows: np.ndarray, device: torch.device, channels_last: bool) -> Tensor:
    """uint8 pictures as floats in [-1, 1]; float32 rows, which are vectors, as they are."""
    values = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
    values = values if values.dtype == torch.float32 else to_float(values)
    return values.contiguous(memory_format=torch.channels_last) if channels_last and values.ndim == 4 else values
