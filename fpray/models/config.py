"""Sizes of the networks, and what follows from them by arithmetic: shapes, parameters, memory. No torch.

Two families share one form. 'thesis' is Figs. 4.1 and 4.2 of Cavasin (2023), layer for layer; 'scaled' is the same
kind of network with fewer and narrower layers, for pictures of any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from fpray.errors import UserError
from fpray.errors import share as _share
from fpray.errors import whole as _whole

Norm = Literal['batch', 'group', 'none']
MAX_GROUPS = 8  # groups of a GroupNorm, fewer where the channels do not divide
THESIS_GENERATOR_LAYERS = 7  # dense, conv, deconv, conv, deconv, conv, conv; the last conv makes the picture's channels
THESIS_DISCRIMINATOR_LAYERS = 6


@dataclass(frozen=True)
class GeneratorConfig:
    """Noise to picture: dense, blocks of (enlarge by 2, convolution, norm, LeakyReLU), convolution, tanh.

    The first map is ceil(side / 2^blocks) a side; what the last one has too much is cropped evenly, so any size works.

    Raises:
        UserError: a size that no network can have.
    """

    family: Literal['scaled', 'thesis'] = 'scaled'
    """scaled: one width a block; thesis: Fig. 4.1, seven widths."""
    image: tuple[int, int] = (64, 64)
    """Height and width of a picture, px."""
    channels: int = 1
    """Channels of a picture: 1 gray, 3 colour."""
    noise: int = 64
    """Length of the noise vector (standard normal)."""
    widths: tuple[int, ...] = (64, 64, 32, 16)
    """Channels of the dense map, then of each block; one block doubles the side. thesis: of its seven layers."""
    norm: Norm = 'batch'
    """Normalisation in each block; the thesis's generator has none."""
    upsample: Literal['nearest', 'transpose'] = 'nearest'
    """How a scaled block doubles the side: nearest neighbour and 3x3 convolution, or 4x4 transposed convolution."""
    slope: float = 0.3
    """Slope of LeakyReLU below zero (Keras's default, the thesis's)."""
    momentum: float = 0.1
    """Share of each batch in BatchNorm's running mean and variance (Keras's momentum 0.99 is 0.01 here)."""

    def __post_init__(self) -> None:
        _check_common('generator', self)
        _whole('generator.noise', self.noise, 1)
        if self.upsample not in ('nearest', 'transpose'):
            raise UserError(f'generator.upsample: unknown rule {self.upsample!r}', "choose 'nearest' or 'transpose'")
        if self.family == 'thesis':
            _check_thesis('generator', self.widths, THESIS_GENERATOR_LAYERS, self.norm, 'none')
        elif 2 ** (len(self.widths) - 1) > min(self.image):
            raise UserError(
                f'generator.widths: {len(self.widths) - 1} blocks for pictures of {_size(self.image)} px',
                f'give at most {int(math.log2(min(self.image))) + 1} widths',
            )


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Picture to one raw number: convolutions of stride 2, each with norm and LeakyReLU, dropout, dense.

    Padding follows Keras's 'same': a side becomes ceil(side / 2), the odd pixel of padding below and to the right.

    Raises:
        UserError: a size that no network can have.
    """

    family: Literal['scaled', 'thesis'] = 'scaled'
    """scaled: one width a convolution of stride 2; thesis: Fig. 4.2, six widths."""
    image: tuple[int, int] = (64, 64)
    """Height and width of a picture, px."""
    channels: int = 1
    """Channels of a picture: 1 gray, 3 colour."""
    widths: tuple[int, ...] = (32, 64, 128, 128)
    """Channels of each convolution."""
    kernel: int = 4
    """Side of a scaled convolution, px; 3 costs 9/16 of 4."""
    norm: Norm = 'batch'
    """Normalisation after each convolution."""
    dropout: float = 0.0
    """Share of the last map's values dropped while training (thesis: 0.4)."""
    minibatch: int = 0
    """Minibatch discrimination (Salimans et al. 2016, section 3.2): number of similarities a picture; 0: off."""
    minibatch_length: int = 8
    """Length of the vectors that minibatch discrimination compares."""
    slope: float = 0.3
    """Slope of LeakyReLU below zero (Keras's default, the thesis's)."""
    momentum: float = 0.1
    """Share of each batch in BatchNorm's running mean and variance (Keras's momentum 0.99 is 0.01 here)."""

    def __post_init__(self) -> None:
        _check_common('discriminator', self)
        _whole('discriminator.kernel', self.kernel, 2, 7)
        _whole('discriminator.minibatch', self.minibatch, 0)
        _whole('discriminator.minibatch_length', self.minibatch_length, 1)
        _share('discriminator.dropout', self.dropout)
        if self.family == 'thesis':
            _check_thesis('discriminator', self.widths, THESIS_DISCRIMINATOR_LAYERS, self.norm, 'batch')
            if min(self.image) < 49:
                raise UserError(
                    f"discriminator: the thesis's network needs 49 px a side, not {_size(self.image)}",
                    'use larger pictures or the scaled family',
                )


