"""Scoring networks: a classifier's logits give Inception Scores, its features Fréchet distances.

Both networks take (N, C, H, W) floats in [-1, 1] and offer `forward` (logits), `features`, and `classify` (logits from
features, so that one pass gives both).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.models.config import ScorerConfig

INCEPTION_SIDE = 299  # px, the size that InceptionV3 was trained at


def build_scorer(config: ScorerConfig, seed: int = 0, *, read: bool = True) -> Scorer:
    """A fresh small classifier, weights drawn from `seed`; or InceptionV3 with the weights of `config.weights`.

    Args:
        config: the network.
        seed: of a small classifier's weights.
        read: False leaves InceptionV3's weights unread, for who loads a state into it anyway.

    Raises:
        UserError: the weights cannot be read or do not fit.
    """
    if config.backbone == 'inception-v3':
        return InceptionScorer(config.weights if read else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallScorer(config).to(memory_format=torch.channels_last)


class Scorer(nn.Module, ABC):
    """What both scoring networks offer."""

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, classes) logits."""
        return self.classify(self.features(pixels))

    @abstractmethod
    def features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, d)."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """(N, d) to (N, classes) logits."""


class SmallScorer(Scorer):
    """3x3 convolutions of stride 2, each with BatchNorm and ReLU, the mean over the map, dense."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for before, after in zip((config.channels, *config.widths), config.widths, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], config.classes)

    def features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N, widths[-1]): the means of the last map."""
        return self.body(pixels).mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """(N, widths[-1]) to (N, classes) logits."""
        return self.head(self.dropout(features))


class InceptionScorer(Scorer):
    """torchvision's InceptionV3 (Szegedy et al. 2016), 2,048 features, 1,000 ImageNet classes; only for scoring.

    Args:
        weights: file of a state dict, as torchvision publishes it; read with weights_only, so that it can run no code.
            None: of nothing, to load a state into.

    Raises:
        UserError: the file cannot be read or does not fit.
    """

    def __init__(self, weights: str | None) -> None:
        from torchvision.models import inception_v3  # imported only here: it takes seconds

        super().__init__()
        network = inception_v3(weights=None, init_weights=False, aux_logits=True)
        try:
            if weights is not None:
                network.load_state_dict(torch.load(weights, map_location='cpu', weights_only=True))
        except Exception as fault:  # unpickling, zip and key errors come as many kinds
            raise UserError(
                f'cannot use {weights} as weights of InceptionV3: {fault}',
                "give torchvision's state dict of inception_v3",
            ) from fault
        network.AuxLogits = None
        self.head, network.fc = network.fc, nn.Identity()
        self.body = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> InceptionScorer:
        """It stays in eval mode: the network is fixed."""
        return super().train(False)

    def features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2048); gray is repeated to three channels, sides are resized to 299 px.

        Published weights were made for inputs in [-1, 1], so nothing more is subtracted.
        """
        colour = pixels.expand(-1, 3, -1, -1)
        square = (INCEPTION_SIDE, INCEPTION_SIDE)
        return self.body(F.interpolate(colour, square, mode='bilinear', align_corners=False, antialias=True))

    def classify(self, features: Tensor) -> Tensor:
        """(N, 2048) to (N, 1000) logits."""
        return self.head(features)
