"""The reconstructor's losses in closed form, its learner, what comes out when it is asked, files."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from fpray.data.images import to_float
from fpray.errors import UserError
from fpray.models.config import ExtractorConfig, ReconstructorConfig, reconstructor_parameters
from fpray.models.extractors import build_extractor
from fpray.models.reconstructor import build_reconstructor
from fpray.training.config import LoopConfig, ReconstructionConfig
from fpray.training.linear import LinearMap
from fpray.training.loop import train
from fpray.training.recognition import embed
from fpray.training.reconstruction import (
    AutoEncoderLearner,
    Embedded,
    ReconstructionLearner,
    gradient_error,
    load_reconstructor,
    reconstruct,
    relative_error,
    save_reconstructor,
    solved,
)

TINY = ReconstructorConfig(6, (16, 16), width=16, blocks=2)
NETWORK = ExtractorConfig('small-plain', length=6, image=(16, 16), width=4)
LAYERS = ('stages.0.1', 'stages.2.0')
PLAIN = ReconstructionConfig(TINY, embedding_weight=0.0)
FULL = ReconstructionConfig(TINY, layers=LAYERS, warmup=0.3, noise=0.1, shift=0.05, rotation=5, contrast=0.1,
                            realism_weight=0.1, critic_width=4)
LOOP = LoopConfig(images=160, batch=8, snapshot_every=0)


def scenes(count=40, seed=0):
    """Pictures that six numbers determine, with these numbers."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 6)).astype(np.float32)
    y, x = np.mgrid[:16, :16] / 16 * 2 * np.pi
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y), np.cos(x - y), np.sin(2 * x), np.cos(2 * y)])
    pictures = 127.5 + 40 * np.tensordot(vectors, waves, 1)
    return Embedded(np.clip(pictures, 0, 255).astype(np.uint8)[:, None], 100 + 7 * vectors)


def extractor(seed=3):
    return build_extractor(NETWORK, seed).eval().requires_grad_(False)


def learnt(config, loop=LOOP, network=None, data=None, seed=1):
    data, course = data or scenes(), []
    learner = ReconstructionLearner(config, loop, seed, network, vector_scale=data.scale)
    train(loop, learner, data, 5, on_progress=lambda progress: bool(course.append(progress.losses)))
    return learner, course


def test_the_picture_is_learnt_from_the_vector_alone():
    """On people never seen: far nearer than the mean picture, nearer still than the nearest known one."""
    config = replace(PLAIN, pixel='l2', gradient_weight=0.0, lr=5e-3)
    data, unseen = scenes(300), scenes(60, seed=1)
    learner, _ = learnt(config, replace(LOOP, images=6_000, batch=20), data=data)
    made = reconstruct(learner.reconstructor, unseen.vectors)
    assert made.shape == unseen.pixels.shape and made.dtype == np.uint8

    def error(guess):
        return np.square(guess.astype(float) - unseen.pixels).mean()

    apart = np.linalg.norm(unseen.vectors[:, None] - data.vectors[None], axis=2)
    assert error(made) < 0.25 * error(data.pixels[apart.argmin(axis=1)])
    assert error(made) < 0.05 * error(data.pixels.mean(axis=0))


def test_what_the_network_sees_is_matched():
    """With the losses of eq. 3 the network's vectors come nearer than with pixels alone, after as many pictures."""
    data, network = scenes(100), extractor()
    data = Embedded(data.pixels, embed(network, data.pixels))
    loop = replace(LOOP, images=2_000, batch=20)

    def cosines(config, given):
        learner, _ = learnt(config, loop, given, data)
        found = embed(network, reconstruct(learner.reconstructor, data.vectors))
        return torch.cosine_similarity(torch.from_numpy(found), torch.from_numpy(data.vectors)).mean().item()

    seen = cosines(ReconstructionConfig(TINY, layers=LAYERS, warmup=0.1), network)
    assert 1 - seen < 0.7 * (1 - cosines(PLAIN, None))


def test_errors_in_closed_form():
    ramp = torch.arange(5.0).expand(2, 1, 4, 5)
    assert gradient_error(3 * ramp, ramp).item() == pytest.approx((2 + 0) / 2)  # 2 to the right, 0 down
    assert gradient_error(ramp + 7, ramp).item() == 0
    wanted = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert relative_error(torch.tensor([[3.0, 5.0], [0.0, 0.0]]), wanted).item() == pytest.approx((1 / 5 + 1) / 2, rel=1e-5)