@dataclass(frozen=True)
class ScorerConfig:
    """The scoring network: a classifier whose class probabilities give Inception Scores, its features Fréchet
    distances.

    Raises:
        UserError: a size that no network can have, InceptionV3 without weights.
    """

    backbone: Literal['cnn', 'inception-v3'] = 'cnn'
    """cnn: small, trained in the run; inception-v3: torchvision's, 1,000 ImageNet classes, about 0.15 s a picture."""
    image: tuple[int, int] = (64, 64)
    """Height and width of a picture, px."""
    channels: int = 1
    """Channels of a picture: 1 gray, 3 colour."""
    classes: int = 10
    """Number of classes; inception-v3 has 1,000 whatever is said here."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of each convolution of stride 2; the last is the number of features."""
    dropout: float = 0.0
    """Share of the features dropped while training."""
    weights: str = ''
    """inception-v3: file of torchvision's weights (a state dict)."""

    def __post_init__(self) -> None:
        _freeze(self)
        if self.backbone not in ('cnn', 'inception-v3'):
            raise UserError(f'scorer.backbone: unknown network {self.backbone!r}', "choose 'cnn' or 'inception-v3'")
        _picture('scorer', self.image, self.channels)
        _widths('scorer', self.widths)
        _whole('scorer.classes', self.classes, 2)
        _share('scorer.dropout', self.dropout)
        if self.backbone == 'inception-v3' and not self.weights:
            raise UserError('scorer: inception-v3 needs its weights', 'name a local file with scorer.weights')


@dataclass(frozen=True)
class CodecConfig:
    """A learned codec with a hyperprior: four convolutions of stride 2 with GDN each way, and a coder of their latent.

    Raises:
        UserError: a size that no network can have.
    """

    family: Literal['scale', 'mean-scale'] = 'mean-scale'
    """scale: scale hyperprior (Balle et al. 2018); mean-scale: it predicts means too (Minnen et al. 2018, 'mean')."""
    n: int = 32
    """Channels of the transforms."""
    m: int = 48
    """Channels of the latent."""
    channels: int = 1
    """Channels of a picture: 1 gray, 3 colour."""
    dropout: float = 0.0
    """Share of the transforms' maps dropped while training, whole channels."""

    def __post_init__(self) -> None:
        if self.family not in ('scale', 'mean-scale'):
            raise UserError(f'codec.family: unknown family {self.family!r}', "choose 'scale' or 'mean-scale'")
        for name in ('n', 'm'):
            _whole(f'codec.{name}', getattr(self, name), 2)
        if self.channels not in (1, 3):
            raise UserError(f'codec.channels {self.channels}', 'give 1 (gray) or 3 (colour)')
        _share('codec.dropout', self.dropout)


def thesis_generator() -> GeneratorConfig:
    """Fig. 4.1 as printed: 256 noise values to 356 x 328 px, 120,376,897 parameters."""
    return GeneratorConfig('thesis', (356, 328), noise=256, widths=(64,) * THESIS_GENERATOR_LAYERS, norm='none')


def thesis_discriminator() -> DiscriminatorConfig:
    """Fig. 4.2 as printed, at 356 x 328 px: 10,459,905 trained parameters, dropout 0.4, Keras's BatchNorm momentum."""
    widths = (64, 128, 128, 256, 512, 1024)
    return DiscriminatorConfig('thesis', (356, 328), widths=widths, kernel=3, dropout=0.4, momentum=0.01)


@dataclass(frozen=True)
class Layer:
    """One layer's output shape (C, H, W) and the number of its trained parameters."""

    name: str
    shape: tuple[int, int, int]
    parameters: int


