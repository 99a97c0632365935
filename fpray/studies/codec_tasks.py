"""The training of one codec as a small value that travels to workers: on people's pictures, on samples, or in private."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fpray.data.imageset import ImageSet
from fpray.data.splits import Split, training_rows
from fpray.defences.config import PrivateConfig
from fpray.distributed.train import Trainable
from fpray.store import Place, locate
from fpray.studies.tasks import Patient, read_split
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import Learner, Pictures


def half_of(people: list[str], number: int, seed: int) -> list[str]:
    """The reference people that shadow codec `number` learns from; two successive ones divide all between them.

    So every person is out of exactly half of the shadows, however few these are.
    """
    order = np.random.default_rng([seed, number // 2]).permutation(len(people))
    middle = len(people) // 2
    return [people[i] for i in sorted(order[middle:] if number % 2 else order[:middle])]


def half_rows(split: Split, group: str, number: int) -> np.ndarray:
    """(n,) int64: rows to train on of `half_of` a group's people."""
    people = half_of(split.people[group], number, split.seed)
    return np.array([row for s in people for f in split.fingers[s] for row in split.trained[f]], np.int64)


@dataclass(frozen=True)
class CodecTask:
    """Trains a codec on a group's drawn pictures, or on pictures that stand in for them.

    Attributes:
        pictures, people: the set and its split.
        samples: pictures to learn from instead, of a twin or the stand-in; None: the people's own.
        group: who is learned from; number: the first so many of it, None: all.
        half: number of a shadow codec, which learns from half of the group; None: no shadow.
        private: DP-SGD by person; None: plain.
    """

    pictures: Place
    people: Place
    samples: Place | None
    group: str
    number: int | None
    half: int | None
    train: RateDistortionConfig
    loop: LoopConfig
    private: PrivateConfig | None
    seed: int

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """See `fpray.distributed.train.Task`."""
        from fpray.training.rate_distortion import CodecLearner  # CompressAI takes seconds to import: a plan needs none

        pixels, rows = self.open()
        data = Pictures(pixels, rows)
        learner: Any
        if self.private is None:
            learner = CodecLearner(self.train, self.loop, self.seed, device=torch.device(device))
        else:
            from fpray.defences.dp_sgd import PrivateCodecLearner

            subjects = ImageSet.load(locate(self.pictures)).records['subject'].to_numpy().astype(str)
            learner = PrivateCodecLearner(self.train, self.private, self.loop, self.seed, pixels, rows, subjects[rows],
                                          device=torch.device(device))
        return Trainable(learner, data, CodecWatch(learner))

    def open(self) -> tuple[np.ndarray, np.ndarray]:
        """The pictures (N, C, H, W) uint8 and the rows of them to learn from."""
        if self.samples is not None:
            drawn = np.load(locate(self.samples) / 'samples.npy', mmap_mode='r')
            return drawn, np.arange(len(drawn))
        split = read_split(locate(self.people))
        rows = (training_rows(split, self.group, self.number) if self.half is None
                else half_rows(split, self.group, self.half))
        return ImageSet.load(locate(self.pictures)).pixels, rows


@dataclass
class CodecWatch(Patient):
    """Saves the codec at the end; its losses are the training's curves."""

    learner: Learner

    def finish(self, out: Path) -> None:
        """codec.json, codec.pt."""
        from fpray.training.rate_distortion import save_codec

        save_codec(self.learner.codec, out)  # type: ignore[attr-defined]
