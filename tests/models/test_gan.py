"""Networks: the thesis's listings layer by layer, Keras's conventions by hand, fast forms against plain ones."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fpray.errors import UserError
from fpray.models import config as sizes
from fpray.models import gan
from fpray.models.config import DiscriminatorConfig, GeneratorConfig

# Fig. 4.1: (channels, height, width) after each layer; parameters = (kernel^2 x in + 1) x out
THESIS_GENERATOR = [
    ((64, 89, 82), 257 * 64 * 89 * 82),
    ((64, 89, 82), (16 * 64 + 1) * 64),
    ((64, 178, 164), (16 * 64 + 1) * 64),
    ((64, 178, 164), (16 * 64 + 1) * 64),
    ((64, 356, 328), (16 * 64 + 1) * 64),
    ((64, 356, 328), (9 * 64 + 1) * 64),
    ((64, 356, 328), (9 * 64 + 1) * 64),
    ((1, 356, 328), (49 * 64 + 1) * 1),
]
# Fig. 4.2: convolutions, each followed by BatchNormalization with scale and offset; 'same' halves 89 to 45, 'valid' 4x4
# takes 3 off
THESIS_DISCRIMINATOR = [
    ((64, 356, 328), (9 * 1 + 1) * 64),
    ((128, 178, 164), (9 * 64 + 1) * 128),
    ((128, 89, 82), (9 * 128 + 1) * 128),
    ((256, 45, 41), (9 * 128 + 1) * 256),
    ((512, 23, 21), (9 * 256 + 1) * 512),
    ((1024, 20, 18), (16 * 512 + 1) * 1024),
]


def shapes_of(network: nn.Module, kinds: tuple[type, ...], inputs: torch.Tensor) -> list[tuple[int, ...]]:
    """Output shapes of the layers of some kinds in the order they run, (C, H, W), and at the end the network's own."""
    found: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda _m, _i, output: found.append(tuple(output.shape[1:])))
    found.append(tuple(network(inputs).shape[1:]))
    return found


def test_thesis_generator_is_figure_4_1():
    config = sizes.thesis_generator()
    assert [(layer.shape, layer.parameters) for layer in sizes.generator_layers(config)] == THESIS_GENERATOR
    with torch.device('meta'):  # 480 MB of weights need not exist
        network = gan.Generator(config)
        shapes = shapes_of(network, (nn.Conv2d, nn.ConvTranspose2d), torch.zeros(2, 256))
    assert shapes == [*(shape for shape, _ in THESIS_GENERATOR[1:]), (1, 356, 328)]
    layers = [
        module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert [sum(weight.numel() for weight in layer.parameters()) for layer in layers] == [
        count for _, count in THESIS_GENERATOR
    ]
    assert sizes.parameters(config) == 120_376_897
    assert [module.negative_slope for module in network.modules() if isinstance(module, nn.LeakyReLU)] == [0.3] * 7


def test_thesis_discriminator_is_figure_4_2():
    config = sizes.thesis_discriminator()
    layers = sizes.discriminator_layers(config)
    assert [(one.shape, one.parameters) for one in layers if one.name.startswith('conv')] == THESIS_DISCRIMINATOR
    assert [one.parameters for one in layers if one.name.startswith('norm')] == [
        2 * shape[0] for shape, _ in THESIS_DISCRIMINATOR
    ]
    assert layers[-1].parameters == 20 * 18 * 1024 + 1
    with torch.device('meta'):
        network = gan.Discriminator(config)
        shapes = shapes_of(network, (nn.Conv2d,), torch.zeros(2, 1, 356, 328))
    assert shapes == [*(shape for shape, _ in THESIS_DISCRIMINATOR), ()]  # one raw number a picture
    trained = sum(weight.numel() for weight in network.parameters())
    running = sum(value.numel() for name, value in network.named_buffers() if 'running' in name)
    assert (trained, running) == (10_459_905, 4_224)  # Keras's summary: 10,464,129 in all, 4,224 non-trainable
    assert trained == sizes.parameters(config)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(module.eps, module.momentum) for module in norms} == {(1e-3, 0.01)}
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.4]