def generator_base(config: GeneratorConfig) -> tuple[int, int]:
    """Height and width of the map that the dense layer makes, px."""
    doublings = 2 if config.family == 'thesis' else len(config.widths) - 1
    return _ceil(config.image[0], 2**doublings), _ceil(config.image[1], 2**doublings)


def generator_layers(config: GeneratorConfig) -> list[Layer]:
    """The generator's layers in order; the last one's shape is before cropping."""
    height, width = generator_base(config)
    first = config.widths[0]
    layers = [Layer('dense', (first, height, width), (config.noise + 1) * first * height * width)]
    kernels, doubling, norms = _generator_plan(config)
    channels = [*config.widths, config.channels]
    for number, kernel in enumerate(kernels):
        before, after = channels[number], channels[number + 1]
        if doubling[number]:
            height, width = 2 * height, 2 * width
        last = number == len(kernels) - 1
        norm: Norm = 'none' if last else norms
        layers.append(_convolution(f'conv{number + 1}', kernel, before, after, norm, height, width))
        layers += _normalisation(f'norm{number + 1}', after, norm, height, width)
    return layers


def discriminator_layers(config: DiscriminatorConfig) -> list[Layer]:
    """The discriminator's layers in order, minibatch discrimination and the final dense layer included."""
    height, width = config.image
    layers, before = [], config.channels
    for number, after in enumerate(config.widths):
        kernel, stride, same = discriminator_step(config, number)
        height, width = (_ceil(side, stride) if same else side - kernel + 1 for side in (height, width))
        layers.append(
            _convolution(
                f'conv{number + 1}',
                kernel,
                before,
                after,
                config.norm,
                height,
                width,
                bias=config.family == 'thesis' or config.norm != 'batch',
            )
        )
        layers += _normalisation(f'norm{number + 1}', after, config.norm, height, width)
        before = after
    flat = before * height * width
    if config.minibatch:
        layers.append(Layer('minibatch', (config.minibatch, 1, 1), flat * config.minibatch * config.minibatch_length))
    layers.append(Layer('dense', (1, 1, 1), flat + config.minibatch + 1))
    return layers


def discriminator_step(config: DiscriminatorConfig, number: int) -> tuple[int, int, bool]:
    """(kernel, stride, padded?) of convolution `number`, counted from 0."""
    if config.family == 'scaled':
        return config.kernel, 2, True
    if number == THESIS_DISCRIMINATOR_LAYERS - 1:
        return 4, 1, False
    return 3, 1 if number == 0 else 2, True


def parameters(config: GeneratorConfig | DiscriminatorConfig | ScorerConfig) -> int:
    """Number of trained parameters (BatchNorm's running mean and variance are not trained and not counted)."""
    if isinstance(config, GeneratorConfig):
        return sum(layer.parameters for layer in generator_layers(config))
    if isinstance(config, DiscriminatorConfig):
        return sum(layer.parameters for layer in discriminator_layers(config))
    if config.backbone == 'inception-v3':
        return 23_834_568  # torchvision's, without the auxiliary classifier
    pairs = zip((config.channels, *config.widths), config.widths, strict=False)
    return sum(9 * before * after + 2 * after for before, after in pairs) + (config.widths[-1] + 1) * config.classes


def codec_parameters(config: CodecConfig) -> int:
    """Number of a codec's trained parameters, the quantiles of its entropy bottleneck included."""
    n, m, channels = config.n, config.m, config.channels
    gdn, inner, bottleneck = n + n * n, 25 * n * n + n, 61 * n  # 61: a density of 3 x 3 x 3 x 3 units, 3 quantiles
    analysis = 25 * channels * n + n + 2 * inner + 25 * n * m + m + 3 * gdn
    synthesis = 25 * m * n + n + 2 * inner + 25 * n * channels + channels + 3 * gdn
    hyper_analysis = 9 * m * n + n + 2 * inner
    if config.family == 'scale':
        hyper_synthesis = 2 * inner + 9 * n * m + m
    else:
        wide = m * 3 // 2
        hyper_synthesis = 25 * n * m + m + 25 * m * wide + wide + 9 * wide * 2 * m + 2 * m
    return analysis + synthesis + hyper_analysis + hyper_synthesis + bottleneck


@dataclass(frozen=True)
class Estimate:
    """What training a GAN takes: parameters of both networks, and memory in bytes."""

    generator: int
    discriminator: int
    memory_bytes: int


