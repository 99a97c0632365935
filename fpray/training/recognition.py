"""Training a recognition network on labelled pictures (Tangari et al. 2023, section 5.2); embeddings afterwards."""

from __future__ import annotations

import copy
import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.models.config import ExtractorConfig
from fpray.models.extractors import Extractor, build_extractor
from fpray.training.classifier import augment
from fpray.training.config import LoopConfig, RecognitionConfig
from fpray.training.loop import WEIGHTS, Batch, anneal, asked, derive, padded, pick_device
from fpray.training.parallel import average_gradients, own_rows, rows_of_workers, synchronise, world_size

KEPT = 0.9  # of a class's centre at each picture of it, where no head learns one


class RecognitionLearner:
    """A recognition network in training; a `fpray.training.loop.Learner`. Batches are (pictures, labels int64).

    With the head 'triplet' a batch must hold several pictures of an identity: train on `Pairs`.

    Args:
        config: network, head, rates and augmentation.
        loop: length (for the cosine and the opening), device, precision, memory order.
        seed: of the first weights, at least 0.
        classes: number of identities, whose labels are 0 to classes - 1.
        start: a network of the same configuration to go on from; copied.
        device: overrides the loop's choice.

    Raises:
        UserError: fewer than two identities, several workers for a network whose batch statistics cannot be shared, no GPU
            where one is asked for, weights that cannot be had.
        ValueError: `start` is of another configuration.
    """

    def __init__(
        self,
        config: RecognitionConfig,
        loop: LoopConfig,
        seed: int,
        classes: int,
        *,
        start: Extractor | None = None,
        device: torch.device | None = None,
    ) -> None:
        if classes < 2:
            raise UserError(f'{classes} identity to recognise', 'train on at least two')
        if start is not None and start.config != config.extractor:
            raise ValueError(f'start is {start.config}, not {config.extractor}')
        self.config, self.loop, self.steps = config, loop, 0
        self.device = device or pick_device(loop.device)
        order = torch.channels_last if loop.channels_last else torch.contiguous_format
        self.extractor: Extractor = (
            build_extractor(config.extractor, derive(seed, WEIGHTS)) if start is None else copy.deepcopy(start)
        )
        _refuse_unshared(self.extractor)
        synchronise(self.extractor.requires_grad_(True)).to(self.device).to(memory_format=order)
        self.head = build_head(config, classes, self.extractor.length, derive(seed, WEIGHTS, 1)).to(self.device)
        parameters = [*self.extractor.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay, fused=True)
        self._share = -1.0
        self._shut: list[nn.Module] = []

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One step; returns the loss and the share of right answers on the augmented pictures, by the cosine alone."""
        pixels, labels = batch
        share = min(self.steps * self.loop.batch / self.loop.images, 1.0)
        anneal(self.optimiser, self.config.lr, share)
        self._open(share)
        self.steps += 1
        draws = own_rows(torch.rand(world_size() * len(pixels), 5, generator=noise) * 2 - 1).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.loop.amp == 'bf16'):
            embeddings = self.extractor(augment(pixels, draws, self.config)).float()
        loss = self.head.loss(embeddings, labels)
        with torch.no_grad():
            right = (self.head(embeddings).argmax(dim=1) == labels).float().mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients([*self.extractor.parameters(), *self.head.parameters()])
        self.optimiser.step()
        return {'loss': loss.detach(), 'accuracy': right}

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and number of steps; the tensors are the live ones, not copies."""
        return {
            'steps': self.steps,
            'extractor': self.extractor.state_dict(),
            'head': self.head.state_dict(),
            'optimiser': self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a learner with the same configuration."""
        self.steps = state['steps']
        self.extractor.load_state_dict(state['extractor'])
        self.head.load_state_dict(state['head'])
        self.optimiser.load_state_dict(state['optimiser'])

    def _open(self, progress: float) -> None:
        """Let the share of the layers learn that is due; those shut keep their weights and their batch statistics."""
        shares = [part for until, part in self.config.opening if progress < until]
        share = shares[0] if shares else self.config.opening[-1][1] if self.config.opening else 1.0
        if share != self._share:
            self._share = share
            opened = {id(one) for one in self.extractor.opened(share)}
            for one in self.extractor.parameters():
                one.requires_grad_(id(one) in opened)
            self._shut = [
                module for module in self.extractor.modules()
                if (own := list(module.parameters(recurse=False))) and not any(one.requires_grad for one in own)
            ]  # fmt: skip
        self.extractor.train()
        for module in self._shut:
            module.training = False


def _refuse_unshared(network: Extractor) -> None:
    """Batch statistics are shared among workers for BatchNorm2d itself; backbones have layers of other kinds."""
    kinds = {type(module).__name__ for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    if world_size() > 1 and kinds - {'BatchNorm2d', 'SyncedBatchNorm2d'}:
        raise UserError(f'{network.config.name} cannot be trained by several workers: {", ".join(sorted(kinds))}',
                        'give loop.workers 1')


def build_head(config: RecognitionConfig, classes: int, length: int, seed: int) -> Head:
    """The head of a configuration, weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (TripletHead if config.head == 'triplet' else CosineHead)(config, classes, length)


class Head(nn.Module, ABC):
    """What a recognition network learns from: a centre for each identity, and a loss.

    Args:
        config: which, with scale and margin.
        classes: identities.
        length: of an embedding.
    """

    centres: Tensor
    """(classes, length), of any norm."""

    def __init__(self, config: RecognitionConfig, classes: int, length: int) -> None:
        super().__init__()
        self.config = config

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, length) to (N, classes): cosines with the centres."""
        return F.normalize(embeddings) @ F.normalize(self.centres).T

    @abstractmethod
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of (N, length) embeddings of (N,) identities."""