def test_thesis_family_at_desk_size_runs():
    generator = gan.build_generator(GeneratorConfig('thesis', (61, 50), widths=(4,) * 7, norm='none', noise=8))
    discriminator = gan.build_discriminator(DiscriminatorConfig('thesis', (61, 50), widths=(4, 4, 4, 8, 8, 8)))
    pictures = generator(torch.randn(2, 8))
    assert pictures.shape == (2, 1, 61, 50) and discriminator(pictures).shape == (2,)


def test_same_padding_is_keras_for_stride_2():
    """4 px, kernel 3, stride 2: Keras pads one column to the right and one row below, torch on all sides."""
    convolution = gan.SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(convolution.weight)
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    # top left: rows 0-2 x columns 0-2 = 0+1+2 + 4+5+6 + 8+9+10; right: columns 2-3 only; bottom: rows 2-3 only
    by_hand = [[45.0, 2 + 3 + 6 + 7 + 10 + 11], [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15]]
    assert convolution(picture)[0, 0].tolist() == by_hand


def test_same_padding_is_keras_for_even_kernels():
    """3 px, kernel 2: Keras pads right and below; the last output is the corner pixel alone."""
    convolution = gan.SameConv2d(1, 1, 2, bias=False)
    nn.init.ones_(convolution.weight)
    out = convolution(torch.arange(9.0).view(1, 1, 3, 3))[0, 0]
    assert out.tolist() == [[0 + 1 + 3 + 4, 1 + 2 + 4 + 5, 2 + 5], [3 + 4 + 6 + 7, 4 + 5 + 7 + 8, 5 + 8], [13, 15, 8]]
    assert gan.same_padding(89, 4, 1) == (1, 2)
    assert gan.same_padding(89, 3, 2) == (1, 1) and gan.same_padding(356, 3, 2) == (0, 1)


def test_same_transposed_convolution_of_keras_pads_one():
    """Keras's 'same' transposed 4x4 convolution of stride 2 is the gradient of its 'same' convolution."""
    picture, maps = torch.randn(1, 2, 10, 12, dtype=torch.float64), torch.randn(1, 3, 5, 6, dtype=torch.float64)
    weight = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    convolution = gan.SameConv2d(2, 3, 4, stride=2, bias=False).double()
    convolution.weight.data = weight
    inner = (convolution(picture) * maps).sum()
    adjoint = (picture * F.conv_transpose2d(maps, weight, stride=2, padding=1)).sum()
    torch.testing.assert_close(inner, adjoint, rtol=1e-12, atol=0)


@pytest.mark.parametrize('bias', [False, True])
def test_upsampling_convolution_is_repeat_then_convolve(bias):
    torch.manual_seed(1)
    layer = gan.UpsampleConv2d(3, 5, bias).double()
    maps = torch.randn(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(F.interpolate(maps, scale_factor=2), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(maps), plain, rtol=0, atol=1e-12)
    seen = torch.randn_like(plain)
    gradients = (torch.autograd.grad(out, [maps, layer.weight], seen) for out in (layer(maps), plain))
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)


def test_narrow_convolution_is_a_convolution():
    torch.manual_seed(1)
    layer = gan.NarrowConv2d(4, 1).double()
    nn.init.normal_(layer.bias)
    maps = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(layer(maps), F.conv2d(maps, layer.weight, layer.bias, padding=1), rtol=0, atol=1e-12)


GENERATORS = [
    GeneratorConfig(),
    GeneratorConfig(image=(103, 96), channels=3, widths=(8, 6, 4), norm='group', noise=5),
    GeneratorConfig(image=(48, 48), widths=(8, 6, 4, 4), upsample='transpose', norm='none'),
    GeneratorConfig('thesis', (61, 50), widths=(2, 3, 4, 5, 6, 7, 8), norm='none'),
]
DISCRIMINATORS = [
    DiscriminatorConfig(),
    DiscriminatorConfig(image=(103, 96), channels=3, widths=(6, 12, 10), norm='group', dropout=0.4),
    DiscriminatorConfig(image=(48, 48), widths=(8, 16), kernel=3, norm='none', minibatch=5, minibatch_length=3),
    DiscriminatorConfig('thesis', (61, 50), widths=(2, 3, 4, 5, 6, 7)),
]


