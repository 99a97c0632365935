"""Inversion: baselines in closed form, a search that finds, ranges and adapters, bounds that hold."""

import time
from dataclasses import fields

import numpy as np
import pytest
import torch

from fpray.attacks import INVERSION_ATTACKS, inversion
from fpray.attacks.inversion import (
    change,
    direct,
    lipschitz,
    match_ranges,
    mean_image,
    measured_change,
    nearest_image,
    perceptual,
    reordered,
)
from fpray.attacks.model_inference import ranges_of
from fpray.attacks.threat import INVERSION_THREATS, ThreatModel
from fpray.data.images import to_float
from fpray.errors import UserError
from fpray.metrics.lipschitz import network_bound
from fpray.models.config import ExtractorConfig, ReconstructorConfig
from fpray.models.extractors import build_extractor
from fpray.models.reconstructor import build_reconstructor
from fpray.training.recognition import embed

LENGTH = 6
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 1, 16, 16), dtype=np.uint8)


def extractor(seed=3):
    """A network whose vectors of different pictures point in different directions, as a trained one's do."""
    network = build_extractor(ExtractorConfig('small-plain', length=LENGTH, image=(16, 16), width=4), seed)
    with torch.no_grad():
        for _ in range(50):
            network(to_float(torch.from_numpy(PIXELS)))
        network.eval().dense.bias -= torch.from_numpy(embed(network, PIXELS).mean(axis=0))
    return network


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_the_mean_image_is_the_mean_rounded():
    assert np.array_equal(mean_image(PIXELS), np.rint(PIXELS.mean(axis=0)).astype(np.uint8))
    with pytest.raises(UserError, match='no pictures'):
        mean_image(PIXELS[:0])


def test_the_nearest_image_is_nearest_by_direction():
    known = np.array([[1.0, 0], [0, 1], [0.1, 0.1]])
    wanted = np.array([[900.0, 1], [-1, 3], [2, 2.1]])
    assert np.array_equal(nearest_image(wanted, known, PIXELS[:3]), PIXELS[:3])
    with pytest.raises(UserError, match='one vector a picture'):
        nearest_image(wanted, known, PIXELS[:2])
    with pytest.raises(UserError, match="one network's"):
        nearest_image(np.ones((1, 3)), known, PIXELS[:3])


def test_the_search_finds_what_the_network_takes_for_the_person():
    network = extractor()
    wanted, start = embed(network, PIXELS), mean_image(PIXELS)
    before = cosines(wanted, np.repeat(embed(network, start[None]), 30, axis=0))
    made = direct(network, wanted, start=start, steps=60)
    after = cosines(wanted, embed(network, made))
    assert made.shape == PIXELS.shape and made.dtype == np.uint8
    assert np.median(1 - after) < 0.1 * np.median(1 - before)
    assert not network.training and all(weight.grad is None for weight in network.parameters())


def test_a_found_picture_hangs_on_its_vector_alone():
    network = extractor()
    wanted, given = embed(network, PIXELS[:5]), {'start': PIXELS[7], 'steps': 5, 'seed': 4}
    made = direct(network, wanted, batch=2, **given)
    assert np.abs(made.astype(int) - direct(network, wanted, batch=5, **given)).max() <= 1  # sums of another order
    assert np.array_equal(made, direct(network, wanted, batch=2, **given))
    noisy = direct(network, wanted, noise=0.3, batch=2, **given)
    assert np.array_equal(noisy, direct(network, wanted, noise=0.3, batch=2, **given))
    assert not np.array_equal(noisy, direct(network, wanted, noise=0.3, batch=2, **given | {'seed': 5}))


def test_the_search_keeps_to_its_time():
    network, begun = extractor(), time.perf_counter()
    made = direct(network, embed(network, PIXELS), start=PIXELS[0], seconds=0.2, batch=10)
    assert time.perf_counter() - begun >= 0.2
    assert not np.array_equal(made[0], made[1])


def test_smoothness_smooths():
    network = extractor()
    wanted = embed(network, PIXELS[:4])
    rough, smooth = (direct(network, wanted, start=PIXELS[9], steps=40, smoothness=weight) for weight in (0.0, 3.0))
    assert np.abs(np.diff(smooth.astype(int))).mean() < 0.7 * np.abs(np.diff(rough.astype(int))).mean()


def test_ranges_become_the_others():
    vectors = RNG.uniform(-3, 5, (50, LENGTH)).astype(np.float32)
    vectors[:, 2] = 1.5  # a dimension that tells nothing
    goal = (np.arange(LENGTH) - 2.0, np.arange(LENGTH) + 3.0)
    found = match_ranges(vectors, ranges_of(vectors), goal)
    moving = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(ranges_of(found)[0][moving], goal[0][moving], atol=1e-6)
    np.testing.assert_allclose(ranges_of(found)[1][moving], goal[1][moving], atol=1e-6)
    np.testing.assert_allclose(found[:, 2], 2.5)
    np.testing.assert_allclose(match_ranges(found, goal, ranges_of(vectors))[:, moving], vectors[:, moving], atol=1e-5)


def test_the_perceptual_distance_is_that_of_the_vectors():
    network, others = extractor(), PIXELS[::-1].copy()
    wanted = np.linalg.norm(embed(network, PIXELS).astype(float) - embed(network, others), axis=1)
    np.testing.assert_allclose(perceptual(network, PIXELS, others, batch=7), wanted, rtol=1e-5)
    with pytest.raises(ValueError, match='different shapes'):
        perceptual(network, PIXELS, others[:3])


