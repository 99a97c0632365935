"""Training the auxiliary classifier of model inference (Tangari et al. 2023, section 5.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fpray.models.auxiliary import Auxiliary, build_auxiliary
from fpray.training.config import AuxiliaryTraining, LoopConfig
from fpray.training.loop import WEIGHTS, Batch, anneal, asked, derive, padded, pick_device
from fpray.training.parallel import average_gradients, own_rows, synchronise, world_size


class AuxiliaryLearner:
    """An auxiliary classifier in training; a `fpray.training.loop.Learner`. Batches are (vectors float32, labels int64).

    Args:
        config: network and rates.
        loop: length (for the cosine), device.
        seed: of the first weights, at least 0.
        device: overrides the loop's choice.

    Raises:
        UserError: no GPU where one is asked for.
    """

    def __init__(
        self, config: AuxiliaryTraining, loop: LoopConfig, seed: int, *, device: torch.device | None = None
    ) -> None:
        self.config, self.loop, self.steps = config, loop, 0
        self.device = device or pick_device(loop.device)
        self.network: Auxiliary = build_auxiliary(config.network, derive(seed, WEIGHTS))
        synchronise(self.network).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.lr, weight_decay=config.weight_decay, fused=True
        )

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One step; returns the loss and the share of right answers on the noisy vectors."""
        vectors, labels = batch
        share = min(self.steps * self.loop.batch / self.loop.images, 1.0)
        anneal(self.optimiser, self.config.lr, share)
        self.steps += 1
        self.network.train()
        logits = self.network(self._noisy(vectors, noise))
        loss = F.cross_entropy(logits, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.network.parameters())
        self.optimiser.step()
        return {'loss': loss.detach(), 'accuracy': (logits.argmax(dim=1) == labels).float().mean()}

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and number of steps; the tensors are the live ones, not copies."""
        return {'steps': self.steps, 'network': self.network.state_dict(), 'optimiser': self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a learner with the same configuration."""
        self.steps = state['steps']
        self.network.load_state_dict(state['network'])
        self.optimiser.load_state_dict(state['optimiser'])

    def _noisy(self, vectors: Tensor, noise: torch.Generator) -> Tensor:
        """The vectors with noise in proportion to their own spread: this worker's rows of the whole batch's draw."""
        if not self.config.noise:
            return vectors
        count, length = vectors.shape
        drawn = own_rows(torch.randn(world_size() * count, length, generator=noise))
        return vectors + self.config.noise * vectors.std(dim=1, keepdim=True) * drawn.to(self.device)


def predict(network: Auxiliary, vectors: np.ndarray, batch: int = 256, threads: int = 1) -> np.ndarray:
    """(N, classes) float32 logits of (N, length) float32 vectors, in eval mode, in batches of one size, the last padded."""
    with asked(network, threads) as device:
        found = [
            network(part)[: len(vectors) - first].cpu().numpy() for first, part in padded(vectors, batch, device)
        ]
    return np.concatenate(found)
