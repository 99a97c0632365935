"""The scoring network's training: it learns planted classes, augmentation by hand, resume to the bit."""

import numpy as np
import pytest
import torch

from fpray.errors import UserError
from fpray.models.config import ScorerConfig
from fpray.models.scorer import build_scorer
from fpray.training.classifier import ClassifierLearner, accuracy, augment, predict
from fpray.training.config import ClassifierConfig, LoopConfig
from fpray.training.loop import WEIGHTS, Pictures, derive, train

CONFIG = ClassifierConfig(ScorerConfig(image=(16, 16), classes=3, widths=(8, 16)), lr=5e-3)


def planted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright bar whose direction is the class: across, down, diagonal."""
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(0, 120, (count, 1, 16, 16)), rng.integers(0, 3, count)
    for picture, label in zip(pixels, labels, strict=True):
        place = rng.integers(5, 11)
        bar = {0: np.s_[:, place, :], 1: np.s_[:, :, place], 2: np.s_[:, np.arange(16), np.arange(16)]}[int(label)]
        picture[bar] += 130
    return pixels.astype(np.uint8), labels


def test_it_learns_planted_classes():
    pixels, labels = planted(120, seed=1)
    held_out = planted(120, seed=2)
    learner = ClassifierLearner(CONFIG, LoopConfig(images=2_400, batch=24), 1)
    before = accuracy(learner.scorer, *held_out)
    reports = []
    train(
        learner.loop, learner, Pictures(pixels, labels=labels), 1, on_progress=lambda one: bool(reports.append(one))
    )
    assert before < 0.6 < 0.9 < accuracy(learner.scorer, *held_out)
    assert reports[-1].losses['accuracy'] > 0.5
    logits, features = predict(learner.scorer, held_out[0])
    assert logits.shape == (120, 3) and features.shape == (120, 16)
    assert np.mean(logits.argmax(axis=1) == held_out[1]) == accuracy(learner.scorer, *held_out)
    assert np.array_equal(predict(learner.scorer, held_out[0][::-1])[0], logits[::-1])  # whatever the order


def test_the_rate_falls_as_a_cosine():
    learner = ClassifierLearner(CONFIG, LoopConfig(images=40, batch=10), 1)
    rates = []
    for _ in range(4):
        learner.step((torch.rand(10, 1, 16, 16), torch.zeros(10, dtype=torch.int64)), torch.Generator())
        rates.append(learner.optimiser.param_groups[0]['lr'])
    expected = [5e-3 * (1 + np.cos(np.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75)]
    assert rates == pytest.approx(expected)


def test_resume_is_bit_equal(tmp_path):
    pixels, labels = planted(20, seed=1)
    data, loop = Pictures(pixels, labels=labels), LoopConfig(images=60, batch=6, snapshot_every=24)
    whole, first, second = (ClassifierLearner(CONFIG, loop, seed) for seed in (1, 1, 2))
    train(loop, whole, data, 5, on_progress=lambda _: False)
    seen = train(loop, first, data, 5, on_progress=lambda _: True)
    torch.save(first.state_dict(), tmp_path / 'state.pt')
    second.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    train(loop, second, data, 5, start=seen, on_progress=lambda _: False)
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.scorer.state_dict().values(), second.scorer.state_dict().values(), strict=True)
    )


def test_augmentation_of_nothing_changes_nothing():
    pixels = torch.rand(2, 1, 12, 20) * 2 - 1
    torch.testing.assert_close(augment(pixels, torch.zeros(2, 5), CONFIG), pixels, rtol=0, atol=1e-5)


def test_augmentation_by_hand():
    config = ClassifierConfig(shift=0.1, rotation=90, contrast=0.5)
    point = torch.zeros(1, 1, 10, 20)
    point[0, 0, 4, 6] = 1.0

    def moved(*draws: float) -> list[list[int]]:
        return (augment(point, torch.tensor([draws]), config)[0, 0] > 0.5).nonzero().tolist()

    assert moved(0, 0.5, 0, 0, 0) == [[4, 7]]  # half of a tenth of 20 px to the right
    assert moved(0, 0, -1, 0, 0) == [[3, 6]]  # a tenth of 10 px up
    # a right angle about the centre (4.5, 9.5): 3.5 left and 0.5 up become 3.5 down or up, 0.5 left or right
    assert moved(1, 0, 0, 0, 0) in ([[8, 9]], [[1, 10]])
    darker = augment(torch.full((1, 1, 4, 4), 0.5), torch.tensor([[0, 0, 0, -1.0, 0.4]]), config)
    torch.testing.assert_close(darker, torch.full((1, 1, 4, 4), 0.5 * 0.5 + 0.4 * 0.25))


def test_inception_is_not_trained_and_labels_can_be_smoothed():
    with pytest.raises(UserError, match='comes trained'):
        ClassifierLearner(ClassifierConfig(ScorerConfig('inception-v3', weights='somewhere')), LoopConfig(), 1)
    batch = torch.rand(6, 1, 16, 16), torch.zeros(6, dtype=torch.int64)
    losses = []
    for smoothing in (0.0, 0.3):
        config = ClassifierConfig(CONFIG.scorer, label_smoothing=smoothing, shift=0, rotation=0, contrast=0)
        losses.append(ClassifierLearner(config, LoopConfig(), 1).step(batch, torch.Generator())['loss'])
    log_p = build_scorer(CONFIG.scorer, derive(1, WEIGHTS)).train()(batch[0]).log_softmax(dim=1)
    assert losses[0].item() == pytest.approx(-log_p[:, 0].mean().item(), abs=1e-5)
    assert losses[1].item() == pytest.approx(-(0.7 * log_p[:, 0] + 0.1 * log_p.sum(dim=1)).mean().item(), abs=1e-5)