def disturbed(last='tanh', kernel=4):
    """A reconstructor with the statistics of a trained one: no factor is 1 by chance."""
    config = ReconstructorConfig(LENGTH, (16, 16), width=8, blocks=2, last=last, kernel=kernel)
    network, rng = build_reconstructor(config, 1), torch.Generator().manual_seed(0)
    network.set_scale(torch.randn(config.length, generator=rng), 0.5 + torch.rand(config.length, generator=rng))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_var.copy_(0.05 + torch.rand(len(layer.running_var), generator=rng))
            torch.nn.init.normal_(layer.weight, generator=rng)
    return network


@pytest.mark.parametrize(('last', 'kernel'), [('tanh', 4), ('tanh', 5), ('sigmoid', 4), ('none', 4)])
def test_no_change_exceeds_the_bound(last, kernel):
    network = disturbed(last, kernel)
    vectors = np.random.default_rng(2).standard_normal((100, LENGTH))
    bound, source = network_bound(lipschitz(network))
    assert network.training
    network.eval()
    assert max(measured_change(network, vectors, eps, 3).max() for eps in (1e-2, 0.5, 5.0)) <= bound
    here = torch.from_numpy(vectors[0]).float()
    slope = torch.func.jacfwd(lambda x: network(x[None]).flatten())(here)
    assert 1e-3 * bound < torch.linalg.matrix_norm(slope.detach(), 2) <= bound
    assert source != pytest.approx(bound)


def test_every_layer_has_its_factor():
    network = disturbed()
    factors = lipschitz(network)
    assert [one.kind for one in factors] == ['scale', 'dense', 'activation', 'transposed', 'batch-norm', 'activation',
                                             'transposed', 'activation']
    for one in factors:
        if one.kind == 'transposed':
            layer = network.get_submodule(one.name)
            side = 4 if one.name == 'body.1' else 8
            basis = torch.eye(layer.in_channels * side**2).view(-1, layer.in_channels, side, side)
            matrix = layer(basis) - layer(torch.zeros_like(basis))
            assert torch.linalg.matrix_norm(matrix.flatten(1), 2) <= one.bound * (1 + 1e-5) <= one.source * 1.1
        assert one.kind not in ('scale', 'batch-norm') or (one.source == 1 and one.bound > 1)


def test_measured_change_in_closed_form():
    """A linear network: the change is the same wherever one stands and however far one goes."""
    network = build_reconstructor(ReconstructorConfig(LENGTH, (16, 16), width=2, blocks=1, last='none', slope=0.999999), 1)
    with torch.no_grad():
        network.body[-1].weight.mul_(0.01)  # far from where pictures are cut off
    network.eval()
    rng = np.random.default_rng(0)
    vectors, step = rng.standard_normal((9, LENGTH)), rng.standard_normal(LENGTH)
    found = change(network, vectors, vectors + step)
    np.testing.assert_allclose(found, found[0], rtol=1e-3)
    np.testing.assert_allclose(change(network, vectors, vectors + 3 * step), found, rtol=1e-3)
    origin = network(torch.zeros(1, LENGTH)) - network(torch.from_numpy(step[None]).float())
    assert found[0] == pytest.approx(origin.norm().item() / np.linalg.norm(step), rel=1e-3)
    assert np.isnan(change(network, vectors, vectors)).all()


@pytest.mark.parametrize('name', INVERSION_ATTACKS)
def test_entries_make_a_picture_a_vector(name):
    attack = getattr(inversion, INVERSION_ATTACKS[name].split(':')[1])
    network = extractor()
    given = {'vectors': embed(network, PIXELS[:4]), 'network': network, 'known_pixels': PIXELS[4:],
             'known_vectors': embed(network, PIXELS[4:]),
             'reconstructor': build_reconstructor(ReconstructorConfig(LENGTH, (16, 16), width=8, blocks=2))}
    made = attack.invert(**{need: given[need] for need in attack.needs})
    assert made.shape == (4, 1, 16, 16) and made.dtype == np.uint8
    assert attack.threat.name == name


@pytest.mark.parametrize('name', INVERSION_THREATS)
def test_threat_models_say_everything(name):
    threat = INVERSION_THREATS[name]
    assert threat.name == name and all(getattr(threat, field.name) for field in fields(ThreatModel))
    assert (threat.box == 'white') == (name == 'auto-encoder')


def test_reordered_vectors_keep_their_likeness_and_their_dimensions_their_scale():
    rng = np.random.default_rng(1)
    vectors = (rng.normal(size=(200, 12)) * np.arange(1, 13) + np.arange(12)).astype(np.float32)
    vectors[:, 3] = 5
    found, again, other = (reordered(vectors, seed) for seed in (4, 4, 5))
    assert np.array_equal(found, again) and not np.allclose(found, other)
    kept = found.std(axis=0) > 1e-6
    assert found.mean(axis=0) == pytest.approx(vectors.mean(axis=0), abs=1e-4)
    assert found.std(axis=0)[kept] == pytest.approx(vectors.std(axis=0)[kept], rel=1e-4)
    first, second = ((each - each.mean(axis=0)) / np.where(each.std(axis=0) > 1e-6, each.std(axis=0), 1)
                     for each in (vectors[:, [n for n in range(12) if n != 3]], found))
    correlation = np.abs(first.T @ second / len(vectors)).max(axis=0)
    assert (correlation[kept] > 0.999).all(), 'each dimension is one of the others, rescaled'
