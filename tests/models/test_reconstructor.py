"""Reconstructors: Table 14's shapes, any size of picture, the scale that raw vectors are brought to."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fpray.errors import UserError
from fpray.models.config import ReconstructorConfig, reconstructor_parameters
from fpray.models.reconstructor import build_reconstructor

TINY = ReconstructorConfig(6, (16, 16), width=8, blocks=2)
PRINTED = {  # Table 14: units of the dense layer, then the output of each layer as (height, width, channels)
    2048: (16384, [(4, 4, 1024), (8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]),
    1024: (16384, [(4, 4, 1024), (8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]),
    512: (32768, [(8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]),
    128: (4096, [(4, 4, 256), (8, 8, 128), (16, 16, 64), (32, 32, 32), (64, 64, 3)]),
}


@pytest.mark.parametrize('length', PRINTED)
def test_maps_are_those_of_table_14(length):
    config, seen = ReconstructorConfig(length, channels=3, family='table-14'), []
    with torch.device('meta'):  # shapes without the memory of 50 million weights
        network = build_reconstructor(config)
        network.body[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
        for layer in network.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                assert (layer.kernel_size, layer.stride) == ((5, 5), (2, 2))
                layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
        network(torch.zeros(2, length))
    units, maps = PRINTED[length]
    assert network.dense.out_features == units
    assert [(height, width, channels) for _, channels, height, width in seen] == maps
    assert sum(weight.numel() for weight in network.parameters()) == reconstructor_parameters(config)
    kinds = [type(layer).__name__ for layer in network.body]
    assert kinds == ['LeakyReLU', *['ConvTranspose2d', 'BatchNorm2d', 'LeakyReLU'] * (len(maps) - 2), 'ConvTranspose2d']


@pytest.mark.parametrize('kernel', range(2, 8))
@pytest.mark.parametrize('image', [(16, 16), (21, 34)])
def test_any_kernel_and_size(kernel, image):
    config = replace(TINY, kernel=kernel, image=image, channels=3)
    network = build_reconstructor(config)
    assert network(torch.randn(2, 6)).shape == (2, 3, *image)
    assert sum(weight.numel() for weight in network.parameters()) == reconstructor_parameters(config)


def test_weights_come_from_the_seed():
    x = torch.randn(2, 6)
    a, b, c = (build_reconstructor(TINY, seed).eval()(x) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_raw_vectors_are_brought_to_one_scale():
    network, values = build_reconstructor(TINY).eval(), torch.randn(5, 6)
    mean, std = torch.arange(6.0), torch.tensor([1.0, 2, 3, 4, 5, 0])
    network.set_scale(mean, std)
    raw = values * torch.tensor([1.0, 2, 3, 4, 5, 1]) + mean  # a dimension that never moves is left as it is
    torch.testing.assert_close(network(raw), network.draw(values))
    assert 'mean' in network.state_dict() and 'std' in network.state_dict()


@pytest.mark.parametrize('last', ['tanh', 'sigmoid', 'none'])
def test_pictures_end_between_black_and_white(last):
    network = build_reconstructor(replace(TINY, last=last))
    with torch.no_grad():
        network.body[-1].weight.mul_(100)
    x = torch.randn(50, 6)
    made = network.eval()(x)
    assert made.min() < -0.99 and made.max() > 0.99 and made.abs().max() <= 1
    assert (network.train()(x).abs().max() > 1) == (last == 'none')  # a clipped picture would teach nothing


@pytest.mark.parametrize(('change', 'part'), [
    ({'length': 256, 'family': 'table-14'}, 'Table 14 has networks for 128, 512, 1024, 2048'),
    ({'blocks': 5}, 'at most 4'),
    ({'channels': 2}, 'gray'),
    ({'last': 'relu'}, 'unknown choice'),
    ({'family': 'thesis'}, 'unknown family'),
    ({'family': 'linear'}, "give 'none'"),
    ({'kernel': 1}, 'from 2 to 7'),
    ({'length': 0}, 'at least 1'),
])
def test_impossible_networks_are_refused(change, part):
    with pytest.raises(UserError, match=part):
        replace(TINY, **change)
