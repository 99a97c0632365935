"""MNIST-NET's networks: read as their authors wrote them, computed as they describe, and nothing else is run."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fpray.attacks.attributes import ask_mnist_net, part_digits
from fpray.errors import UserError
from fpray.models.config import AttributeNetConfig
from fpray.models.mnist_net import FILE, MnistNet, read_mnist_net

CONTROLS = [
    {'net': {'name': 'mnet', 'act': 'prelu', 'drop': 'normal', 'pool': 'max_2', 'ks': 5, 'n_conv': 4, 'n_fc': 4},
     'opt': {'optimiser': 'RMSprop', 'batch_size': 64, 'lr': 0.01, 'momentum': 0.5}, 'data': {'subset': 'all'}, 'seed': 12},
    {'net': {'name': 'mnet', 'act': 'tanh', 'drop': 'none', 'pool': 'none', 'ks': 3, 'n_conv': 2, 'n_fc': 2},
     'opt': {'optimiser': 'SGD', 'batch_size': 256}, 'data': {'subset': 'half_0'}, 'seed': 3}]


def config_of(control: dict) -> AttributeNetConfig:
    net = control['net']
    opt = control['opt']
    return AttributeNetConfig(net['act'], net['drop'] == 'normal', net['pool'] == 'max_2', net['n_conv'], net['ks'],
                              net['n_fc'], opt['optimiser'].lower(), opt['batch_size'], 50, 20, 50)


def write(folder: Path, control: dict, legacy: bool = True) -> Path:
    """A file as the authors' code leaves it, in the format of torch's first years."""
    folder.mkdir(parents=True)
    torch.manual_seed(control['seed'])
    state = MnistNet(config_of(control)).state_dict()
    torch.save({'control': control, 'state_dict': state, 'optimizer': {}}, folder / FILE,
               _use_new_zipfile_serialization=not legacy)
    return folder / FILE


def by_hand(state: dict, control: dict, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The forward pass as the authors' code has it, from the names of the weights."""
    net = control['net']

    def act(x: torch.Tensor) -> torch.Tensor:
        return F.prelu(x, state['act.actfunc.weight']) if net['act'] == 'prelu' else torch.tanh(x)

    def layer(x: torch.Tensor, name: str, padding: int = 0) -> torch.Tensor:
        if state[f'{name}.weight'].ndim == 4:
            return F.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias'], padding=padding)
        return F.linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    x = ((pixels + 1) / 2 - 0.1307) / 0.3081
    for name in ('conv1', 'conv2'):
        x = layer(x, name)
        x = act(F.max_pool2d(x, 2) if net['pool'] == 'max_2' else x)
    for number in range(net['n_conv'] - 2):
        x = F.relu(layer(x, f'conv_iter.{number}.conv', (net['ks'] - 1) // 2))
    x = act(layer(x.flatten(1), 'fc1'))
    for number in range(net['n_fc'] - 2):
        x = F.relu(layer(x, f'fc_iter.{number}.conv'))
    return x, F.log_softmax(layer(x, 'fc_final'), dim=1).exp()


@pytest.mark.parametrize('control', CONTROLS)
def test_a_network_is_read_and_computes_as_described(tmp_path, control):
    path = write(tmp_path / 'token', control)
    network, seed = read_mnist_net(path)
    assert network.config == config_of(control) and seed == control['seed']
    pixels = torch.rand(4, 1, 28, 28) * 2 - 1
    for found, expected in zip(network.answers(pixels), by_hand(network.state_dict(), control, pixels), strict=True):
        torch.testing.assert_close(found, expected)


def test_it_is_asked_as_a_network_of_the_zoo_is(tmp_path):
    rng = np.random.default_rng(0)
    digits = part_digits(rng.integers(0, 256, (60, 1, 28, 28), np.uint8), rng.integers(0, 10, 60), 0, 20)
    found = ask_mnist_net(write(tmp_path / 'token', CONTROLS[0], legacy=False), digits)
    assert found.embeddings.shape == (20, 50) and found.probabilities.shape == (200,) and 0 <= found.accuracy <= 1
    assert found.config.embedding == 50 and found.probabilities.reshape(20, 10).sum(axis=1) == pytest.approx(1)


class Evil:
    """What a file must not do."""

    def __reduce__(self) -> tuple:
        return (Path('evil').touch, ())


@pytest.mark.parametrize('fault', ['pickle', 'missing', 'text', 'another network', 'weights of another'])
def test_anything_else_is_refused_and_runs_nothing(tmp_path, monkeypatch, fault):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / FILE
    if fault == 'pickle':
        path.write_bytes(pickle.dumps(Evil()))
    elif fault == 'text':
        path.write_text('no network')
    elif fault == 'another network':
        torch.save({'control': {**CONTROLS[0], 'net': {'name': 'nin', 'act': 'relu'}}, 'state_dict': {}}, path)
    elif fault == 'weights of another':
        torch.save({'control': CONTROLS[0], 'state_dict': MnistNet(config_of(CONTROLS[1])).state_dict()}, path)
    with pytest.raises(UserError, match='no network of MNIST-NET'):
        read_mnist_net(path)
    assert not (tmp_path / 'evil').exists()
