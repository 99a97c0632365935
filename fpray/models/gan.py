"""Generator and discriminator: the thesis's (Cavasin 2023, Figs. 4.1, 4.2) and the same family at any size.

Maps are (N, C, H, W) in channels_last memory, which convolutions on a CPU prefer and which is Keras's own order.
Weights start as in Keras: Glorot uniform, biases zero.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpray.models.config import (
    MAX_GROUPS,
    DiscriminatorConfig,
    GeneratorConfig,
    Norm,
    discriminator_layers,
    discriminator_step,
    generator_base,
)

Network = TypeVar('Network', bound=nn.Module)
EPSILON = 1e-3  # of BatchNorm and GroupNorm, as in Keras


def build_generator(config: GeneratorConfig, seed: int = 0) -> Generator:
    """A fresh generator, weights drawn from `seed`: (N, noise) standard normal to (N, C, H, W) in [-1, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _started(Generator(config))


def build_discriminator(config: DiscriminatorConfig, seed: int = 0) -> Discriminator:
    """A fresh discriminator: (N, C, H, W) floats in [-1, 1] to (N,) raw numbers, larger = more like training pictures.

    The thesis ends in a sigmoid; it is left to the loss, since the other losses want raw numbers, and a sigmoid's
    ends round to ties.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _started(Discriminator(config))


class Generator(nn.Module):
    """See `GeneratorConfig`."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.base = generator_base(config)
        self.dense = nn.Linear(config.noise, config.widths[0] * math.prod(self.base))
        layers = _thesis_generator(config) if config.family == 'thesis' else _scaled_generator(config)
        self.body = nn.Sequential(_leaky(config.slope), *layers)

    def forward(self, noise: Tensor) -> Tensor:
        """(N, noise) to (N, C, H, W) in [-1, 1]."""
        maps = self.dense(noise).view(-1, *self.base, self.config.widths[0])
        picture = self.body(maps.permute(0, 3, 1, 2))  # no copy: channels are last already
        height, width = self.config.image
        top, left = (picture.shape[2] - height) // 2, (picture.shape[3] - width) // 2
        return torch.tanh(picture[:, :, top : top + height, left : left + width])


class Discriminator(nn.Module):
    """See `DiscriminatorConfig`."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential(*_discriminator_body(config))
        inputs = discriminator_layers(config)[-1].parameters - 1
        self.minibatch: MinibatchDiscrimination | None = None
        if config.minibatch:
            flat = inputs - config.minibatch
            self.minibatch = MinibatchDiscrimination(flat, config.minibatch, config.minibatch_length)
        self.head = nn.Linear(inputs, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N,) raw numbers."""
        return self.judge(self.features(pixels))

    def features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N, d) float32: the last map, flattened as Keras does; what feature matching compares."""
        return self.body(pixels).permute(0, 2, 3, 1).flatten(1).float()

    def judge(self, features: Tensor) -> Tensor:
        """(N, d) features to (N,) raw numbers."""
        if self.minibatch is not None:
            features = torch.cat([features, self.minibatch(features)], dim=1)
        # a sum for each row, not a matrix product: its rounding does not hang on the row's place in the batch
        return (features * self.head.weight[0]).sum(dim=1) + self.head.bias


class MinibatchDiscrimination(nn.Module):
    """Similarity of each picture to the others of its batch (Salimans et al. 2016, section 3.2).

    While training: o_b(i) = sum over j != i of exp(-|M_ib - M_jb|_1), divided by the number of others so that it does
    not grow with the batch (the paper's sum times a constant). In eval mode a picture is judged alone: the running
    mean of o stands in, as BatchNorm's statistics do, so that a score does not hang on the other queries.
    """

    mean: Tensor

    def __init__(self, inputs: int, kernels: int, length: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, kernels * length, bias=False)
        self.kernels, self.momentum = kernels, momentum
        self.register_buffer('mean', torch.zeros(kernels))

    def forward(self, features: Tensor) -> Tensor:
        """(N, d) to (N, kernels) in [0, 1]."""
        if not self.training:
            return self.mean.expand(len(features), -1)
        vectors = self.project(features).view(len(features), self.kernels, -1)
        others = self.everyone(vectors)
        distances = (vectors[:, None] - others[None]).abs().sum(dim=3)
        similarity = (torch.exp(-distances).sum(dim=1) - 1) / max(len(others) - 1, 1)  # 1: the picture itself
        with torch.no_grad():
            self.mean.lerp_(self.everyone(similarity).mean(dim=0), self.momentum)
        return similarity

    def everyone(self, rows: Tensor) -> Tensor:
        """The rows of the whole batch; several workers gather theirs (`fpray.training.parallel`)."""
        return rows


class SameConv2d(nn.Conv2d):
    """Convolution with Keras's 'same' padding: ceil(side / stride) out; an odd total pads one more below and right."""

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        (top, bottom), (left, right) = (
            same_padding(side, kernel, stride)
            for side, kernel, stride in zip(maps.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if (top, left) == (bottom, right):
            return F.conv2d(maps, self.weight, self.bias, self.stride, (top, left))
        return F.conv2d(F.pad(maps, (left, right, top, bottom)), self.weight, self.bias, self.stride)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Keras's 'same' padding of one side: pixels (before, after)."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class UpsampleConv2d(nn.Conv2d):
    """Nearest-neighbour enlargement by 2, then a 3x3 convolution, as one transposed convolution: the same function.

    A pixel repeated 2x2 and then weighted by 3x3 meets each output once with a sum of those weights; the sums form a
    4x4 kernel of stride 2. That takes 4 products an output instead of 9, and 0.4 of the time on one CPU thread.
    """

    def __init__(self, before: int, after: int, bias: bool) -> None:
        super().__init__(before, after, kernel_size=3, padding=1, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', 2H, 2W)."""
        turned = self.weight.flip(2, 3).transpose(0, 1)
        rows = F.pad(turned, (0, 0, 0, 1)) + F.pad(turned, (0, 0, 1, 0))
        kernel = F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))
        return F.conv_transpose2d(maps, kernel, self.bias, stride=2, padding=1)


class NarrowConv2d(nn.Conv2d):
    """A 3x3 convolution to one or three channels as a transposed convolution with the turned kernel, the same function.

    On a CPU its weight gradient then takes a tenth of the time.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, kernel_size=3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        return F.conv_transpose2d(maps, self.weight.flip(2, 3).transpose(0, 1), self.bias, padding=1)


def _scaled_generator(config: GeneratorConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in zip(config.widths, config.widths[1:], strict=False):
        bias = config.norm != 'batch'  # BatchNorm subtracts it again
        if config.upsample == 'nearest':
            layers.append(UpsampleConv2d(before, after, bias))
        else:
            layers.append(nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1, bias=bias))
        layers += [*_norm(config.norm, after, config.momentum), _leaky(config.slope)]
    return [*layers, NarrowConv2d(config.widths[-1], config.channels)]


def _thesis_generator(config: GeneratorConfig) -> list[nn.Module]:
    """Fig. 4.1 after the dense layer. A 4x4 transposed convolution, 'same' and of stride 2, pads 1 on every side."""
    channels = [*config.widths, config.channels]
    layers: list[nn.Module] = []
    for number, (kernel, doubling) in enumerate(zip((4, 4, 4, 4, 3, 3, 7), (0, 1, 0, 1, 0, 0, 0), strict=True)):
        before, after = channels[number], channels[number + 1]
        if doubling:
            layers.append(nn.ConvTranspose2d(before, after, kernel, stride=2, padding=1))
        else:
            layers.append(SameConv2d(before, after, kernel))
        layers.append(_leaky(config.slope))
    return layers[:-1]  # the last convolution goes to tanh


def _discriminator_body(config: DiscriminatorConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    before = config.channels
    for number, after in enumerate(config.widths):
        kernel, stride, same = discriminator_step(config, number)
        bias = config.family == 'thesis' or config.norm != 'batch'
        layers.append((SameConv2d if same else nn.Conv2d)(before, after, kernel, stride, bias=bias))
        layers += [*_norm(config.norm, after, config.momentum), _leaky(config.slope)]
        before = after
    return [*layers, nn.Dropout(config.dropout)] if config.dropout else layers


def _norm(norm: Norm, channels: int, momentum: float) -> list[nn.Module]:
    if norm == 'batch':
        return [nn.BatchNorm2d(channels, eps=EPSILON, momentum=momentum)]
    if norm == 'group':
        groups = max(number for number in range(1, MAX_GROUPS + 1) if channels % number == 0)
        return [nn.GroupNorm(groups, channels, eps=EPSILON)]
    return []


def _leaky(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope, inplace=True)  # no map is kept twice


def _started(network: Network) -> Network:
    """Keras's first weights, and the memory order that every network of this module has."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)
