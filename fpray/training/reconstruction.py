"""Training a reconstructor, from a vector back to the picture, and asking it (Tangari et al. 2023, section 4.2, eq. 3).

The attacker's pictures with their vectors are the data. Whoever holds the network that made the vectors compares
reconstructions by what that network sees in them; of a network that only answers, the pixels alone are compared.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fpray.data.images import to_float, to_uint8
from fpray.errors import UserError
from fpray.models.config import ReconstructorConfig
from fpray.models.extractors import Extractor
from fpray.models.reconstructor import Reconstructor, build_critic, build_reconstructor
from fpray.training.classifier import augment
from fpray.training.config import ClassifierConfig, LoopConfig, ReconstructionConfig
from fpray.training.linear import LinearMap
from fpray.training.loop import WEIGHTS, Batch, asked, derive, padded, pick_device
from fpray.training.parallel import average_gradients, mean_over_workers, own_rows, synchronise, world_size

EMBEDDING = ''  # the name of an extractor's last layer, its vector
MEMORY = 0.98  # share of a running mean that each step keeps


@dataclass(frozen=True)
class Embedded:
    """Pictures with their vectors; `fpray.training.loop.Batches`.

    Raises:
        UserError: none, not one vector a picture, vectors that are not finite.
    """

    pixels: np.ndarray
    """(N, C, H, W) uint8, may be a memory map."""
    vectors: np.ndarray
    """(N, length) float32, of the same rows."""
    rows: np.ndarray | None = None
    """The rows to train on; None: all."""

    def __post_init__(self) -> None:
        if len(self) == 0:
            raise UserError('no pictures to train a reconstructor on', 'choose a set that has some')
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.pixels):
            raise UserError(f'{len(self.pixels)} pictures, vectors {self.vectors.shape}', 'give one vector a picture')
        if not np.isfinite(self.vectors if self.rows is None else self.vectors[self.rows]).all():
            raise UserError('vectors hold values that are not finite', 'leave their pictures out')

    def __len__(self) -> int:
        return len(self.pixels if self.rows is None else self.rows)

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Batches`."""
        chosen = rows if self.rows is None else self.rows[rows]
        return np.asarray(self.pixels[chosen]), np.asarray(self.vectors[chosen], dtype=np.float32)

    @property
    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each dimension of the vectors, two (length,) float64."""
        chosen = np.asarray(self.vectors if self.rows is None else self.vectors[self.rows], dtype=np.float64)
        return chosen.mean(axis=0), chosen.std(axis=0)


class ReconstructionLearner:
    """A reconstructor in training; a `fpray.training.loop.Learner`. Batches are (pictures, vectors float32).

    Args:
        config: network, losses, rates.
        loop: length (for warm-up and cosine), device, precision, memory order.
        seed: of the first weights, at least 0.
        network: the inferred network, whose layers are compared; None: it only answered, pixels are all there is.
        vector_scale: mean and deviation of each dimension of the vectors, (length,) each; see `Embedded.scale`.
        device: overrides the loop's choice.

    Raises:
        UserError: a layer that the network has not, layers or augmentation without a network, a scale of another
            length, no GPU where one is asked for.
    """

    def __init__(
        self,
        config: ReconstructionConfig,
        loop: LoopConfig,
        seed: int,
        network: Extractor | None = None,
        *,
        vector_scale: tuple[np.ndarray, np.ndarray],
        device: torch.device | None = None,
    ) -> None:
        _check(config, network, vector_scale)
        self.config, self.loop, self.steps = config, loop, 0
        self.device = device or pick_device(loop.device)
        self._order = torch.channels_last if loop.channels_last else torch.contiguous_format
        self.reconstructor: Reconstructor = build_reconstructor(config.reconstructor, derive(seed, WEIGHTS))
        self.reconstructor.set_scale(*(torch.from_numpy(np.array(each, dtype=np.float32)) for each in vector_scale))
        synchronise(self.reconstructor).to(self.device).to(memory_format=self._order)
        self.network = None if network is None else self._copied(network).requires_grad_(False)
        self.running = {name: torch.zeros((), device=self.device) for name in config.layers}
        self.featured = 0
        self._alterations = ClassifierConfig(shift=config.shift, rotation=config.rotation, contrast=config.contrast)
        self.optimiser = self._optimiser([{'params': list(self.reconstructor.parameters())}])
        self.critic: nn.Module | None = None
        if config.realism_weight:
            critic = build_critic(config.reconstructor.channels, config.critic_width, derive(seed, WEIGHTS, 1))
            self.critic = synchronise(critic).to(self.device).to(memory_format=self._order)
            self.critics = torch.optim.Adam(self.critic.parameters(), config.critic_lr, (0.5, 0.99))

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One step; see `Learner`.

        Returns:
            loss; pixel and gradient, mean errors; after the warm-up perceptual, the layers' mean error relative to the
            originals' maps, embedding, 1 - cosine, and critic, its hinge loss: 2 where it is fooled, 0 where it is not.
        """
        pixels, vectors = batch
        share = min(self.steps * self.loop.batch / self.loop.images, 1.0)
        if self.config.optimiser == 'adam':
            for group in self.optimiser.param_groups:
                group['lr'] = group['initial_lr'] * cosine(share)
        for group in self.critics.param_groups if self.critic is not None else ():
            group['lr'] = self.config.critic_lr * cosine(share)
        self.steps += 1
        pixels = self._altered(pixels, noise)
        self.reconstructor.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.loop.amp == 'bf16'):
            losses = self._losses(pixels, vectors, noise, share >= self.config.warmup)
        self.optimiser.zero_grad(set_to_none=True)
        losses['loss'].backward()
        average_gradients(weight for group in self.optimiser.param_groups for weight in group['params'])
        self.optimiser.step()
        return {name: value.detach() for name, value in losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, running means and number of steps; the tensors are the live ones, not copies."""
        return {
            'steps': self.steps,
            'featured': self.featured,
            'running': dict(self.running),
            'reconstructor': self.reconstructor.state_dict(),
            'optimiser': self.optimiser.state_dict(),
            'critic': None if self.critic is None else [self.critic.state_dict(), self.critics.state_dict()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a learner with the same configuration."""
        if self.critic is not None:
            self.critic.load_state_dict(state['critic'][0])
            self.critics.load_state_dict(state['critic'][1])
        self.steps, self.featured = state['steps'], state['featured']
        self.running = {name: value.to(self.device) for name, value in state['running'].items()}
        self.reconstructor.load_state_dict(state['reconstructor'])
        self.optimiser.load_state_dict(state['optimiser'])

    def _copied(self, network: Extractor) -> Extractor:
        """A copy in eval mode on this device: what a training freezes or trains is not the caller's."""
        return copy.deepcopy(network).to(self.device).to(memory_format=self._order).eval()

    def _optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        for group in groups:
            group['initial_lr'] = group.setdefault('lr', self.config.lr)
        if self.config.optimiser == 'adagrad':
            return torch.optim.Adagrad(groups, self.config.lr, initial_accumulator_value=0.1)  # Keras's start
        return torch.optim.Adam(groups, self.config.lr, fused=True)

    def _losses(self, pixels: Tensor, vectors: Tensor, noise: torch.Generator, late: bool) -> dict[str, Tensor]:
        names = self._compared() if late else ()
        seen: dict[str, Tensor] = {}
        if self.network is not None and (names or self.config.augments):
            with torch.no_grad():
                seen = self._maps(pixels, (*names, EMBEDDING) if self.config.augments else names)
        picture = self._drawn(seen[EMBEDDING] if self.config.augments else vectors, noise)
        losses = {'pixel': self._pixel(picture, pixels), 'gradient': gradient_error(picture, pixels)}
        total = self.config.pixel_weight * losses['pixel'] + self.config.gradient_weight * losses['gradient']
        if names:
            found = self._maps(picture, names)
            if self.config.layers:
                errors = {name: relative_error(found[name], seen[name]) for name in self.config.layers}
                losses['perceptual'] = torch.stack(list(errors.values())).mean()
                total = total + self.config.perceptual_weight * self._weighed(errors)
            if self.config.embedding_weight:
                cosines = F.cosine_similarity(found[EMBEDDING].float(), seen[EMBEDDING].float())
                losses['embedding'] = 1 - cosines.mean()
                total = total + self.config.embedding_weight * losses['embedding']
        if late and self.critic is not None:
            losses['critic'] = self._criticised(picture.detach(), pixels)
            total = total - self.config.realism_weight * self.critic.requires_grad_(False)(picture).float().mean()
        return {'loss': total, **losses}

    def _criticised(self, picture: Tensor, pixels: Tensor) -> Tensor:
        """A step of the critic on reconstructions and originals; its hinge loss."""
        assert self.critic is not None
        critic = self.critic.requires_grad_(True)
        found, real = critic(picture).float(), critic(pixels).float()
        loss = F.relu(1 + found).mean() + F.relu(1 - real).mean()
        self.critics.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(critic.parameters())
        self.critics.step()
        return loss.detach()

    def _compared(self) -> tuple[str, ...]:
        """Names of all that is compared in the network, each once."""
        if self.network is None:
            return ()
        names = [*self.config.layers, *([EMBEDDING] if self.config.embedding_weight else [])]
        return tuple(dict.fromkeys(names))

    def _maps(self, pixels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        assert self.network is not None
        names = tuple(dict.fromkeys(names))
        return {name: found.flatten(1) for name, found in zip(names, self.network.maps(pixels, names), strict=True)}

    def _drawn(self, vectors: Tensor, noise: torch.Generator) -> Tensor:
        """Pictures in float32 of vectors, these with noise: this worker's rows of what is drawn for the whole batch."""
        values = self.reconstructor.standardise(vectors.float())
        if self.config.noise:
            drawn = own_rows(torch.randn(world_size() * len(values), values.shape[1], generator=noise))
            values = values + self.config.noise * drawn.to(self.device)
        return self.reconstructor.draw(values).float()

    def _pixel(self, picture: Tensor, pixels: Tensor) -> Tensor:
        return F.l1_loss(picture, pixels) if self.config.pixel == 'l1' else F.mse_loss(picture, pixels)

    def _weighed(self, errors: dict[str, Tensor]) -> Tensor:
        """The layers' mean error, each divided by its own running mean where `normalise` is on."""
        if not self.config.normalise:
            return torch.stack(list(errors.values())).mean()
        self.featured += 1
        for name, error in errors.items():
            self.running[name] = MEMORY * self.running[name] + (1 - MEMORY) * mean_over_workers(error.detach())
        unbiased = 1 - MEMORY**self.featured  # as Adam's moments: the means start at 0
        return torch.stack([error * unbiased / (self.running[name] + 1e-12) for name, error in errors.items()]).mean()

    def _altered(self, pixels: Tensor, noise: torch.Generator) -> Tensor:
        if not self.config.augments:
            return pixels
        drawn = own_rows(torch.rand(world_size() * len(pixels), 5, generator=noise) * 2 - 1)
        return augment(pixels, drawn.to(self.device), self._alterations)


def cosine(share: float) -> float:
    """From 1 at share 0 of the training to 0 at share 1."""
    return (1 + math.cos(math.pi * share)) / 2


def gradient_error(picture: Tensor, original: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, down and to the right, of (N, C, H, W): a scalar."""
    difference = picture - original
    down = (difference[:, :, 1:] - difference[:, :, :-1]).abs().mean()
    right = (difference[:, :, :, 1:] - difference[:, :, :, :-1]).abs().mean()
    return (down + right) / 2


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """The norm of each picture's error at one layer over the norm of what was wanted, mean over (N, d): a scalar."""
    errors = (found.float() - wanted.float()).norm(dim=1)
    return (errors / (wanted.float().norm(dim=1) + 1e-6)).mean()


class AutoEncoderLearner(ReconstructionLearner):
    """The non-adversarial baseline: the network and the reconstructor trained together (Dosovitskiy & Brox 2016; Table
    10).

    It is no attack: it has the target itself and the target's own pictures, and changes the target's weights so that
    vectors are easier to invert. The loss is the mean squared error of the pixels alone; the network's BatchNorm keeps
    its statistics. Afterwards `encoder` makes the vectors that `reconstructor` inverts.

    Args: as `ReconstructionLearner`; of `config` the network, optimiser, rates and augmentation count; `encoder_lr` is
        the learning rate of the network's weights.
    """

    def __init__(
        self,
        config: ReconstructionConfig,
        loop: LoopConfig,
        seed: int,
        network: Extractor,
        *,
        vector_scale: tuple[np.ndarray, np.ndarray],
        encoder_lr: float = 2e-4,
        device: torch.device | None = None,
    ) -> None:
        plain = replace(config, pixel='l2', pixel_weight=1.0, gradient_weight=0.0, layers=(), embedding_weight=0.0,
                        realism_weight=0.0)
        super().__init__(plain, loop, seed, network, vector_scale=vector_scale, device=device)
        self.encoder = self._copied(network).requires_grad_(True)
        self.optimiser = self._optimiser([
            {'params': list(self.reconstructor.parameters())},
            {'params': list(self.encoder.parameters()), 'lr': encoder_lr},
        ])

    def _losses(self, pixels: Tensor, vectors: Tensor, noise: torch.Generator, late: bool) -> dict[str, Tensor]:
        picture = self._drawn(self.encoder(pixels), noise)
        error = self._pixel(picture, pixels)
        return {'loss': error, 'pixel': error}

    def state_dict(self) -> dict[str, Any]:
        """See `ReconstructionLearner`; with the encoder's weights."""
        return super().state_dict() | {'encoder': self.encoder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `ReconstructionLearner`."""
        super().load_state_dict(state)
        self.encoder.load_state_dict(state['encoder'])


def solved(config: ReconstructorConfig, pairs: Embedded) -> Reconstructor:
    """The linear reconstructor of the least squared error of the pixels, with the ridge of the least leave-one-out error.

    Args:
        config: family linear.
        pairs: 3 pictures or more; they are all in memory, as float32.
    """
    rows = slice(None) if pairs.rows is None else pairs.rows
    network = build_reconstructor(config)
    network.set_scale(*(torch.from_numpy(np.array(each, dtype=np.float32)) for each in pairs.scale))
    values = network.standardise(torch.from_numpy(np.array(pairs.vectors[rows], dtype=np.float32))).double().numpy()
    pixels = np.moveaxis(np.asarray(pairs.pixels[rows]), 1, -1)  # as `Reconstructor.draw` reshapes the dense layer's output
    found = LinearMap.fit(values, to_float(pixels).reshape(len(values), -1))
    with torch.no_grad():
        network.dense.weight.copy_(torch.from_numpy(found.weights.T))
        network.dense.bias.copy_(torch.from_numpy(found.bias))
    return network.eval()


def reconstruct(network: Reconstructor, vectors: np.ndarray, batch: int = 64, threads: int = 1) -> np.ndarray:
    """Pictures from vectors, in eval mode, in batches of one size, the last one padded.

    Args:
        network: on any device; its mode is restored.
        vectors: (N, length) raw.
        batch: vectors at a time.
        threads: on a CPU; part of what the last bits hang on.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        UserError: vectors of another length, or not finite.
    """
    config = network.config
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != config.length:
        raise UserError(f'vectors {values.shape} for a reconstructor of length {config.length}', 'give (N, length)')
    if not np.isfinite(values).all():
        raise UserError('vectors hold values that are not finite', 'leave them out')
    pixels = np.empty((len(values), config.channels, *config.image), dtype=np.uint8)
    with asked(network, threads) as device:
        for first, part in padded(values, batch, device):
            pixels[first : first + batch] = to_uint8(network(part).cpu().numpy())[: len(values) - first]
    return pixels


def save_reconstructor(network: Reconstructor, folder: Path | str, name: str = 'reconstructor') -> None:
    """A reconstructor as NAME.json (its configuration) and NAME.safetensors (its state)."""
    folder = Path(folder)
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    (folder / f'{name}.json').write_text(json.dumps(asdict(network.config), indent=1) + '\n')
    save_file(state, folder / f'{name}.safetensors')


def load_reconstructor(folder: Path | str, name: str = 'reconstructor') -> Reconstructor:
    """The reconstructor that `save_reconstructor` wrote, in eval mode on the CPU.

    Raises:
        UserError: there is none, or its files cannot be read.
    """
    folder, mend = Path(folder), 'name a folder of a trained reconstructor'
    try:
        text = (folder / f'{name}.json').read_text(encoding='utf-8')
        network = build_reconstructor(ReconstructorConfig(**json.loads(text)))
        network.load_state_dict(load_file(folder / f'{name}.safetensors'))
    except FileNotFoundError as fault:
        raise UserError(f'{folder} holds no reconstructor: {fault.filename} is missing', mend) from None
    except UserError:
        raise
    except Exception as fault:  # torch, json and safetensors name a dozen kinds for a damaged file
        why = ' '.join(str(fault).split())[:100]
        raise UserError(f'the reconstructor in {folder} cannot be read ({why})', mend) from fault
    return network.eval()


def _check(config: ReconstructionConfig, network: Extractor | None, scale: tuple[np.ndarray, np.ndarray]) -> None:
    length = config.reconstructor.length
    if any(np.shape(each) != (length,) for each in scale):
        raise UserError(f'vectors of length {len(scale[0])} for a reconstructor of length {length}',
                        f'give reconstructor.length {len(scale[0])}')
    if network is None:
        if config.layers or config.augments:
            raise UserError('reconstruction: layers and augmentation need the network that made the vectors',
                            'leave them off where it only answers')
        return
    if unknown := set(config.layers) - set(network.layers):
        raise UserError(f'reconstruction.layers: the network has no layer {", ".join(sorted(unknown))}',
                        f'choose among {", ".join(filter(None, network.layers))}')
