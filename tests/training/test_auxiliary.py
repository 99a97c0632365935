"""The auxiliary classifier: the source's layers, training on planted vectors, noise in proportion, resume to the bit."""

import numpy as np
import pytest
import torch
from torch import nn

from fpray.errors import UserError
from fpray.models.auxiliary import build_auxiliary
from fpray.models.config import AuxiliaryConfig
from fpray.training.auxiliary import AuxiliaryLearner, predict
from fpray.training.config import AuxiliaryTraining, LoopConfig
from fpray.training.loop import Pictures, train

CONFIG = AuxiliaryTraining(AuxiliaryConfig(length=12, classes=3, hidden=(32, 16)))


def planted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform values, one of three quarters of each vector raised: the class."""
    rng = np.random.default_rng(seed)
    vectors, labels = rng.uniform(size=(count, 12)).astype(np.float32), rng.integers(0, 3, count)
    for vector, label in zip(vectors, labels, strict=True):
        vector[3 * label : 3 * label + 3] += 0.8
    return vectors, labels


def test_the_source_has_five_hidden_layers():
    network = build_auxiliary(AuxiliaryConfig(length=2048, classes=39))
    sizes = [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert sizes == [(2048, 512), (512, 256), (256, 128), (128, 64), (64, 32), (32, 39)]


def test_weights_come_from_the_seed():
    first, again, other = (build_auxiliary(CONFIG.network, seed).head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_it_learns_planted_vectors():
    vectors, labels = planted(300, seed=1)
    held_out, truth = planted(300, seed=2)
    learner = AuxiliaryLearner(CONFIG, LoopConfig(images=12_000, batch=32), 1)
    before = np.mean(predict(learner.network, held_out).argmax(axis=1) == truth)
    train(learner.loop, learner, Pictures(vectors, labels=labels), 1, on_progress=lambda _: False)
    logits = predict(learner.network, held_out)
    assert before < 0.6 < 0.95 < np.mean(logits.argmax(axis=1) == truth)
    assert np.array_equal(predict(learner.network, held_out[::-1])[::-1], logits)  # whatever the order


def test_noise_is_in_proportion_to_a_vector_s_own_spread():
    learner = AuxiliaryLearner(AuxiliaryTraining(AuxiliaryConfig(length=4000), noise=0.5), LoopConfig(), 1)
    vectors = torch.rand(3, 4000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [10.0], [0.0]])
    added = (learner._noisy(vectors, torch.Generator().manual_seed(1)) - vectors).std(dim=1)
    torch.testing.assert_close(added, 0.5 * vectors.std(dim=1), rtol=0.05, atol=0)


def test_resume_is_bit_equal(tmp_path):
    vectors, labels = planted(20, seed=1)
    data, loop = Pictures(vectors, labels=labels), LoopConfig(images=60, batch=6, snapshot_every=24)
    whole, first, second = (AuxiliaryLearner(CONFIG, loop, seed) for seed in (1, 1, 2))
    train(loop, whole, data, 5, on_progress=lambda _: False)
    seen = train(loop, first, data, 5, on_progress=lambda _: True)
    torch.save(first.state_dict(), tmp_path / 'state.pt')
    second.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    train(loop, second, data, 5, start=seen, on_progress=lambda _: False)
    pairs = zip(whole.network.state_dict().values(), second.network.state_dict().values(), strict=True)
    assert seen == 24 and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize('make', [
    lambda: AuxiliaryConfig(length=0), lambda: AuxiliaryConfig(classes=1), lambda: AuxiliaryConfig(hidden=(0,)),
    lambda: AuxiliaryConfig(dropout=1.0), lambda: AuxiliaryTraining(lr=0), lambda: AuxiliaryTraining(noise=-1),
])
def test_impossible_sizes_are_refused(make):
    with pytest.raises(UserError, match=r'auxiliary\.'):
        make()