class CosineHead(Head):
    """Softmax over scaled cosines, with a margin for the right identity or without; the centres are learnt."""

    def __init__(self, config: RecognitionConfig, classes: int, length: int) -> None:
        super().__init__(config, classes, length)
        self.centres = nn.Parameter(torch.randn(classes, length) / math.sqrt(length))

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """See `Head`."""
        cosines = self(embeddings)
        own = labels[:, None]
        target = widened(cosines.gather(1, own), self.config)
        return F.cross_entropy(self.config.scale * cosines.scatter(1, own, target), labels)


def widened(cosines: Tensor, config: RecognitionConfig) -> Tensor:
    """The cosines with the right identity's centre, any shape, made harder by the margin; none grows with its angle.

    arcface: cos(angle + margin) up to an angle of pi - margin, from there on the straight line that the authors' code
    takes, cos(angle) - margin sin(margin). cosface: cos(angle) - margin. sphereface: cos(min(1 + margin, pi / angle) angle)
    (SphereFace-R). softmax: as they are.
    """
    margin = config.margin
    if config.head == 'softmax':
        return cosines
    if config.head == 'cosface':
        return cosines - margin
    angles = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    if config.head == 'sphereface':
        return ((1 + margin) * angles).clamp(max=math.pi).cos()
    return torch.where(angles <= math.pi - margin, (angles + margin).cos(), cosines - margin * math.sin(margin))


class TripletHead(Head):
    """Each picture against its farthest of the same identity and its nearest of another, in the whole batch.

    The centres are moving means of the identities' normalised embeddings: nothing is learnt from them, they serve
    identification.
    """

    def __init__(self, config: RecognitionConfig, classes: int, length: int) -> None:
        super().__init__(config, classes, length)
        self.register_buffer('centres', torch.zeros(classes, length))

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """See `Head`; pictures that are alone of their identity count for nothing. Moves the centres."""
        everyone = rows_of_workers(F.normalize(embeddings))
        names = rows_of_workers(labels[:, None].float())[:, 0].long() if world_size() > 1 else labels
        self._move(everyone.detach(), names)
        distances = (2 - 2 * own_rows(everyone) @ everyone.T).clamp(min=0)
        same = labels[:, None] == names[None, :]
        itself = own_rows(torch.eye(len(everyone), dtype=torch.bool, device=labels.device))
        farthest = distances.masked_fill(~same | itself, -1).amax(dim=1)
        nearest = distances.masked_fill(same, 5).amin(dim=1)
        counted = (farthest >= 0) & (nearest <= 4)
        losses = (farthest - nearest + self.config.margin).clamp(min=0) * counted
        return losses.mean()

    @torch.no_grad()
    def _move(self, embeddings: Tensor, names: Tensor) -> None:
        seen, places, counts = names.unique(return_inverse=True, return_counts=True)
        means = torch.zeros(len(seen), embeddings.shape[1], device=names.device).index_add_(0, places, embeddings)
        kept = (KEPT ** counts.float())[:, None]
        self.centres[seen] = kept * self.centres[seen] + (1 - kept) * means / counts[:, None]