@pytest.mark.parametrize('config', GENERATORS)
def test_generator_of_any_size(config):
    network = gan.build_generator(config)
    pictures = network(torch.randn(3, config.noise))
    assert pictures.shape == (3, config.channels, *config.image)
    assert -1 <= pictures.min() < 0 < pictures.max() <= 1
    assert sum(weight.numel() for weight in network.parameters()) == sizes.parameters(config)


@pytest.mark.parametrize('config', DISCRIMINATORS)
def test_discriminator_of_any_size(config):
    network = gan.build_discriminator(config)
    assert network(torch.randn(3, config.channels, *config.image)).shape == (3,)
    assert sum(weight.numel() for weight in network.parameters()) == sizes.parameters(config)


@pytest.mark.parametrize(('generator', 'discriminator'), list(zip(GENERATORS, DISCRIMINATORS, strict=True)))
def test_estimated_memory_is_what_autograd_keeps(generator, discriminator):
    batch, kept = 4, {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    networks = gan.build_generator(generator), gan.build_discriminator(discriminator)
    weights = sum(weight.numel() for network in networks for weight in network.parameters())
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        fake = networks[0](torch.randn(batch, generator.noise))
        out = networks[1](fake) + networks[1](torch.randn_like(fake))
    maps = sum(kept.values()) - 4 * weights  # the weights are among the tensors kept
    estimate = sizes.estimate(generator, discriminator, batch)
    assert estimate.generator + estimate.discriminator == weights
    assert out.requires_grad
    estimated = estimate.memory_bytes - 16 * weights
    assert 0.9 * maps < estimated < 2.2 * maps  # the estimate adds two maps of gradients on their way


def test_weights_start_as_in_keras_and_hang_on_the_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    network = gan.build_discriminator(DiscriminatorConfig(norm='none'), seed=3)
    assert torch.equal(torch.rand(3), expected)  # the caller's generator was left alone
    again = gan.build_discriminator(DiscriminatorConfig(norm='none'), seed=3)
    other = gan.build_discriminator(DiscriminatorConfig(norm='none'), seed=4)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert not torch.equal(network.head.weight, other.head.weight)
    third = network.body[4]
    limit = math.sqrt(6 / (16 * 64 + 16 * 128))  # Glorot uniform of a 4x4 convolution, 64 to 128 channels
    assert 0.99 * limit < third.weight.abs().max() <= limit
    assert third.bias is not None and not third.bias.any()


def test_minibatch_discrimination_by_hand():
    layer = gan.MinibatchDiscrimination(inputs=2, kernels=1, length=2)
    layer.project.weight.data = torch.eye(2)
    rows = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]])  # L1 distances 0, 3, 3
    closeness = layer(rows)[:, 0]
    torch.testing.assert_close(closeness, torch.tensor([1 + math.exp(-3), 1 + math.exp(-3), 2 * math.exp(-3)]) / 2)
    layer.eval()  # alone or in company, a picture gets the running mean
    assert torch.equal(layer(rows[:1]), layer(rows)[2:])
    torch.testing.assert_close(layer(rows[:1])[0, 0], 0.1 * closeness.mean())


@pytest.mark.parametrize(
    ('make', 'part'),
    [
        (lambda: GeneratorConfig(widths=()), 'at least one'),
        (lambda: GeneratorConfig(image=(16, 16), widths=(8, 8, 8, 8, 8, 8)), 'at most 5 widths'),
        (lambda: GeneratorConfig('thesis'), '7 widths'),
        (lambda: GeneratorConfig(norm='layer'), "'batch', 'group' or 'none'"),
        (lambda: DiscriminatorConfig(image=(4, 64)), 'at least 8'),
        (lambda: DiscriminatorConfig(channels=2), '1 (gray) or 3'),
        (lambda: DiscriminatorConfig('thesis', (48, 48), widths=(1,) * 6), 'needs 49 px'),
        (lambda: DiscriminatorConfig(dropout=1.0), 'below 1'),
    ],
)
def test_impossible_sizes_are_refused(make, part):
    with pytest.raises(UserError) as fault:
        make()
    assert part in str(fault.value)


def test_configurations_come_back_from_json_lists():
    assert GeneratorConfig(image=[64, 64], widths=[8, 4]) == GeneratorConfig(image=(64, 64), widths=(8, 4))
