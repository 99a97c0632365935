"""Stages that the studies of embeddings share: extractors are trained, adapted rung by rung, and asked for vectors."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fpray.attacks.embedding_box import EmbeddingBox
from fpray.data.groups import held_apart, labels_of
from fpray.data.imageset import ImageSet
from fpray.distributed.train import Trainable, fit
from fpray.errors import UserError
from fpray.models.extractors import Extractor, build_extractor
from fpray.store import Context, Place, locate
from fpray.studies.embedding_config import NO_ADAPT
from fpray.studies.groups import read_groups
from fpray.training.config import ADAPTATIONS, LoopConfig, RecognitionConfig
from fpray.training.loop import Pictures
from fpray.training.recognition import RecognitionLearner, embed, identification, load_extractor, save_extractor

BLOCK = 512  # pictures that are embedded between two reports of progress
HELD_OUT = 1  # pictures of each identity that its own training does not see, for the accuracy that is stated


# Training


@dataclass(frozen=True)
class RecognitionTask:
    """Trains an extractor to tell a group's identities apart, from nothing or from another extractor.

    Attributes:
        pictures, people: the set and its groups.
        start: stage of the extractor to go on from; None: fresh weights.
        group, number: whose pictures; the first so many people of it, None: all.
        rungs: (name, share of the images) of the moments that are kept, rising; () keeps the end alone.
        held_out: pictures of each identity, the last drawn, that are not learned from; see `held_apart`.
    """

    pictures: Place
    people: Place
    start: Place | None
    group: str
    number: int | None
    recognition: RecognitionConfig
    loop: LoopConfig
    seed: int
    rungs: tuple[tuple[str, float], ...] = ()
    held_out: int = HELD_OUT

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """See `fpray.distributed.train.Task`."""
        everyone, groups = ImageSet.load(locate(self.pictures)), read_groups(locate(self.people))
        chosen = groups.people[self.group][:self.number]
        rows = {identity: groups.rows[identity] for subject in chosen for identity in groups.identities[subject]}
        if len(rows) < 2:
            raise UserError(f'{len(rows)} identity in the group {self.group}: a network learns to tell several apart',
                            f'give --groups.{self.group} more people')
        origins = everyone.records['origin'].to_numpy(str) if 'origin' in everyone.records else None
        parts = [held_apart(each, origins, self.held_out) for each in rows.values()]
        learned, held = (np.array([row for each in side for row in each], np.int64) for side in zip(*parts, strict=True))
        codes, names = labels_of(everyone.records, learned)
        start = load_extractor(locate(self.start)) if self.start is not None else None
        learner = RecognitionLearner(self.recognition, self.loop, self.seed, len(names), start=start,
                                     device=torch.device(device))
        watch = RecognitionWatch(learner, everyone.pixels, held, labels_of(everyone.records, held)[0], self.rungs,
                                 self.loop.threads, len(names), len(learned))
        return Trainable(learner, Pictures(everyone.pixels, learned, codes), watch)


@dataclass
class RecognitionWatch:
    """Keeps the extractor at each rung of the adaptation, with its accuracy on pictures held out of every identity."""

    learner: RecognitionLearner
    pixels: np.ndarray
    held: np.ndarray
    labels: np.ndarray
    rungs: tuple[tuple[str, float], ...]
    threads: int
    classes: int
    learned: int
    kept: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    ladder: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, progress: Any) -> dict[str, float]:
        """Keeps the rungs that are reached; their accuracy is a metric of the curves."""
        due = [name for name, share in self.rungs
               if name not in self.kept and progress.images_seen >= math.ceil(share * progress.total)]
        for name in due if progress.snapshot else []:
            state = self.learner.extractor.state_dict()
            self.kept[name] = {key: value.detach().cpu().clone() for key, value in state.items()}
            self.ladder.append({'name': name, 'images_seen': progress.images_seen, 'accuracy': self.accuracy()})
        return {'accuracy': self.ladder[-1]['accuracy']} if due and progress.snapshot else {}

    def accuracy(self) -> float:
        """Share of the held-out pictures whose identity the head names."""
        pixels = np.asarray(self.pixels[self.held])
        return float(identification(self.learner.extractor, self.learner.head, pixels, self.labels,
                                    threads=self.threads).mean())

    def state_dict(self) -> dict[str, Any]:
        """The rungs kept so far."""
        return {'kept': self.kept, 'ladder': self.ladder}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state."""
        self.kept, self.ladder = dict(state['kept']), list(state['ladder'])

    def finish(self, out: Path) -> None:
        """extractor (.json, .safetensors) at the end and at every rung, trained.json, ladder.json."""
        network = self.learner.extractor
        last = {name: value.detach().clone() for name, value in network.state_dict().items()}
        (out / 'trained.json').write_text(json.dumps({
            'classes': self.classes, 'pictures': self.learned, 'held_out': len(self.held), 'accuracy': self.accuracy(),
            'chance': 1 / self.classes}))
        (out / 'ladder.json').write_text(json.dumps(self.ladder))
        for name, state in self.kept.items():
            network.load_state_dict(state)
            save_extractor(network, out, name)
        network.load_state_dict(last)
        save_extractor(network, out)