def estimate(
    generator: GeneratorConfig, discriminator: DiscriminatorConfig, batch: int, ema: bool = False
) -> Estimate:
    """Parameters, and the memory that a worker's training step needs at its peak (weights, gradients, Adam, maps).

    Args:
        generator, discriminator: the two networks.
        batch: pictures a step in one worker.
        ema: whether an averaged copy of the generator is kept.

    Returns:
        The estimate: float32 weights, their gradients and Adam's two moments (16 bytes a parameter), the averaged
        copy, every map that the backward pass needs (one pass of the generator, two of the discriminator) and twice
        the largest map for the gradients on their way; without the libraries' own memory (about 300 MB).
    """
    layers_g, layers_d = generator_layers(generator), discriminator_layers(discriminator)
    weights_g, weights_d = parameters(generator), parameters(discriminator)
    maps_g, maps_d = ([math.prod(layer.shape) for layer in layers] for layers in (layers_g, layers_d))
    picture = discriminator.channels * math.prod(discriminator.image)
    maps = sum(maps_g) + 2 * (sum(maps_d) + picture) + 2 * max(maps_g + maps_d)
    total = 16 * (weights_g + weights_d) + 4 * weights_g * ema + 4 * batch * maps
    return Estimate(weights_g, weights_d, total)


def scorer_memory(config: ScorerConfig, batch: int) -> int:
    """Bytes that the scoring network takes: weights, gradients and AdamW's two moments, and the maps of a batch.

    Each block keeps the maps of its convolution and of its normalisation (ReLU works in place), float32. InceptionV3 is
    not trained: its weights alone, and 30 MB a picture, about.
    """
    if config.backbone == 'inception-v3':
        return 4 * parameters(config) + batch * 30_000_000
    height, width = config.image
    maps = config.channels * height * width
    for channels in config.widths:
        height, width = _ceil(height, 2), _ceil(width, 2)
        maps += 2 * channels * height * width
    return 16 * parameters(config) + 4 * batch * maps


def _generator_plan(config: GeneratorConfig) -> tuple[list[int], list[bool], Norm]:
    """Kernel of each convolution after the dense layer, whether it doubles the side, the norm of all but the last."""
    if config.family == 'thesis':
        return [4, 4, 4, 4, 3, 3, 7], [False, True, False, True, False, False, False], 'none'
    blocks = len(config.widths) - 1
    kernel = 3 if config.upsample == 'nearest' else 4
    return [kernel] * blocks + [3], [True] * blocks + [False], config.norm


def _convolution(
    name: str,
    kernel: int,
    before: int,
    after: int,
    norm: Norm,
    height: int,
    width: int,
    bias: bool | None = None,
) -> Layer:
    """A convolution; before a BatchNorm a bias would be subtracted again, so only the thesis's networks have it there.
    """
    has_bias = norm != 'batch' if bias is None else bias
    return Layer(name, (after, height, width), kernel * kernel * before * after + after * has_bias)


def _normalisation(name: str, channels: int, norm: Norm, height: int, width: int) -> list[Layer]:
    return [] if norm == 'none' else [Layer(name, (channels, height, width), 2 * channels)]


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _size(image: tuple[int, int]) -> str:
    return f'{image[0]} x {image[1]}'


def _freeze(config: Any) -> None:
    """Lists, as JSON gives them, become the tuples that the fields are."""
    for name in ('image', 'widths'):
        object.__setattr__(config, name, tuple(getattr(config, name)))


def _check_common(name: str, config: GeneratorConfig | DiscriminatorConfig) -> None:
    _freeze(config)
    if config.family not in ('scaled', 'thesis'):
        raise UserError(f'{name}.family: unknown family {config.family!r}', "choose 'scaled' or 'thesis'")
    if config.norm not in ('batch', 'group', 'none'):
        raise UserError(f'{name}.norm: unknown normalisation {config.norm!r}', "choose 'batch', 'group' or 'none'")
    _picture(name, config.image, config.channels)
    _widths(name, config.widths)
    _share(f'{name}.slope', config.slope)
    if not 0 < config.momentum <= 1:
        raise UserError(f'{name}.momentum {config.momentum}', 'give a share above 0 and at most 1')


