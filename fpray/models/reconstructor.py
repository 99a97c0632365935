"""The reconstructor: one vector in, the picture that it may have come from out (Tangari et al. 2023, Table 14)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fpray.models.config import ReconstructorConfig, reconstructor_maps
from fpray.models.gan import EPSILON, same_padding

Scale = tuple[Tensor, Tensor]


def build_reconstructor(config: ReconstructorConfig, seed: int = 0) -> Reconstructor:
    """A fresh reconstructor, weights drawn from `seed`: (N, length) vectors to (N, C, H, W) in [-1, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Reconstructor(config).to(memory_format=torch.channels_last)


class Reconstructor(nn.Module):
    """See `ReconstructorConfig`. Raw vectors go in: the attacker's means and deviations are part of the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ReconstructorConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer('mean', torch.zeros(config.length))
        self.register_buffer('std', torch.ones(config.length))
        maps = reconstructor_maps(config)
        self.base = maps[0]
        self.dense = nn.Linear(config.length, math.prod(self.base))
        layers: list[nn.Module] = [nn.LeakyReLU(config.slope)] if len(maps) > 1 else []
        kernel = 5 if config.family == 'table-14' else config.kernel
        for before, after in pairwise(shape[0] for shape in maps[:-1]):
            layers += [_enlarge(before, after, kernel, bias=False), nn.BatchNorm2d(after, eps=EPSILON)]
            layers.append(nn.LeakyReLU(config.slope))
        if len(maps) > 1:
            layers.append(_enlarge(maps[-2][0], config.channels, kernel, bias=True))
        self.body = nn.Sequential(*layers)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d):  # Keras's start
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def standardise(self, vectors: Tensor) -> Tensor:
        """(N, length) raw vectors with mean 0 and deviation 1 in each dimension, by what `set_scale` gave."""
        return (vectors - self.mean) / self.std

    def set_scale(self, mean: Tensor, std: Tensor) -> None:
        """(length,) mean and deviation of each dimension of the vectors; a dimension that never moves counts as 1."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, length) raw vectors to (N, C, H, W) in [-1, 1]; in training, without a last activation, beyond it."""
        return self.draw(self.standardise(vectors))

    def draw(self, values: Tensor) -> Tensor:
        """(N, length) standardised vectors to (N, C, H, W); see `forward`."""
        channels, *base = self.base
        maps = self.dense(values).view(-1, *base, channels).permute(0, 3, 1, 2)  # no copy: channels are last already
        picture = self.body(maps)
        height, width = self.config.image
        top, left = (picture.shape[2] - height) // 2, (picture.shape[3] - width) // 2
        picture = picture[:, :, top : top + height, left : left + width]
        if self.config.last == 'tanh':
            return torch.tanh(picture)
        if self.config.last == 'sigmoid':
            return 2 * torch.sigmoid(picture) - 1
        return picture if self.training else picture.clamp(-1, 1)


def build_critic(channels: int, width: int, seed: int = 0) -> nn.Module:
    """A fresh critic, weights drawn from `seed`: (N, C, H, W) to (N, 1, H / 8, W / 8) raw numbers, one a patch of 22 px.

    Three convolutions of stride 2 and LeakyReLU, then one of stride 1; spectral norm throughout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, width, 2 * width, 4 * width)):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, spectral_norm(nn.Conv2d(4 * width, 1, 3, 1, 1)))


def _enlarge(before: int, after: int, kernel: int, bias: bool) -> nn.ConvTranspose2d:
    """A transposed convolution of stride 2 that doubles the side, as Keras's with padding 'same'."""
    top, bottom = same_padding(2, kernel, 2)
    return nn.ConvTranspose2d(
        before, after, kernel, stride=2, padding=bottom, output_padding=bottom - top, bias=bias
    )
