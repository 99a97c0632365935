"""Recognition: planted identities are learnt by every head, margins and losses by hand, layers open as told."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fpray.errors import UserError
from fpray.metrics.verification import equal_error
from fpray.models.config import ExtractorConfig
from fpray.models.extractors import build_extractor
from fpray.training.config import ADAPTATIONS, HEADS, LADDER, LoopConfig, RecognitionConfig
from fpray.training.loop import Pictures, train
from fpray.training.recognition import (
    KEPT,
    Pairs,
    RecognitionLearner,
    build_head,
    embed,
    identification,
    load_extractor,
    save_extractor,
    settle,
    widened,
)

EXTRACTOR = ExtractorConfig(length=8, image=(16, 16), width=8)
CONFIG = RecognitionConfig(EXTRACTOR, lr=1e-2, rotation=0)


def planted(identities: range, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each identity a coarse pattern of its own under noise, (n, 1, 16, 16) uint8, with labels from 0."""
    rng = np.random.default_rng(seed)
    coarse = np.stack([np.random.default_rng([9, one]).integers(0, 2, (4, 4)) for one in identities])
    patterns = np.kron(coarse, np.ones((4, 4))) * 90 + 80
    pixels = np.repeat(patterns, each, axis=0) + rng.normal(0, 25, (len(coarse) * each, 16, 16))
    return pixels.clip(0, 255).astype(np.uint8)[:, None], np.repeat(np.arange(len(coarse)), each)


def separation(network, pixels: np.ndarray, labels: np.ndarray) -> float:
    """Equal error rate of the cosines of all pairs."""
    vectors = embed(network, pixels)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    a, b = np.triu_indices(len(vectors), 1)
    same = labels[a] == labels[b]
    scores = (vectors @ vectors.T)[a, b]
    return equal_error(scores[same], scores[~same])[0]


@pytest.mark.parametrize('head', HEADS)
def test_it_learns_planted_identities_and_knows_new_ones_apart(head):
    pixels, labels = planted(range(20), 6, seed=1)
    config = RecognitionConfig(EXTRACTOR, head, lr=1e-2, rotation=0)
    learner = RecognitionLearner(config, LoopConfig(images=1_920 if head == 'triplet' else 2_880, batch=24), 1, 20)
    unseen = planted(range(100, 120), 6, seed=2)
    before = separation(learner.extractor, *unseen)
    data = Pairs(pixels, labels) if head == 'triplet' else Pictures(pixels, labels=labels)
    train(learner.loop, learner, data, 1, on_progress=lambda _: False)
    held_out = planted(range(20), 3, seed=3)
    right = identification(learner.extractor, learner.head, *held_out)
    assert right.mean() > 0.9
    assert np.array_equal(identification(learner.extractor, learner.head.centres.detach().numpy(), *held_out), right)
    assert separation(learner.extractor, *unseen) < 0.1 < 0.25 < before


ANGLES = torch.tensor([0.0, 0.5, 1.5, 2.9, 3.1, math.pi], dtype=torch.float64)


@pytest.mark.parametrize(('head', 'expected'), [
    ('softmax', [math.cos(a) for a in ANGLES]),
    ('cosface', [math.cos(a) - 0.2 for a in ANGLES]),
    ('arcface', [math.cos(a + 0.2) if a <= math.pi - 0.2 else math.cos(a) - 0.2 * math.sin(0.2) for a in ANGLES]),
    ('sphereface', [math.cos(min(1.2 * a, math.pi)) for a in ANGLES]),
])
def test_margins_by_hand(head, expected):
    cosines = ANGLES.cos().requires_grad_(True)
    found = widened(cosines, RecognitionConfig(head=head, margin=0.2))
    assert found.tolist() == pytest.approx(expected, abs=2e-3)  # the ends are held a millionth away from their cosine
    found.sum().backward()
    assert cosines.grad.isfinite().all()  # an angle's derivative is not, at 0 and pi
    assert all(a >= b for a, b in zip(found.tolist(), found.tolist()[1:], strict=False))


def test_the_loss_is_cross_entropy_over_scaled_cosines():
    config = RecognitionConfig(head='cosface', scale=7.0, margin=0.3)
    head = build_head(config, 5, 6, seed=2).double()
    vectors, labels = torch.randn(4, 6, dtype=torch.float64), torch.tensor([0, 3, 3, 1])
    cosines = np.array([[float(v @ c / v.norm() / c.norm()) for c in head.centres.detach()] for v in vectors])
    np.testing.assert_allclose(head(vectors).detach().numpy(), cosines)
    logits = 7.0 * (cosines - 0.3 * np.eye(5)[labels])
    expected = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])
    assert head.loss(vectors, labels).item() == pytest.approx(expected)


