"""Scores of samples: torch-fidelity's Inception Score, Gaussians with known distance, balls counted by hand."""

import numpy as np
import pytest
import torch

from fpray.metrics.generative import distinct_count, frechet_distance, inception_score, precision_recall


def torch_fidelitys(logits, splits, shuffle):
    """Second implementation: the published algorithm of torch-fidelity, in its own library and order of operations."""
    feature = torch.as_tensor(logits)
    if shuffle:
        feature = feature[np.random.RandomState(2020).permutation(len(feature)), :]
    feature = feature.double()
    p, log_p, scores = feature.softmax(dim=1), feature.log_softmax(dim=1), []
    for i in range(splits):
        part = slice(i * len(p) // splits, (i + 1) * len(p) // splits)
        marginal = p[part].mean(dim=0, keepdim=True).log()
        scores.append((p[part] * (log_p[part] - marginal)).sum(dim=1).mean().exp().item())
    return float(np.mean(scores)), float(np.std(scores))


@pytest.mark.parametrize(('n', 'classes', 'splits', 'scale'), [(1003, 17, 10, 3), (50, 200, 7, 0.1), (64, 2, 1, 50)])
def test_inception_score_is_torch_fidelitys(n, classes, splits, scale):
    logits = (np.random.default_rng(n).normal(size=(n, classes)) * scale).astype(np.float32)
    for seed, shuffle in ((2020, True), (None, False)):
        ours = inception_score(logits, splits, seed)
        assert ours == pytest.approx(torch_fidelitys(logits, splits, shuffle), abs=1e-9)


def test_inception_score_against_the_package_where_it_is_installed():
    package = pytest.importorskip('torch_fidelity.metric_isc')
    logits = np.random.default_rng(0).normal(size=(997, 23)) * 3
    theirs = package.isc_features_to_metric(torch.as_tensor(logits))
    assert inception_score(logits) == pytest.approx(tuple(theirs.values()), abs=1e-9)


def test_inception_score_runs_from_one_to_the_number_of_classes():
    sure = np.eye(8)[np.arange(800) % 8] * 100
    assert inception_score(sure, 1)[0] == pytest.approx(8)
    assert inception_score(np.zeros((100, 8)))[0] == pytest.approx(1)
    assert inception_score(np.tile(sure[:1], (100, 1)))[0] == pytest.approx(1)  # one class only
    with pytest.raises(ValueError, match='splits'):
        inception_score(np.zeros((5, 3)))


def whitened(n, d, seed):
    """Features whose sample mean is exactly 0 and whose sample covariance is exactly the identity."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def test_frechet_distance_of_known_gaussians():
    a, b = whitened(200, 5, 0), whitened(300, 5, 1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(0, abs=1e-9)  # same moments
    scales, shift = np.array([1, 2, 3, 0.5, 4]), np.array([1, 0, -2, 0, 0])
    closed = (shift**2).sum() + ((1 - scales) ** 2).sum()
    assert frechet_distance(a, b * scales + shift) == pytest.approx(closed)
    assert frechet_distance(b * scales + shift, a) == pytest.approx(closed)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    assert frechet_distance(a @ turn, (b * scales + shift) @ turn) == pytest.approx(closed)
    assert frechet_distance(a[:, :1], 3 * b[:, :1]) == pytest.approx(4)


def test_frechet_distance_of_fewer_samples_than_dimensions():
    """Singular covariances in one plane each: the closed form of commuting ones still holds."""
    a = np.zeros((6, 40))
    a[:, :2] = whitened(6, 2, 0)
    assert frechet_distance(a, 2 * a) == pytest.approx(2, abs=1e-6)
    assert frechet_distance(a, np.roll(a, 2, axis=1)) == pytest.approx(4, abs=1e-6)  # planes that share nothing


def test_precision_and_recall_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])  # k = 1: every radius is 1
    generated = np.array([[0.5], [2.0], [2.9], [3.1]])  # radii 1.5, 0.9, 0.2, 0.2
    assert precision_recall(real, generated, 1) == (0.75, 0.5)  # 3.1 lies in no ball; 10, 11, 12 lie in none
    with pytest.raises(ValueError, match='more than k'):
        precision_recall(real, generated, 4)


def test_precision_and_recall_see_invention_and_collapse():
    rng = np.random.default_rng(0)
    real, same = rng.normal(size=(1500, 4)), rng.normal(size=(1500, 4))  # more than one block
    assert min(precision_recall(real, same)) > 0.85
    precision, recall = precision_recall(real, same * 0.1)
    assert precision > 0.95 and recall < 0.2  # collapsed
    precision, recall = precision_recall(real, same + 20)
    assert precision == recall == 0


def test_distinct_count_of_known_identities():
    rng = np.random.default_rng(0)
    people = rng.normal(size=(30, 64))
    samples = people[rng.permutation(np.repeat(np.arange(30), 10))] + rng.normal(size=(300, 64)) * 0.1
    assert distinct_count(samples, 0.7) == 30
    assert distinct_count(samples * rng.uniform(0.1, 9, (300, 1)), 0.7) == 30  # the cosine knows no length
    assert distinct_count(samples[:1].repeat(50, 0), 0.7) == 1
    assert distinct_count(np.eye(5), 0.5) == 5 and distinct_count(np.zeros((0, 4)), 0.5) == 0
