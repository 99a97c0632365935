"""The auxiliary classifier: one vector in, one number a candidate network out (Tangari et al. 2023, section 5.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpray.models.config import AuxiliaryConfig


def build_auxiliary(config: AuxiliaryConfig, seed: int = 0) -> Auxiliary:
    """A fresh classifier, weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Auxiliary(config)


class Auxiliary(nn.Module):
    """Dense layers, each with normalisation over its units, ReLU and dropout; dense.

    The normalisation is the row's own (LayerNorm), so that a vector's answer hangs on no other vector, in training
    neither: workers need not exchange statistics.
    """

    def __init__(self, config: AuxiliaryConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for before, after in zip((config.length, *config.hidden), config.hidden, strict=False):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU(inplace=True), nn.Dropout(config.dropout)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear((config.length, *config.hidden)[-1], config.classes)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, length) to (N, classes) logits.

        Each vector is brought to mean 0 and variance 1 first: min-max values lie close together, and on them as they are
        39 classes were not learnt at all.
        """
        return self.head(self.body(F.layer_norm(vectors, vectors.shape[1:])))
