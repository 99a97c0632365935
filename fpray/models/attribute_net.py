"""The small digit classifiers whose attributes are to be inferred (Tangari et al. 2023, Table 1; after MNIST-NET)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpray.models.config import AttributeNetConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {'relu': nn.ReLU, 'prelu': nn.PReLU, 'elu': nn.ELU, 'tanh': nn.Tanh}
POOLED = 2  # convolutions that are followed by pooling, where there is pooling
DROPPED = 0.25


def build_attribute_net(config: AttributeNetConfig, side: int, seed: int = 0) -> AttributeNet:
    """A fresh network for gray pictures of `side` px, at least 4, weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttributeNet(config, side)


class AttributeNet(nn.Module):
    """Convolutions, dense layers, classes; `features` is what the last hidden dense layer gives after its activation."""

    def __init__(self, config: AttributeNetConfig, side: int) -> None:
        super().__init__()
        self.config = config
        activation, layers = ACTIVATIONS[config.activation], []
        channels = [1] + [config.width] * config.convolutions
        for number, (before, after) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(before, after, config.kernel, padding='same'), activation()]
            if config.pooling and number < POOLED:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        layers.append(nn.Flatten())
        units = [config.width * side * side] + [config.units] * (config.dense - 2) + [config.embedding]
        for before, after in pairwise(units):
            layers += [nn.Linear(before, after), activation(), *([nn.Dropout(DROPPED)] if config.dropout else [])]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(config.embedding, config.classes)
        for layer in self.body:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):  # torch's own start is so small that deep ones stay asleep
                nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 1, S, S) in [-1, 1] to (N, classes) logits."""
        return self.head(self.features(pixels))

    def features(self, pixels: Tensor) -> Tensor:
        """(N, 1, S, S) in [-1, 1] to (N, embedding)."""
        return self.body(pixels)

    def answers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, S, S) to embeddings (N, embedding) and probabilities (N, classes), in one pass."""
        features = self.features(pixels)
        return features, F.softmax(self.head(features), dim=1)
