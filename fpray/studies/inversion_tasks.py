"""The training of one reconstructor as a small value that travels to workers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fpray.data.imageset import ImageSet
from fpray.distributed.train import Trainable
from fpray.models.config import ReconstructorConfig
from fpray.store import Place, locate
from fpray.studies.recognition_steps import read_extractor, vectors_of
from fpray.studies.tasks import Patient
from fpray.training.config import LoopConfig, ReconstructionConfig
from fpray.training.recognition import save_extractor
from fpray.training.reconstruction import (
    EMBEDDING,
    AutoEncoderLearner,
    Embedded,
    ReconstructionLearner,
    save_reconstructor,
)

TRAINED = 'trained.json'


@dataclass(frozen=True)
class ReconstructionTask:
    """Trains a reconstructor.

    Attributes:
        pictures, vectors: of the attacker; one vector a picture.
        network: stage of the extractor that made the vectors, with its rung; None: it only answers.
        depths: where in the network the perceptual loss looks, shares of the depth of its layers.
        layers: their names instead, as a search found them; () as `depths` has it.
        joint: the network is trained along (the auto-encoder, which is no attack).
        rows: the rows to learn from; None: all.
    """

    pictures: Place
    vectors: Place
    network: Place | None
    rung: str
    training: ReconstructionConfig
    loop: LoopConfig
    depths: tuple[float, ...]
    layers: tuple[str, ...]
    seed: int
    joint: bool = False
    rows: np.ndarray | None = None

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """See `fpray.distributed.train.Task`."""
        pixels, vectors = ImageSet.load(locate(self.pictures)).pixels, np.asarray(vectors_of(locate(self.vectors)))
        pairs = Embedded(pixels, vectors, self.rows)
        network = None if self.network is None else read_extractor(locate(self.network), self.rung)
        kind: Any = AutoEncoderLearner if self.joint else ReconstructionLearner
        config = self.fitted(pairs.pixels, pairs.vectors, network)
        learner: ReconstructionLearner = kind(config, self.loop, self.seed, network, vector_scale=pairs.scale,
                                              device=torch.device(device))
        return Trainable(learner, pairs, ReconstructionWatch(learner, len(pairs), self.joint))

    def fitted(self, pixels: np.ndarray, vectors: np.ndarray, network: Any) -> ReconstructionConfig:
        """The training for these pictures and this network; without the network, what needs none."""
        train = replace(self.training, reconstructor=for_pairs(self.training.reconstructor, pixels, vectors))
        if network is None:
            return replace(train, layers=(), embedding_weight=0.0, shift=0.0, rotation=0.0, contrast=0.0)
        return replace(train, layers=self.layers or at_depths(network.layers, self.depths))


def for_pairs(reconstructor: ReconstructorConfig, pixels: np.ndarray, vectors: np.ndarray) -> ReconstructorConfig:
    """A reconstructor that takes (n, length) vectors and draws pictures like these (n, C, H, W)."""
    _, channels, height, width = pixels.shape
    return replace(reconstructor, length=vectors.shape[1], image=(height, width), channels=channels)


def at_depths(layers: tuple[str, ...], depths: tuple[float, ...]) -> tuple[str, ...]:
    """Names of the layers at shares of the depth, 1 the deepest that gives maps; each once, shallow first."""
    maps = [name for name in layers if name != EMBEDDING]
    chosen = {min(len(maps), max(1, round(share * len(maps)))) - 1 for share in depths}
    return tuple(maps[place] for place in sorted(chosen))


@dataclass
class ReconstructionWatch(Patient):
    """Saves the reconstructor at the end, and the network where it was trained along."""

    learner: ReconstructionLearner
    pictures: int
    joint: bool

    def finish(self, out: Path) -> None:
        """reconstructor (.json, .safetensors), trained.json; of an auto-encoder also encoder (.json, .safetensors)."""
        save_reconstructor(self.learner.reconstructor, out)
        if isinstance(self.learner, AutoEncoderLearner):
            save_extractor(self.learner.encoder, out, 'encoder')
        (out / TRAINED).write_text(json.dumps({
            'pictures': self.pictures, 'images': self.learner.loop.images, 'layers': list(self.learner.config.layers)}))