def _check_thesis(name: str, widths: tuple[int, ...], layers: int, norm: str, required: str) -> None:
    if len(widths) != layers or norm != required:
        raise UserError(
            f"{name}: the thesis's network has {layers} widths and norm {required!r}, not {len(widths)} and {norm!r}",
            'give these or use the scaled family',
        )


def _picture(name: str, image: tuple[int, ...], channels: int) -> None:
    if len(image) != 2 or min(image) < 8 or not all(isinstance(side, int) for side in image):
        raise UserError(f'{name}.image {image}', 'give height and width, whole px, at least 8 each')
    if channels not in (1, 3):
        raise UserError(f'{name}.channels {channels}', 'give 1 (gray) or 3 (colour)')


def _widths(name: str, widths: tuple[int, ...]) -> None:
    if not widths or not all(isinstance(width, int) and width > 0 for width in widths):
        raise UserError(f'{name}.widths {widths}', 'give at least one whole number of channels above 0')


# Model inference (Tangari et al. 2023) ------------------------------------------------------------------------


@dataclass(frozen=True)
class AuxiliaryConfig:
    """The auxiliary classifier of model inference: from one vector to the network that made it (section 5.2).

    Raises:
        UserError: a size that no network can have.
    """

    length: int = 512
    """Length of a vector; a classifier serves one length."""
    classes: int = 4
    """Number of candidate networks."""
    hidden: tuple[int, ...] = (512, 256, 128, 64, 32)
    """Units of each hidden layer (the source: 5 layers, 512 to 32)."""
    dropout: float = 0.1
    """Share of each hidden layer's values dropped while training."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'hidden', tuple(self.hidden))
        for name, low in (('length', 1), ('classes', 2)):
            _whole(f'auxiliary.{name}', getattr(self, name), low)
        for units in self.hidden:
            _whole('auxiliary.hidden', units, 1)
        _share('auxiliary.dropout', self.dropout)


ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    'activation': ('relu', 'prelu', 'elu', 'tanh'),
    'dropout': (True, False),
    'pooling': (True, False),
    'convolutions': (2, 3, 4),
    'kernel': (3, 5),
    'dense': (2, 3, 4),
    'optimiser': ('sgd', 'adam', 'rmsprop'),
    'batch': (64, 128, 256),
}  # Table 1's columns: fields of AttributeNetConfig with their values
EMBEDDINGS = (300, 500, 1000)  # lengths of Table 1


@dataclass(frozen=True)
class AttributeNetConfig:
    """A small digit classifier of Table 1's zoo: the attributes to infer, and what all networks share.

    Convolutions of `width` channels, each with its activation, pooled while there are pixels to pool; then dense layers,
    of which the last hidden one gives the embedding and the last one the ten classes.

    Raises:
        UserError: a value that is not in ATTRIBUTES, or a size that no network can have.
    """

    activation: Literal['relu', 'prelu', 'elu', 'tanh'] = 'relu'
    """After every hidden layer, the embedding's included."""
    dropout: bool = False
    """Whether a quarter of each hidden dense layer's values is dropped while training."""
    pooling: bool = False
    """Whether 2x2 maxima follow the first two convolutions."""
    convolutions: int = 2
    """Number of convolutions: 2, 3 or 4."""
    kernel: int = 3
    """Side of a convolution, px: 3 or 5."""
    dense: int = 2
    """Number of dense layers, the one of the classes included: 2, 3 or 4."""
    optimiser: Literal['sgd', 'adam', 'rmsprop'] = 'adam'
    """What trained it."""
    batch: int = 64
    """Pictures a step: 64, 128 or 256."""
    embedding: int = 300
    """Units of the last hidden dense layer, whose output after activation is the embedding."""
    width: int = 8
    """Channels of a convolution; the same in all networks."""
    units: int = 128
    """Units of a hidden dense layer before the embedding; the same in all networks."""
    classes: int = 10
    """Classes of the pictures."""

    def __post_init__(self) -> None:
        for name, values in ATTRIBUTES.items():
            if getattr(self, name) not in values:
                raise UserError(f'attributes.{name} {getattr(self, name)!r}', f'choose one of {", ".join(map(str, values))}')
        for name, low in (('embedding', 2), ('width', 1), ('units', 1), ('classes', 2)):
            _whole(f'attributes.{name}', getattr(self, name), low)


# Reconstruction (Tangari et al. 2023) -------------------------------------------------------------------------

