"""Training a scoring network: cross-entropy with light augmentation; predictions and accuracy afterwards."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fpray.errors import UserError
from fpray.models.scorer import Scorer, build_scorer
from fpray.training.config import ClassifierConfig, LoopConfig, RecognitionConfig
from fpray.training.loop import WEIGHTS, Batch, anneal, asked, derive, padded, pick_device
from fpray.training.parallel import average_gradients, own_rows, synchronise, world_size


class ClassifierLearner:
    """A classifier in training; a `fpray.training.loop.Learner`. Batches are (pictures, labels).

    Args:
        config: network, rates and augmentation.
        loop: length (for the cosine), device, precision, memory order.
        seed: of the first weights, at least 0.
        device: overrides the loop's choice.

    Raises:
        UserError: InceptionV3, which comes trained; no GPU where one is asked for.
    """

    def __init__(
        self, config: ClassifierConfig, loop: LoopConfig, seed: int, *, device: torch.device | None = None
    ) -> None:
        if config.scorer.backbone != 'cnn':
            raise UserError(f'classifier: {config.scorer.backbone} comes trained', "train scorer.backbone 'cnn'")
        self.config, self.loop, self.steps = config, loop, 0
        self.device = device or pick_device(loop.device)
        order = torch.channels_last if loop.channels_last else torch.contiguous_format
        self.scorer: Scorer = build_scorer(config.scorer, derive(seed, WEIGHTS))
        synchronise(self.scorer).to(self.device).to(memory_format=order)
        self.optimiser = torch.optim.AdamW(
            self.scorer.parameters(), config.lr, weight_decay=config.weight_decay, fused=True
        )

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One step; returns the loss and the share of right answers on the augmented pictures."""
        pixels, labels = batch
        share = min(self.steps * self.loop.batch / self.loop.images, 1.0)
        anneal(self.optimiser, self.config.lr, share)
        self.steps += 1
        self.scorer.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.loop.amp == 'bf16'):
            logits = self.scorer(augment(pixels, self._draws(len(pixels), noise), self.config)).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.scorer.parameters())
        self.optimiser.step()
        return {'loss': loss.detach(), 'accuracy': (logits.argmax(dim=1) == labels).float().mean()}

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and number of steps; the tensors are the live ones, not copies."""
        return {
            'steps': self.steps,
            'scorer': self.scorer.state_dict(),
            'optimiser': self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a learner with the same configuration."""
        self.steps = state['steps']
        self.scorer.load_state_dict(state['scorer'])
        self.optimiser.load_state_dict(state['optimiser'])

    def _draws(self, count: int, noise: torch.Generator) -> Tensor:
        """(count, 5) in [-1, 1]: this worker's rows of what is drawn for the whole batch."""
        return own_rows(torch.rand(world_size() * count, 5, generator=noise) * 2 - 1).to(self.device)


def augment(pixels: Tensor, draws: Tensor, config: ClassifierConfig | RecognitionConfig) -> Tensor:
    """Pictures turned, shifted and changed in contrast and brightness; the border is repeated outwards.

    Args:
        pixels: (N, C, H, W) in [-1, 1].
        draws: (N, 5) in [-1, 1], each the share of its largest change: rotation, shift right, shift down, contrast,
            brightness.
        config: the largest changes.

    Returns:
        (N, C, H, W) in [-1, 1].
    """
    angle = draws[:, 0] * math.radians(config.rotation)
    height, width = pixels.shape[2:]
    cosine, sine = angle.cos(), angle.sin()
    shift = -2 * config.shift * draws[:, 1:3]  # the sides are 2 long in grid_sample's coordinates
    rows = [
        torch.stack([cosine, -sine * height / width, shift[:, 0]], dim=1),
        torch.stack([sine * width / height, cosine, shift[:, 1]], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, mode='bilinear', padding_mode='border', align_corners=False)
    contrast = 1 + config.contrast * draws[:, 3, None, None, None]
    brightness = config.contrast / 2 * draws[:, 4, None, None, None]
    return (moved * contrast + brightness).clamp(-1, 1)


def predict(scorer: Scorer, pixels: np.ndarray, batch: int = 64, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits and features in eval mode, in batches of one size, the last one padded.

    Args:
        scorer: on any device; its mode is restored.
        pixels: (N, C, H, W) uint8, may be a memory map; N at least 1.
        batch: pictures at a time.
        threads: on a CPU; part of what the last bits hang on.

    Returns:
        (N, classes) float32 logits, (N, d) float32 features.
    """
    logits, features = [], []
    with asked(scorer, threads) as device:
        for first, part in padded(pixels, batch, device):
            found = scorer.features(part)
            features.append(found[: len(pixels) - first].cpu().numpy())
            logits.append(scorer.classify(found)[: len(pixels) - first].cpu().numpy())
    return np.concatenate(logits), np.concatenate(features)


def accuracy(scorer: Scorer, pixels: np.ndarray, labels: np.ndarray, batch: int = 64, threads: int = 1) -> float:
    """Share of (N, C, H, W) uint8 pictures whose largest logit is at their label (N,): on held-out people, a check."""
    logits, _ = predict(scorer, pixels, batch, threads)
    return float(np.mean(logits.argmax(axis=1) == labels))