def test_triplets_by_hand():
    head = build_head(RecognitionConfig(head='triplet', margin=0.4), 4, 3, seed=1)
    vectors, labels = torch.randn(7, 3, generator=torch.Generator().manual_seed(4)), torch.tensor([0, 0, 0, 2, 2, 3, 0])
    unit = F.normalize(vectors).numpy()
    losses = []
    for i in range(7):
        distances = ((unit - unit[i]) ** 2).sum(axis=1)
        alike = [distances[j] for j in range(7) if labels[j] == labels[i] and j != i]
        losses.append(max(0.0, max(alike) - distances[labels.numpy() != labels[i].item()].min() + 0.4) if alike else 0.0)
    assert head.loss(vectors, labels).item() == pytest.approx(np.mean(losses), abs=1e-6)
    # four pictures of identity 0, none of identity 1, a single one of identity 3
    mean = unit[labels.numpy() == 0].mean(axis=0)
    np.testing.assert_allclose(head.centres[0], (1 - KEPT**4) * mean, atol=1e-6)
    assert not head.centres[1].any()
    np.testing.assert_allclose(head.centres[3], (1 - KEPT) * unit[5], atol=1e-6)


def step(learner: RecognitionLearner, seed: int = 0) -> None:
    pixels, labels = planted(range(4), 2, seed)
    learner.step((torch.from_numpy(pixels).float() / 127.5 - 1, torch.from_numpy(labels)), torch.Generator())


def test_layers_open_one_after_another():
    config = RecognitionConfig(EXTRACTOR, lr=1e-2, opening=((0.5, 0.0), (0.75, 0.5), (0.8, 1.0)))
    learner = RecognitionLearner(config, LoopConfig(images=32, batch=8), 1, 4)
    moved = []
    for _ in range(4):
        before = {name: value.clone() for name, value in learner.extractor.state_dict().items()}
        step(learner)
        after = learner.extractor.state_dict()
        moved.append({name for name, value in after.items() if not torch.equal(value, before[name])})
    dense = {'dense.weight', 'dense.bias'}
    assert moved[0] == moved[1] == dense  # no weight and no batch statistic above it
    assert dense < moved[2] and not any(name.startswith('body.stages.0') for name in moved[2])
    assert 'body.stages.2.1.0.running_mean' in moved[2]
    assert moved[3] == set(learner.extractor.state_dict())  # the last share holds on


def test_the_ladder_is_one_training():
    assert [rung.name for rung in ADAPTATIONS] == ['No-adapt', 'FT-1', 'FT-2', 'FT-3', 'FT-4', 'FT-5']
    for rung in ADAPTATIONS[1:]:
        assert rung.share * 57_500 == pytest.approx(sum(rung.images) / 2)
    assert RecognitionConfig(opening=LADDER).opening[-1] == (1.0, 1.0)
    assert LoopConfig(snapshot_at=tuple(rung.share for rung in ADAPTATIONS[1:])).snapshot_at[0] == pytest.approx(7.5 / 57.5)


def test_resume_is_bit_equal_across_an_opening(tmp_path):
    pixels, labels = planted(range(4), 5, seed=1)
    data, loop = Pictures(pixels, labels=labels), LoopConfig(images=60, batch=6, snapshot_every=24)
    config = RecognitionConfig(EXTRACTOR, head='arcface', opening=((0.3, 0.0), (1.0, 1.0)))
    whole, first, second = (RecognitionLearner(config, loop, seed, 4) for seed in (1, 1, 2))
    train(loop, whole, data, 5, on_progress=lambda _: False)
    seen = train(loop, first, data, 5, on_progress=lambda _: True)
    torch.save(first.state_dict(), tmp_path / 'state.pt')
    second.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    train(loop, second, data, 5, start=seen, on_progress=lambda _: False)
    for part in ('extractor', 'head'):
        a, b = whole.state_dict()[part], second.state_dict()[part]
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_start_is_gone_on_from_and_left_alone():
    start = build_extractor(EXTRACTOR, 7)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    learner = RecognitionLearner(CONFIG, LoopConfig(images=32, batch=8), 1, 4, start=start)
    assert all(torch.equal(value, before[name]) for name, value in learner.extractor.state_dict().items())
    step(learner)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    assert not torch.equal(learner.extractor.dense.weight, start.dense.weight)
    with pytest.raises(ValueError, match='start is'):
        RecognitionLearner(RecognitionConfig(), LoopConfig(), 1, 4, start=start)
    with pytest.raises(UserError, match='at least two'):
        RecognitionLearner(CONFIG, LoopConfig(), 1, 1)


