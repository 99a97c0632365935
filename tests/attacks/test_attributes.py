"""Table 1's zoo: attributes drawn evenly, networks as described, planted attributes found, none where nothing is planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from fpray.attacks.attributes import (
    KENNEN,
    Answers,
    cross_infer_attributes,
    draw_networks,
    infer_attributes,
    part_digits,
    train_one,
)
from fpray.errors import UserError
from fpray.models.attribute_net import build_attribute_net
from fpray.models.config import ATTRIBUTES, EMBEDDINGS, AttributeNetConfig
from fpray.training.attribute import AttributeLearner
from fpray.training.config import AttributeTraining


def bundled() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    return np.rint(found.images * 255 / 16).astype(np.uint8)[:, None], found.target


def test_parts_share_no_picture():
    digits = part_digits(*bundled(), seed=1)
    assert len(digits.queries) == 100
    rows = np.concatenate([digits.training, digits.held_out, digits.queries])
    assert np.array_equal(np.sort(rows), np.arange(1797))
    assert len(digits.training) == pytest.approx(4 * len(digits.held_out), abs=4)


def test_networks_are_drawn_evenly():
    networks = draw_networks(3000, 0)
    for name, values in ATTRIBUTES.items():
        shares = [np.mean([getattr(one, name) == value for one in networks]) for value in values]
        assert shares == pytest.approx([1 / len(values)] * len(values), abs=0.04), name
    assert [sum(one.embedding == length for one in networks) for length in EMBEDDINGS] == [1000] * 3
    assert networks == draw_networks(3000, 0) != draw_networks(3000, 1)
    drawn = [[one.kernel, one.convolutions, one.dense, one.batch, one.pooling] for one in networks]
    found = np.corrcoef(drawn, rowvar=False)
    assert np.abs(found - np.eye(5)).max() < 0.08  # no attribute gives another away


@pytest.mark.parametrize('config', draw_networks(12, 3))
def test_a_network_is_as_its_attributes_say(config: AttributeNetConfig):
    network = build_attribute_net(config, 28)
    kinds = [type(layer) for layer in network.modules()]
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == config.convolutions and {layer.kernel_size[0] for layer in convolutions} == {config.kernel}
    assert kinds.count(nn.Linear) == config.dense
    assert kinds.count(nn.MaxPool2d) == 2 * config.pooling
    assert (nn.Dropout in kinds) == config.dropout
    named = {'relu': nn.ReLU, 'prelu': nn.PReLU, 'elu': nn.ELU, 'tanh': nn.Tanh}
    assert {kind for kind in kinds if kind in named.values()} == {named[config.activation]}
    embeddings, probabilities = network.answers(torch.zeros(2, 1, 28, 28))
    assert embeddings.shape == (2, config.embedding) and probabilities.shape == (2, 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))
    trained_by = {'sgd': torch.optim.SGD, 'adam': torch.optim.Adam, 'rmsprop': torch.optim.RMSprop}
    learner = AttributeLearner(config, AttributeTraining(), 28, 1)
    assert type(learner.optimiser) is trained_by[config.optimiser]


def test_a_network_learns_digits_and_answers_alike_again():
    digits = part_digits(*bundled(), seed=1)
    config = AttributeNetConfig(pooling=True, dropout=True)
    one, again = (train_one(config, digits, 5, AttributeTraining(images=6000)) for _ in range(2))
    assert one.accuracy > 0.85
    assert one.embeddings.shape == (100, 300) and one.probabilities.shape == (1000,)
    right = one.probabilities.reshape(100, 10).argmax(axis=1) == digits.labels[digits.queries]
    assert np.mean(right) > 0.85  # the queries in their own order
    np.testing.assert_array_equal(one.embeddings, again.embeddings)
    np.testing.assert_array_equal(one.probabilities, again.probabilities)


def zoo(count: int, seed: int, planted: bool) -> list[Answers]:
    """Answers that give two attributes away: the activation by the values' distribution, pooling by the probabilities."""
    rng, answers = np.random.default_rng(seed), []
    for number, config in enumerate(draw_networks(count, seed)):
        config = replace(config, embedding=150)
        power = {'relu': 1, 'prelu': 2, 'elu': 4, 'tanh': 8}[config.activation] if planted else 1
        logits = rng.normal(size=(10, 10)) + 2 * planted * config.pooling * np.eye(10)[0]
        probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).ravel().astype(np.float32)
        embeddings = (rng.uniform(size=(10, 150)) ** power).astype(np.float32)
        answers.append(Answers(config, 1000 * seed + number, embeddings, probabilities, 1.0))
    return answers


def test_planted_attributes_are_found_and_no_others():
    table = infer_attributes(zoo(120, 1, True), zoo(80, 2, True), 0)
    assert list(table) == list(ATTRIBUTES) and list(table['kernel']) == ['150', KENNEN]
    assert table['activation']['150'].estimate > 0.93
    assert table['pooling'][KENNEN].estimate > 0.9
    assert table['kernel']['150'].interval[0] < 0.5 < table['kernel']['150'].interval[1]
    for name, values in ATTRIBUTES.items():
        for row, asked in (('150', 5 * 80), (KENNEN, 80)):
            rate = table[name][row]
            assert (rate.chance, rate.n, rate.n_people) == (1 / len(values), asked, 80)


def test_nothing_is_found_where_nothing_is_planted():
    table = infer_attributes(zoo(90, 1, False), zoo(60, 2, False), 0)
    for name, rows in table.items():
        for row, rate in rows.items():
            assert abs(rate.estimate - rate.chance) < 0.2, (name, row)


def test_folds_judge_every_network_once():
    answers = zoo(60, 1, True)
    table = cross_infer_attributes(answers, 0, folds=2)
    assert table['activation']['150'].estimate > 0.9 and table['activation']['150'].n_people == 60
    assert table['batch']['150'].n == 5 * 60 and table['batch'][KENNEN].n == 60
    with pytest.raises(ValueError, match='1 networks are known and unknown at once'):
        cross_infer_attributes([answers[0], answers[0]], 0, folds=2)
    with pytest.raises(UserError, match='60 networks of one length for 61 folds'):
        cross_infer_attributes(answers, 0, folds=61)


def test_no_network_lies_on_both_sides():
    answers = zoo(12, 1, False)
    with pytest.raises(ValueError, match='1 networks are known and unknown at once'):
        infer_attributes(answers[:7], answers[6:], 0)
    with pytest.raises(UserError, match='no known network with embeddings of length 500'):
        infer_attributes(answers, [replace(answers[0], config=replace(answers[0].config, embedding=500))], 0)


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: part_digits(np.zeros((200, 3, 8, 8), np.uint8), np.zeros(200), 0), 'digits of shape'),
    (lambda: part_digits(np.zeros((100, 1, 8, 8), np.uint8), np.zeros(100), 0), '100 digits, 100 of them to ask about'),
    (lambda: AttributeNetConfig(kernel=7), r'attributes\.kernel 7; choose one of 3, 5'),
    (lambda: AttributeTraining(images=0), r'attributes\.images'),
])
def test_bad_input_is_one_line(make, message):
    with pytest.raises(UserError, match=message):
        make()