TABLE_14 = {128: (4, (256, 128, 64, 32)), 512: (8, (512, 256, 128)), 1024: (4, (1024, 512, 256, 128)),
            2048: (4, (1024, 512, 256, 128))}
"""Length of the vector -> side of the first map at 64 px, and the channels of the maps before the picture (Table 14).

The row of length 128 prints D:64 for the layer whose output is 32 x 32 x 32: the shape is followed.
"""
LINEAR: Final = 'linear'  # the reconstructor's family that is solved for, not trained


@dataclass(frozen=True)
class ReconstructorConfig:
    """Vector to picture: dense, LeakyReLU, transposed convolutions of stride 2, each but the last with BatchNorm and
    LeakyReLU; or a linear map.

    The first map is ceil(side / 2^blocks) a side; what the last one has too much is cropped evenly, so any size works.

    Raises:
        UserError: a size that no network can have, a length that Table 14 has no network for.
    """

    length: int = 128
    """Length of a vector."""
    image: tuple[int, int] = (64, 64)
    """Height and width of a picture, px."""
    channels: int = 1
    """Channels of a picture: 1 gray, 3 colour (Table 14: 3)."""
    family: Literal['table-14', 'scaled', 'linear'] = 'scaled'
    """table-14: maps by length as printed, kernels of 5 px; scaled: `width`, `blocks` and `kernel`; linear: every pixel is a
    weighted sum of the vector's numbers, found in closed form (ridge regression): for a few hundred pictures.
    """
    width: int = 128
    """scaled: channels of the first map; each block halves them."""
    blocks: int = 4
    """scaled: number of transposed convolutions."""
    kernel: int = 4
    """scaled: side of the kernels, px."""
    last: Literal['tanh', 'sigmoid', 'none'] = 'tanh'
    """What ends the network (Table 14 prints nothing there); none: what lies outside [-1, 1] is cut off, except in
    training. The sigmoid is stretched to [-1, 1].
    """
    slope: float = 0.2
    """Slope of LeakyReLU below zero (the source gives none; DCGAN's)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'image', tuple(self.image))
        _picture('reconstructor', self.image, self.channels)
        for name, low in (('length', 1), ('width', 1), ('blocks', 1)):
            _whole(f'reconstructor.{name}', getattr(self, name), low)
        _whole('reconstructor.kernel', self.kernel, 2, 7)
        _share('reconstructor.slope', self.slope)
        if self.last not in ('tanh', 'sigmoid', 'none'):
            raise UserError(f'reconstructor.last: unknown choice {self.last!r}', "choose 'tanh', 'sigmoid' or 'none'")
        self._check_family()

    def _check_family(self) -> None:
        families = ('table-14', 'scaled', LINEAR)
        if self.family not in families:
            raise UserError(f'reconstructor.family: unknown family {self.family!r}', f'choose from {", ".join(families)}')
        if self.family == LINEAR and self.last != 'none':
            raise UserError(f'reconstructor.last {self.last} after a linear map', "give 'none'")
        if self.family == 'table-14' and self.length not in TABLE_14:
            raise UserError(
                f'reconstructor.length {self.length}: Table 14 has networks for {", ".join(map(str, TABLE_14))}',
                'give one of these or use the scaled family',
            )
        if self.family == 'scaled' and 2**self.blocks > min(self.image):
            raise UserError(
                f'reconstructor.blocks {self.blocks}: too many for pictures of {_size(self.image)} px',
                f'give at most {int(math.log2(min(self.image)))}',
            )


def reconstructor_maps(config: ReconstructorConfig) -> list[tuple[int, int, int]]:
    """Shapes (C, H, W) of the maps: the reshaped dense layer's, then each transposed convolution's, before cropping."""
    if config.family == LINEAR:
        widths: tuple[int, ...] = ()
    elif config.family == 'table-14':
        widths = TABLE_14[config.length][1]
    else:
        widths = tuple(max(config.width >> number, 1) for number in range(config.blocks))
    blocks = len(widths)
    height, width = (_ceil(side, 2**blocks) for side in config.image)
    return [
        (channels, height << number, width << number) for number, channels in enumerate((*widths, config.channels))
    ]


def reconstructor_parameters(config: ReconstructorConfig) -> int:
    """Number of a reconstructor's trained parameters."""
    maps = reconstructor_maps(config)
    kernel = 5 if config.family == 'table-14' else config.kernel
    dense = (config.length + 1) * math.prod(maps[0])
    blocks = sum(kernel**2 * before[0] * after[0] for before, after in pairwise(maps))
    last = config.channels if blocks else 0
    return dense + blocks + 2 * sum(shape[0] for shape in maps[1:-1]) + last