def one_step(config, loop=LOOP, network=None, steps=0):
    data = scenes(8)
    learner = ReconstructionLearner(config, loop, 1, network, vector_scale=data.scale)
    learner.steps = steps
    batch = to_float(torch.from_numpy(data.pixels)), torch.from_numpy(data.vectors)
    return learner, learner.step(batch, torch.Generator().manual_seed(1))


def test_the_loss_is_the_weighted_sum():
    weights = {'pixel_weight': 2.0, 'gradient_weight': 3.0, 'perceptual_weight': 5.0, 'embedding_weight': 7.0}
    config = ReconstructionConfig(TINY, layers=LAYERS, warmup=0.0, normalise=False, **weights)
    _, found = one_step(config, network=extractor())
    total = sum(weight * found[name.removesuffix('_weight')] for name, weight in weights.items())
    assert found['loss'].item() == pytest.approx(total.item(), rel=1e-5)
    _, normalised = one_step(replace(config, normalise=True), network=extractor())
    rest = total - 5 * found['perceptual']
    assert normalised['loss'].item() == pytest.approx((rest + 5).item(), rel=1e-5)  # first time: its own running mean


@pytest.mark.parametrize('pixel', ['l1', 'l2'])
def test_pixels_count_as_asked(pixel):
    config, data = replace(PLAIN, pixel=pixel, gradient_weight=0.0), scenes(8)
    made = build_like(config)(torch.from_numpy(data.vectors))
    apart = made - to_float(torch.from_numpy(data.pixels))
    wanted = apart.abs().mean() if pixel == 'l1' else apart.square().mean()
    assert one_step(config)[1]['loss'].item() == pytest.approx(wanted.item(), rel=1e-5)


def build_like(config):
    """The reconstructor that a learner of seed 1 starts from, in training."""
    data = scenes(8)
    return ReconstructionLearner(config, LOOP, 1, vector_scale=data.scale).reconstructor.train()


def test_layers_weigh_alike_whatever_their_errors():
    learner = ReconstructionLearner(replace(FULL, noise=0), LOOP, 1, extractor(), vector_scale=scenes().scale)
    small, large = (torch.tensor(value, requires_grad=True) for value in (0.01, 5.0))
    for _ in range(3):
        total = learner._weighed(dict(zip(LAYERS, (small, large), strict=True)))
    assert total.item() == pytest.approx(1)
    total.backward()
    assert (small.grad * small).item() == pytest.approx((large.grad * large).item()) == pytest.approx(0.5)


def test_the_warm_up_sees_pixels_alone():
    loop = replace(LOOP, report_every=8)
    _, course = learnt(FULL, loop, extractor())
    first = [number for number, losses in enumerate(course) if 'perceptual' in losses]
    assert first == list(range(6, 20))  # 20 steps, 30 % of them alone
    assert all('embedding' in course[number] for number in first)


def test_the_learning_rate_falls_for_adam_alone():
    for optimiser, rate in (('adam', 1e-3), ('adagrad', 2e-3)):
        learner, _ = one_step(replace(PLAIN, optimiser=optimiser, lr=2e-3), steps=10)  # halfway of 160 pictures
        assert learner.optimiser.param_groups[0]['lr'] == pytest.approx(rate)


def test_a_critic_asks_for_the_texture_that_no_vector_foretells():
    """Stripes whose phase is chance: the likeliest single picture is flat, the believable one is striped."""
    rng = np.random.default_rng(4)
    phase = rng.uniform(0, 2 * np.pi, 1_000)[:, None, None, None]
    stripes = 127.5 + 90 * np.sin(np.arange(16) * np.pi / 2 + phase) * np.ones((1, 1, 16, 1))
    data = Embedded(stripes.astype(np.uint8), rng.standard_normal((1_000, 6)).astype(np.float32))
    fresh, found = rng.standard_normal((32, 6)).astype(np.float32), {}
    for weight in (0.0, 1.0):
        config = replace(PLAIN, realism_weight=weight, critic_width=8, lr=1e-3)
        learner, course = learnt(config, replace(LOOP, images=4_800), data=data)
        found[weight] = reconstruct(learner.reconstructor, fresh).astype(float).std(axis=(2, 3)).mean()
    assert found[0.0] < 15 and found[1.0] > 2 * found[0.0], f'{found}, the originals 64'
    assert 'critic' in course[-1]