def train_extractor(context: Context) -> None:
    """One extractor on a group's pictures.

    Configuration: recognition, loop, group, people (None: all), seed, optionally held_out. Inputs: pictures, people. Writes
    extractor.json, extractor.safetensors, trained.json, and with recognition.opening the rungs beside them.
    """
    config = context.config
    recognition: RecognitionConfig = for_set(context.inputs['pictures'], config['recognition'])
    task = RecognitionTask(context.place('pictures'), context.place('people'),
                           context.place('extractor') if 'extractor' in context.inputs else None, config['group'],
                           config['people'], recognition, _with_rungs(config['loop'], recognition), config['seed'],
                           tuple((rung.name, rung.share) for rung in ADAPTATIONS if rung.share and recognition.opening),
                           config.get('held_out', HELD_OUT))
    fit(task, task.loop, config['seed'], context)


def ready_extractor(context: Context) -> None:
    """An extractor as it comes, with the weights that its configuration names; nothing is trained.

    Configuration: extractor, seed. Input: pictures. Writes what `train_extractor` does.
    """
    _, channels, height, width = np.load(context.inputs['pictures'] / 'pixels.npy', mmap_mode='r').shape
    config = replace(context.config['extractor'], image=(height, width), channels=channels)
    save_extractor(build_extractor(config, context.config['seed']).eval(), context.out)
    (context.out / 'trained.json').write_text(json.dumps({'classes': 0, 'pictures': 0, 'accuracy': None, 'chance': None}))


def adapt_extractor(context: Context) -> None:
    """The owner's adaptation of an extractor: FT-1.json, FT-1.safetensors, ..., ladder.json with each rung's accuracy.

    Configuration as for `train_extractor`, recognition with its opening (`AdaptConfig.of`). Inputs: pictures, people,
    extractor, whose own weights are the rung No-adapt.
    """
    train_extractor(context)
    save_extractor(load_extractor(context.inputs['extractor']), context.out, NO_ADAPT)


def for_set(folder: Path, recognition: RecognitionConfig) -> RecognitionConfig:
    """A training whose extractor takes the pictures of this set."""
    _, channels, height, width = np.load(folder / 'pixels.npy', mmap_mode='r').shape
    return replace(recognition, extractor=replace(recognition.extractor, image=(height, width), channels=channels))


def _with_rungs(loop: LoopConfig, recognition: RecognitionConfig) -> LoopConfig:
    """A loop whose snapshots are the rungs."""
    if not recognition.opening:
        return loop
    return replace(loop, snapshot_at=tuple(rung.share for rung in ADAPTATIONS if 0 < rung.share < 1))


# Vectors


def read_extractor(folder: Path, rung: str = '') -> Extractor:
    """The extractor that a stage wrote, at the end ('') or at a rung of its ladder; in eval mode on the CPU."""
    return load_extractor(folder, rung or 'extractor')


def embed_set(context: Context) -> None:
    """vectors.npy: (N, length) float32, one vector a picture of the whole set, in its order.

    Configuration: rung ('' or a rung's name), threads. Inputs: pictures, extractor.
    """
    network = read_extractor(context.inputs['extractor'], context.config['rung'])
    pixels = ImageSet.load(context.inputs['pictures']).pixels
    parts = []
    for first in range(0, len(pixels), BLOCK):
        parts.append(embed(network, np.asarray(pixels[first:first + BLOCK]), threads=context.config['threads']))
        context.progress(min(first + BLOCK, len(pixels)), len(pixels), 'pictures')
    np.save(context.out / 'vectors.npy', np.concatenate(parts))


def asked_in_blocks(box: EmbeddingBox, pixels: np.ndarray, context: Context) -> np.ndarray:
    """(N, length) float32 vectors of (N, C, H, W) uint8 pictures, with progress."""
    parts = []
    for first in range(0, len(pixels), BLOCK):
        parts.append(box.embed(np.asarray(pixels[first:first + BLOCK])))
        context.progress(min(first + BLOCK, len(pixels)), len(pixels), 'pictures')
    return np.concatenate(parts)


def vectors_of(folder: Path) -> np.ndarray:
    """(N, length) float32: what an embedding stage wrote, mapped from disk."""
    return np.load(folder / 'vectors.npy', mmap_mode='r')


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) float64 similarities of (n, length) and (m, length) vectors: how every network here compares templates."""
    left, right = (np.asarray(each, np.float64) for each in (a, b))
    return _unit(left) @ _unit(right).T


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