# Recognition (Tangari et al. 2023, section 5.2 and appendix B) ------------------------------------------------

SMALL = ('small-plain', 'small-residual', 'small-dense', 'small-separable')
LITE = ('efficientnet-lite0', 'efficientnet-lite1', 'efficientnet-lite2')  # ImageNet weights come as packages
WEIGHTS = ('random', 'package', 'hub')  # or the path of a local file


@dataclass(frozen=True)
class Target:
    """One of the source's ten recognition networks (Table 2), as it is built here."""

    network: str
    """Backbone: 'timm/<architecture>' or 'torchvision/<architecture>'."""
    length: int
    """Length of its embedding."""
    head: str
    """What trains it: 'softmax' or 'triplet'."""
    differs: str
    """Where it deviates from the source's; weights aside, which are none of the source's anywhere."""


TARGETS = {
    'face-resnet50': Target('timm/resnet50', 2048, 'softmax', ''),
    'face-vgg16': Target('torchvision/vgg16', 512, 'softmax', 'without the dense layers: the maps of pool5, averaged'),
    'face-senet50': Target('timm/legacy_seresnet50', 2048, 'softmax', ''),
    'face-openface': Target('torchvision/googlenet', 128, 'triplet', 'GoogLeNet with a dense layer, not nn4.small2'),
    'face-facenet': Target('timm/inception_resnet_v2', 128, 'triplet', 'Inception-ResNet-v2 with a dense layer, not v1'),
    'finger-resnet': Target('timm/resnet50', 2048, 'softmax', ''),
    'finger-inception': Target('timm/inception_v3', 2048, 'softmax', ''),
    'finger-xception': Target('timm/legacy_xception', 2048, 'softmax', ''),
    'finger-resnetv2': Target('timm/resnetv2_50', 2048, 'softmax', ''),
    'finger-densenet': Target('timm/densenet121', 1024, 'softmax', ''),
}


@dataclass(frozen=True)
class ExtractorConfig:
    """A recognition network: pictures to embeddings.

    Raises:
        UserError: an unknown network, a size that no network can have, weights that the network cannot have.
    """

    name: str = 'small-plain'
    """One of SMALL, LITE or TARGETS, 'timm/<architecture>' or 'torchvision/<architecture>'."""
    layer: str = ''
    """Where the embedding is taken: '' the network's own last features; else the path of a module, whose maps are averaged
    over their pixels (appendix B).
    """
    length: int = 128
    """Length of the embedding; 0: the layer's own (of a target: the target's). Another than the layer's own adds a dense
    layer; a network of SMALL has one at any length but 0.
    """
    image: tuple[int, int] = (64, 64)
    """Height and width of a picture, px: what the network is meant for; it takes other sizes too."""
    channels: int = 1
    """Channels of a picture: 1 gray, 3 colour."""
    width: int = 32
    """Channels of the first of four stages of a network of SMALL; the others have 2, 4 and 4 times as many."""
    weights: str = 'random'
    """random: from a seed; package: ImageNet's, for LITE with the extra `weights`; a file (.safetensors, .pt, .pth) of the
    backbone's state dict; hub: from timm's or torchvision's own, which must be allowed.
    """
    allow_download: bool = False
    """Whether weights may be downloaded."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'image', tuple(self.image))
        library, _, architecture = self.name.partition('/')
        if self.name not in (*SMALL, *LITE, *TARGETS) and not (library in ('timm', 'torchvision') and architecture):
            raise UserError(
                f'extractor.name: unknown network {self.name!r}',
                f"choose one of {', '.join((*SMALL, *LITE, *TARGETS))}, "
                "'timm/<architecture>' or 'torchvision/<architecture>'",
            )
        _picture('extractor', self.image, self.channels)
        _whole('extractor.length', self.length, 0, 65_536)
        _whole('extractor.width', self.width, 4)
        self._check_weights()

    def _check_weights(self) -> None:
        if not self.weights:
            raise UserError('extractor.weights is empty', "give 'random', 'package', 'hub' or a file")
        if self.name in SMALL and self.weights != 'random':
            raise UserError(f'extractor.weights {self.weights!r}: {self.name} is our own', "give 'random' and train it")
        if self.weights == 'package' and self.name not in LITE:
            raise UserError(
                f"extractor.weights 'package': no package has weights of {self.name}", f'choose one of {", ".join(LITE)}'
            )
        if self.weights == 'hub' and not self.allow_download:
            raise UserError("extractor.weights 'hub' downloads", 'allow it with --allow-download, or give a local file')

    @property
    def network(self) -> str:
        """The backbone's name: a target's is looked up."""
        return TARGETS[self.name].network if self.name in TARGETS else self.name


@dataclass(frozen=True)
class Extraction:
    """A row of Table 13: where an embedding is taken."""

    modality: Literal['face', 'finger']
    """Of the pictures."""
    length: int
    """Of the embedding."""
    target: str
    """Key of TARGETS."""
    source: str
    """The layer that the source names; '' for a row that it lacks."""
    layer: str
    """Our backbone's layer, '' its last features."""
    differs: str = ''
    """Where ours deviates."""

    def config(self, image: tuple[int, int] = (64, 64), channels: int = 1) -> ExtractorConfig:
        """The row as a network with random weights."""
        return ExtractorConfig(self.target, self.layer, self.length, image, channels)


