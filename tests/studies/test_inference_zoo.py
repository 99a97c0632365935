"""The stages of Table 1: a zoo is trained or read as Ray tasks, taken up where it stopped, and judged network by network."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fpray.attacks.attributes import KENNEN
from fpray.errors import UserError
from fpray.models.config import ATTRIBUTES
from fpray.models.mnist_net import FILE, MnistNet
from fpray.store import Context
from fpray.studies import inference_steps as steps
from fpray.training.config import AttributeTraining

pytestmark = pytest.mark.timeout(600)


def context(root: Path, networks: int, **folders: str) -> Context:
    config = {'networks': networks, 'training': AttributeTraining(images=128), 'digits': 'print' if folders else '',
              'mnist_net': 'print' if 'mnist_net' in folders else '', 'seed': 7}
    (root / 'out').mkdir()
    return Context('zoo', 'zoo', config, {}, root / 'out', root / 'scratch', settings={'folders': folders})


def answers_alike(a: list, b: list) -> bool:
    return len(a) == len(b) and all(one.config == other.config and one.seed == other.seed and np.array_equal(
        one.embeddings, other.embeddings) and np.array_equal(one.probabilities, other.probabilities)
        for one, other in zip(a, b, strict=True))


def test_a_zoo_is_trained_taken_up_and_judged(ray, tmp_path):
    here = context(tmp_path, 12)
    steps.zoo(here)
    answers = steps.read_zoo(here.out)
    assert sorted(path.name for path in here.out.iterdir()) == ['1000.npz', '300.npz', '500.npz', 'networks.json']
    assert [each.config for each in answers] == [task.config for task in steps.zoo_tasks(here)]
    assert all(each.embeddings.shape == (100, each.config.embedding) for each in answers)
    (tmp_path / 'more').mkdir()
    again = context(tmp_path / 'more', 12)
    kept = again.scratch / 'networks'
    kept.mkdir(parents=True)
    np.savez(kept / '3.npz', **np.load(here.scratch / 'networks' / '3.npz'))
    before = (kept / '3.npz').stat().st_mtime_ns
    steps.zoo(again)
    assert (kept / '3.npz').stat().st_mtime_ns == before, 'what was done is not done again'
    assert answers_alike(steps.read_zoo(again.out), answers), 'and the end is the same'
    (tmp_path / 'table').mkdir()
    steps.attributes(Context('attributes', 'attributes', {'folds': 2, 'ranked': True, 'seed': 1}, {'zoo': here.out},
                             tmp_path / 'table', tmp_path))
    facts = json.loads((tmp_path / 'table' / 'attributes.json').read_text())
    assert list(facts['table']) == list(ATTRIBUTES) and list(facts['table']['kernel']) == ['300', '500', '1000', KENNEN]
    assert facts['networks'] == 12 and facts['stand_in'] and facts['table']['kernel'][KENNEN]['n_people'] == 12


def test_networks_of_mnist_net_are_asked(ray, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / 'mnist.npz', x_train=rng.integers(0, 256, (140, 28, 28), np.uint8), y_train=rng.integers(0, 10, 140))
    for number in range(5):
        side = 3 + 2 * (number % 2)
        control = {'net': {'act': 'relu', 'drop': 'none', 'pool': 'max_2', 'ks': side, 'n_conv': 2, 'n_fc': 2},
                   'opt': {'optimiser': 'ADAM', 'batch_size': 128}, 'seed': number}
        config = steps.AttributeNetConfig('relu', False, True, 2, side, 2, 'adam', 128, 50, 20, 50)
        (tmp_path / 'nets' / str(number)).mkdir(parents=True)
        torch.save({'control': control, 'state_dict': MnistNet(config).state_dict()}, tmp_path / 'nets' / str(number) / FILE)
    here = context(tmp_path, 4, digits=str(tmp_path / 'mnist.npz'), mnist_net=str(tmp_path / 'nets'))
    steps.zoo(here)
    answers = steps.read_zoo(here.out)
    assert len({each.seed for each in answers}) == 4 and {each.config.embedding for each in answers} == {50}
    assert json.loads((here.out / 'networks.json').read_text())['mnist_net'] is True
    here.config['networks'] = 6
    with pytest.raises(UserError, match='5 networks'):
        steps.zoo_tasks(here)