def test_pairs_are_each_pair_once_side_by_side():
    labels = np.array([5, 3, 5, 4, 5, 3])
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None]
    data = Pairs(pixels, labels)
    assert len(data) == 3 + 1  # three pairs of identity 5, one of 3, none of 4
    found, names = data.batch(np.arange(4))
    expected = {frozenset(pair) for pair in ((0, 2), (0, 4), (2, 4), (1, 5))}
    assert {frozenset(pair) for pair in found.reshape(4, 2).tolist()} == expected
    assert names.tolist() == labels[found.reshape(-1)].tolist()
    assert np.array_equal(data.batch(np.array([2, 0]))[0], found[[4, 5, 0, 1]])
    for wrong in ([1, 1, 1], [0, 1, 2], [0, 0, 1]):
        with pytest.raises(UserError, match='two identities with two pictures'):
            Pairs(pixels[:3], np.array(wrong))


def test_embeddings_hang_on_neither_order_nor_number():
    network = build_extractor(EXTRACTOR, 1).train()
    pixels = planted(range(5), 4, seed=1)[0]
    vectors = embed(network, pixels, batch=8)
    assert vectors.shape == (20, 8) and vectors.dtype == np.float32 and network.training
    assert np.array_equal(embed(network, pixels[::-1], batch=8)[::-1], vectors)
    assert np.array_equal(embed(network, pixels[3:6], batch=8), vectors[3:6])


def test_settling_takes_the_pictures_statistics():
    network, pixels = build_extractor(EXTRACTOR, 1).eval(), planted(range(6), 4, seed=1)[0]
    weights = [one.clone() for one in network.parameters()]
    settle(network, pixels, batch=24)
    with torch.no_grad():
        map_before = network.maps(torch.from_numpy(pixels).float() / 127.5 - 1, ['stages.0.0'])[0]
    norm = network.body.stages[0][1][0]
    torch.testing.assert_close(norm.running_mean, map_before.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, map_before.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))
    assert norm.momentum == 0.1 and not network.training
    learner = RecognitionLearner(CONFIG, LoopConfig(images=32, batch=8), 1, 4, start=network)
    step(learner)  # it can be trained on


def test_a_saved_network_is_the_same(tmp_path):
    network = build_extractor(ExtractorConfig('small-dense', 'stages.2.1', 5, (16, 16), width=8), 3)
    pixels = planted(range(3), 2, seed=1)[0]
    settle(network, pixels)
    save_extractor(network, tmp_path, 'rung')
    again = load_extractor(tmp_path, 'rung')
    assert again.config == network.config and not again.training
    assert not any(one.requires_grad for one in again.parameters())
    assert np.array_equal(embed(again, pixels), embed(network, pixels))


def test_what_is_no_saved_network_is_refused(tmp_path):
    save_extractor(build_extractor(EXTRACTOR), tmp_path)
    path = tmp_path / 'extractor.json'
    config = json.loads(path.read_text())
    for broken in ('{', json.dumps(config | {'length': 9}), json.dumps(config | {'colour': 1}), json.dumps([1])):
        path.write_text(broken)
        with pytest.raises(UserError, match='cannot read the network'):
            load_extractor(tmp_path)
    with pytest.raises(UserError, match='cannot read the network absent'):
        load_extractor(tmp_path, 'absent')


@pytest.mark.parametrize('fields', [
    {'head': 'hinge'}, {'scale': 0}, {'margin': -0.1}, {'opening': ((0.5, 0.1), (0.5, 1.0))}, {'opening': ((0.5, 1.1),)},
    {'opening': ((0.0, 1.0),)}, {'lr': float('nan')},
])  # fmt: skip
def test_what_cannot_be_trained_is_refused(fields):
    with pytest.raises(UserError, match='recognition'):
        RecognitionConfig(**fields)