TABLE_13 = (
    Extraction('finger', 2048, 'finger-resnet', 'conv5_block3_avg_pool', ''),
    Extraction('finger', 2048, 'finger-resnetv2', 'conv5_block3_avg_pool', ''),
    Extraction('finger', 2048, 'finger-inception', 'global_average_pooling2d_7', ''),
    Extraction('finger', 2048, 'finger-xception', 'global_average_pooling2d_6', ''),
    Extraction('finger', 1024, 'finger-densenet', 'final_avg_pool', ''),
    Extraction('finger', 1024, 'finger-resnet', 'conv5_block1', 'layer3',
               'conv5_block1 has 2048 or 512 maps; ours is what enters it'),
    Extraction('finger', 1024, 'finger-xception', 'block13_pool', 'block12'),
    Extraction('finger', 1024, 'finger-resnetv2', 'conv5_block3_2_relu', 'stages.2',
               'the source gives this layer 1024 here and 512 below, which is its size; ours enters conv5'),
    Extraction('finger', 512, 'finger-inception', 'global_average_pooling2d_6', 'Mixed_6e',
               'no layer has 512 maps: 768 and a dense layer'),
    Extraction('finger', 512, 'finger-xception', 'global_average_pooling2d_5', 'block11',
               'no layer has 512 maps: 728 and a dense layer'),
    Extraction('finger', 512, 'finger-resnet', 'conv5_block3_2_relu', 'layer4.2.act2'),
    Extraction('finger', 512, 'finger-resnetv2', 'conv5_block3_2_relu', 'stages.3.blocks.2.norm3'),
    Extraction('face', 2048, 'face-resnet50', 'activation_49', ''),
    Extraction('face', 2048, 'face-senet50', 'activation_130', ''),
    Extraction('face', 2048, 'face-facenet', 'Block35_1_activation', 'repeat.0',
               'Block35 has 320 maps (256 in v1): a dense layer'),
    Extraction('face', 2048, 'face-openface', 'Inception_5b_1_act', 'inception5b.branch1',
               'this layer has 384 maps: a dense layer'),
    Extraction('face', 512, 'face-vgg16', 'pool5', ''),
    Extraction('face', 512, 'face-facenet', 'Bottleneck_BatchNorm', '',
               '1536 features and a dense layer, without BatchNorm'),
    Extraction('face', 512, 'face-resnet50', 'conv3_1_1x1_reduce', 'layer2.0',
               'conv3_1_1x1_reduce has 128 maps; ours is the block that begins with it'),
    Extraction('face', 512, 'face-senet50', 'conv5_1_1x1_reduce', 'layer4.0.conv1'),
    Extraction('face', 128, 'face-openface', '', '', 'a row that Table 13 lacks: its own embedding'),
    Extraction('face', 128, 'face-facenet', '', '', 'a row that Table 13 lacks: its own embedding'),
    Extraction('face', 128, 'face-vgg16', '', 'features.9', 'a row that Table 13 lacks: pool2'),
    Extraction('face', 128, 'face-resnet50', '', 'layer2.0.conv1', 'a row that Table 13 lacks: conv3_1_1x1_reduce'),
)  # four a modality and length