class Pairs:
    """Pictures two by two of one identity, for the triplet head; `fpray.training.loop.Batches`.

    A row is a pair, every pair of an identity once; n rows give 2 n pictures, a pair's next to each other, with labels. So
    `LoopConfig.batch` and `images` count pairs here.

    Args:
        pixels: (N, C, H, W) uint8.
        labels: (N,) int64.

    Raises:
        UserError: no identity has two pictures, or there is only one identity.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = pixels, np.asarray(labels)
        places = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        pairs = [place[np.column_stack(np.triu_indices(len(place), 1))] for place in places if len(place) > 1]
        if len(pairs) < 2:
            raise UserError('triplets need two identities with two pictures each', 'give more pictures')
        self.pairs: np.ndarray = np.concatenate(pairs)
        """(pairs, 2) rows of `pixels`."""

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `fpray.training.loop.Batches`."""
        chosen = self.pairs[rows].reshape(-1)
        return np.asarray(self.pixels[chosen]), self.labels[chosen]


def settle(network: Extractor, pixels: np.ndarray, batch: int = 64, threads: int = 1) -> None:
    """Sets a network's batch statistics to those of (N, C, H, W) uint8 pictures; the weights stay.

    A network with random weights otherwise answers nearly the same for every picture.
    """
    norms = [one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    momenta, size = [one.momentum for one in norms], min(batch, len(pixels))
    with asked(network, threads) as device:
        for one in norms:
            one.reset_running_stats()
            one.momentum = None  # the mean over the batches
            one.train()
        for first in range(0, len(pixels) - size + 1, size):  # whole batches alone: a filled one is not the set's
            network(next(padded(pixels[first : first + size], size, device))[1])
        for one, momentum in zip(norms, momenta, strict=True):
            one.momentum = momentum


def embed(network: Extractor, pixels: np.ndarray, batch: int = 64, threads: int = 1) -> np.ndarray:
    """Embeddings in eval mode, in batches of one size, the last one padded.

    Args:
        network: on any device; its mode is restored.
        pixels: (N, C, H, W) uint8, may be a memory map; N at least 1.
        batch: pictures at a time.
        threads: on a CPU; part of what the last bits hang on.

    Returns:
        (N, length) float32, not normalised.
    """
    with asked(network, threads) as device:
        found = [network(part)[: len(pixels) - first].float().cpu().numpy() for first, part in padded(pixels, batch, device)]
    return np.concatenate(found)


def identification(network: Extractor, head: Head | np.ndarray, pixels: np.ndarray, labels: np.ndarray, batch: int = 64,
                   threads: int = 1) -> np.ndarray:
    """Whether the nearest centre of a picture, by the cosine, is its identity's.

    Args:
        network, head: trained together; of the head its centres do, (classes, length).
        pixels: (N, C, H, W) uint8.
        labels: (N,) identities, as the head counts them.
        batch, threads: as in `embed`.

    Returns:
        (N,) bool.
    """
    centres = torch.from_numpy(head) if isinstance(head, np.ndarray) else head.centres.detach().cpu()
    vectors = torch.from_numpy(embed(network, pixels, batch, threads))
    with torch.inference_mode():
        found = F.normalize(vectors) @ F.normalize(centres.float()).T
    return np.asarray(found.argmax(dim=1).numpy() == labels)


def save_extractor(network: Extractor, folder: Path, name: str = 'extractor') -> None:
    """Writes NAME.json (the configuration) and NAME.safetensors (the weights) into an existing folder."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    save_file(state, folder / f'{name}.safetensors')
    (folder / f'{name}.json').write_text(json.dumps(asdict(network.config), indent=1) + '\n')


def load_extractor(folder: Path, name: str = 'extractor') -> Extractor:
    """What `save_extractor` wrote: on the CPU, in eval mode, without gradients.

    Raises:
        UserError: a file is missing, broken, or does not fit the other.
    """
    path = Path(folder, f'{name}.json')
    try:
        config = ExtractorConfig(**json.loads(path.read_text()))
        network = build_extractor(replace(config, weights='random'))
        network.load_state_dict(load_file(path.with_suffix('.safetensors')))
    except UserError:
        raise
    except Exception as fault:  # files, JSON, safetensors and shapes fail in as many kinds
        raise UserError(
            f'cannot read the network {name} in {folder}: {fault}', 'name a folder that a training wrote'
        ) from fault
    network.config = config
    return network.eval().requires_grad_(False)
