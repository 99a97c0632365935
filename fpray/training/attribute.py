"""Training one network of Table 1's zoo: cross-entropy by the optimiser that is one of its attributes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fpray.models.attribute_net import build_attribute_net
from fpray.models.config import AttributeNetConfig
from fpray.training.config import AttributeTraining, LoopConfig
from fpray.training.loop import WEIGHTS, Batch, derive
from fpray.training.parallel import average_gradients


class AttributeLearner:
    """A digit classifier in training; a `fpray.training.loop.Learner`. Batches are (pictures, labels).

    Args:
        config: the attributes.
        training: what all networks of the zoo share.
        side: of a picture, px.
        seed: of the first weights, at least 0.
    """

    def __init__(self, config: AttributeNetConfig, training: AttributeTraining, side: int, seed: int) -> None:
        self.device = torch.device('cpu')  # networks of this size run no faster elsewhere
        self.network = build_attribute_net(config, side, derive(seed, WEIGHTS))
        self.network.to(memory_format=torch.channels_last)
        self.optimiser = _optimiser(config, training, list(self.network.parameters()))

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One step; returns the loss."""
        pixels, labels = batch
        self.network.train()
        loss = F.cross_entropy(self.network(pixels), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.network.parameters())
        self.optimiser.step()
        return {'loss': loss.detach()}

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser; the tensors are the live ones, not copies."""
        return {'network': self.network.state_dict(), 'optimiser': self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a learner with the same configuration."""
        self.network.load_state_dict(state['network'])
        self.optimiser.load_state_dict(state['optimiser'])


def attribute_loop(config: AttributeNetConfig, training: AttributeTraining) -> LoopConfig:
    """The loop of one network: its batch is an attribute."""
    return LoopConfig(training.images, config.batch, snapshot_every=0, threads=training.threads, device='cpu')


def _optimiser(
    config: AttributeNetConfig, training: AttributeTraining, parameters: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    if config.optimiser == 'adam':
        return torch.optim.Adam(parameters, training.lr)
    if config.optimiser == 'rmsprop':
        return torch.optim.RMSprop(parameters, training.lr / 2)
    return torch.optim.SGD(parameters, 12 * training.lr, momentum=0.9)