def test_the_critic_learns_with_its_hinge_loss_and_the_reconstructor_from_its_opinion():
    data = scenes()
    learner = ReconstructionLearner(replace(PLAIN, realism_weight=0.5, warmup=0.0, critic_width=4), LOOP, 1,
                                    vector_scale=data.scale)
    pixels, vectors = (torch.from_numpy(each) for each in data.batch(np.arange(8)))
    assert learner.critic is not None
    before = copy.deepcopy(learner.critic.state_dict())
    losses = learner.step((to_float(pixels), vectors), torch.Generator())
    assert losses['critic'] > 0 and losses['loss'] != losses['pixel'] + losses['gradient']
    moved = [not torch.equal(before[name], value) for name, value in learner.critic.state_dict().items()]
    assert any(moved)
    plain = ReconstructionLearner(PLAIN, LOOP, 1, vector_scale=data.scale)
    assert plain.critic is None and 'critic' not in plain.step((to_float(pixels), vectors), torch.Generator())


def test_the_callers_network_is_left_alone():
    network = build_extractor(NETWORK, 3)
    before = copy.deepcopy(network.state_dict())
    learnt(FULL, network=network)
    assert network.training and all(weight.requires_grad and weight.grad is None for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_augmentation_makes_the_vectors_anew():
    """A vector that belongs to no picture does no harm where the picture is altered: the network makes it again."""
    config, data = replace(FULL, noise=0.0), scenes(16)
    wrong = Embedded(data.pixels, np.random.default_rng(1).standard_normal((16, 6)).astype(np.float32))
    states = []
    for vectors in (data.vectors, wrong.vectors):
        learner = ReconstructionLearner(config, LOOP, 1, extractor(), vector_scale=data.scale)
        train(LOOP, learner, Embedded(data.pixels, vectors), 5, on_progress=lambda _: False)
        states.append(learner.reconstructor.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_linear_reconstructor_is_solved_for():
    rng = np.random.default_rng(2)
    turn = rng.normal(size=(6, 3 * 8 * 12))
    vectors = (rng.normal(size=(60, 6)) * [1, 5, 0.1, 2, 1, 1] + 3).astype(np.float32)
    planted = np.clip(128 + 12 * (vectors - 3) / [1, 5, 0.1, 2, 1, 1] @ turn, 0, 255).reshape(60, 3, 8, 12)
    config = ReconstructorConfig(6, (8, 12), channels=3, family='linear', last='none')
    found = solved(config, Embedded(np.rint(planted).astype(np.uint8), vectors, np.arange(40)))
    made = reconstruct(found, vectors[40:])
    plain = np.repeat(planted[:40].mean(axis=0)[None], 20, axis=0)
    errors = [np.abs(each - planted[40:]).mean() for each in (made.astype(float), plain)]
    assert errors[0] < 0.2 * errors[1], errors
    theirs = LinearMap.fit(vectors[:40], np.rint(planted[:40]).reshape(40, -1))(vectors[40:]).reshape(20, 3, 8, 12)
    assert np.abs(np.clip(theirs, 0, 255) - made).max() < 1.01, 'rounded to whole gray values'
    assert reconstructor_parameters(config) == sum(weight.numel() for weight in found.parameters())


def test_resume_is_bit_equal(tmp_path):
    """Optimiser, running means, noise and augmentation, through a file."""
    loop, data = replace(LOOP, images=48, snapshot_every=20, batch=4), scenes(13)
    whole, _ = learnt(FULL, loop, extractor(), data)
    first = ReconstructionLearner(FULL, loop, 1, extractor(), vector_scale=data.scale)

    def save_and_stop(progress):
        torch.save(first.state_dict(), tmp_path / 'state.pt')
        return True

    assert train(loop, first, data, 5, on_progress=save_and_stop) == 20
    second = ReconstructionLearner(FULL, loop, 99, extractor(), vector_scale=data.scale)  # other first weights
    second.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    train(loop, second, data, 5, start=20, on_progress=lambda _: False)
    resumed = second.reconstructor.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.reconstructor.state_dict().items())


def test_a_picture_hangs_on_its_vector_alone(tmp_path):
    learner, _ = learnt(PLAIN)
    vectors = scenes(70, seed=2).vectors
    made, order = reconstruct(learner.reconstructor, vectors), np.random.default_rng(0).permutation(70)
    assert np.array_equal(reconstruct(learner.reconstructor, vectors[order]), made[order])
    assert np.array_equal(reconstruct(learner.reconstructor, vectors[3:4]), made[3:4])
    assert learner.reconstructor.training  # its mode is restored
    save_reconstructor(learner.reconstructor, tmp_path)
    loaded = load_reconstructor(tmp_path)
    assert not loaded.training and np.array_equal(reconstruct(loaded, vectors), made)


def test_an_auto_encoder_fits_better_than_a_reconstructor_of_fixed_vectors():
    """Because it may change the vectors: a network of 1 number a picture, which at first tells little."""
    network, pixels = build_extractor(replace(NETWORK, length=1), 3), scenes(60).pixels
    with torch.no_grad():
        for _ in range(30):  # BatchNorm's statistics, as a trained network has them
            network(to_float(torch.from_numpy(pixels)))
    network.eval()
    data = Embedded(pixels, embed(network, pixels))
    config = replace(PLAIN, reconstructor=replace(TINY, length=1), pixel='l2', gradient_weight=0.0, lr=5e-3)
    loop, errors, before = replace(LOOP, images=3_000, batch=20), [], copy.deepcopy(network.state_dict())
    for kind, rate in ((AutoEncoderLearner, {'encoder_lr': 2e-3}), (ReconstructionLearner, {})):
        learner = kind(config, loop, 1, network, vector_scale=data.scale, **rate)
        train(loop, learner, data, 5, on_progress=lambda _: False)
        vectors = embed(getattr(learner, 'encoder', network), pixels)
        errors.append(np.square(reconstruct(learner.reconstructor, vectors).astype(float) - pixels).mean())
    assert errors[0] < 0.9 * errors[1]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_auto_encoder_resumes():
    data, loop = scenes(13), replace(LOOP, images=24, batch=4, snapshot_every=12)
    given = {'network': extractor(), 'vector_scale': data.scale}
    first, second, whole = (AutoEncoderLearner(PLAIN, loop, seed, **given) for seed in (1, 9, 1))
    train(loop, whole, data, 5, on_progress=lambda _: False)
    train(loop, first, data, 5, on_progress=lambda progress: True)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(loop, second, data, 5, start=12, on_progress=lambda _: False)
    assert all(torch.equal(a, b) for a, b in zip(whole.encoder.parameters(), second.encoder.parameters(), strict=True))


@pytest.mark.parametrize(('make', 'part'), [
    (lambda: ReconstructionConfig(TINY, pixel_weight=0.0, gradient_weight=0.0), 'no weight for pixels'),
    (lambda: ReconstructionConfig(TINY, layers=('a', 'a')), 'each layer once'),
    (lambda: ReconstructionConfig(TINY, optimiser='sgd'), 'unknown choice'),
    (lambda: ReconstructionConfig(TINY, warmup=1.0), 'warmup'),
    (lambda: learnt(replace(FULL, layers=('stages.9',)), network=extractor()), r'no layer stages\.9; choose among stag'),
    (lambda: learnt(FULL), 'only answers'),
    (lambda: learnt(replace(PLAIN, reconstructor=replace(TINY, length=7))), 'give reconstructor.length 6'),
    (lambda: Embedded(np.zeros((3, 1, 16, 16), np.uint8), np.zeros((2, 6), np.float32)), 'one vector a picture'),
    (lambda: Embedded(np.zeros((0, 1, 16, 16), np.uint8), np.zeros((0, 6), np.float32)), 'no pictures'),
    (lambda: Embedded(np.zeros((1, 1, 16, 16), np.uint8), np.full((1, 6), np.nan, np.float32)), 'not finite'),
    (lambda: reconstruct(build_reconstructor(TINY), np.zeros((2, 5), np.float32)), 'length 6'),
    (lambda: reconstruct(build_reconstructor(TINY), np.full((2, 6), np.inf, np.float32)), 'not finite'),
])
def test_impossible_trainings_and_questions_are_refused(make, part):
    with pytest.raises(UserError, match=part):
        make()


def test_damaged_reconstructors_are_refused(tmp_path):
    with pytest.raises(UserError, match=r'reconstructor\.json is missing'):
        load_reconstructor(tmp_path)
    save_reconstructor(build_reconstructor(TINY), tmp_path)
    (tmp_path / 'reconstructor.safetensors').write_bytes(b'no weights')
    with pytest.raises(UserError, match='cannot be read'):
        load_reconstructor(tmp_path)
