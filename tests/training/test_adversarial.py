"""Losses in closed form, the step's parts against autograd, planted overfitting, resume and scoring to the bit."""

import copy
import io
import math
import shutil

import numpy as np
import pytest
import torch

from fpray.errors import UserError
from fpray.models.config import DiscriminatorConfig, GeneratorConfig, ScorerConfig
from fpray.models.gan import build_discriminator, build_generator
from fpray.models.scorer import build_scorer
from fpray.training import adversarial
from fpray.training.adversarial import GanLearner, discriminator_loss, generator_loss, sample, score
from fpray.training.config import LOSSES, GanConfig, LoopConfig
from fpray.training.loop import Pictures, train

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
SIDE = 16


def tiny(norm='batch', **fields) -> GanConfig:
    fields.setdefault('discriminator', DiscriminatorConfig(image=(SIDE, SIDE), widths=(8, 16), norm=norm))
    return GanConfig(GeneratorConfig(image=(SIDE, SIDE), noise=8, widths=(8, 8)), **fields)


def pictures(count: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, side, side), dtype=np.uint8)


def batch_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ('loss', 'smoothing', 'expected'),
    [
        ('bce', 0.0, (softplus(-2) + softplus(1) + softplus(0.5) + softplus(-3)) / 2),
        # label 0.8: 0.8 softplus(-x) + 0.2 softplus(x) = softplus(-x) + 0.2 x
        ('bce', 0.2, (softplus(-2) + softplus(1) + 0.2 * (2 - 1) + softplus(0.5) + softplus(-3)) / 2),
        ('lsgan', 0.0, ((2 - 1) ** 2 + (-1 - 1) ** 2 + 0.5**2 + 3**2) / 4),
        ('lsgan', 0.2, ((2 - 0.8) ** 2 + (-1 - 0.8) ** 2 + 0.5**2 + 3**2) / 4),
        ('wgan', 0.0, (0.5 - 3) / 2 - (2 - 1) / 2),
        ('wgan-gp', 0.0, (0.5 - 3) / 2 - (2 - 1) / 2),
        ('hinge', 0.0, (0 + 2) / 2 + (1.5 + 0) / 2),
    ],
)
def test_discriminator_losses_in_closed_form(loss, smoothing, expected):
    assert discriminator_loss(loss, REAL, FAKE, smoothing).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ('loss', 'expected'),
    [
        ('bce', (softplus(-0.5) + softplus(3)) / 2),
        ('lsgan', ((0.5 - 1) ** 2 + (-3 - 1) ** 2) / 4),
        ('wgan', 2.5 / 2),
        ('wgan-gp', 2.5 / 2),
        ('hinge', 2.5 / 2),
    ],
)
def test_generator_losses_in_closed_form(loss, expected):
    assert generator_loss(loss, FAKE).item() == pytest.approx(expected, abs=1e-6)


def test_gradient_penalty_of_a_linear_critic():
    """f(x) = <w, x> has gradient w everywhere: the penalty is (|w| - 1)^2."""
    weight = torch.full((1, 2, 2), 1.5)
    value = adversarial.gradient_penalty(
        lambda x: (x * weight).sum(dim=(1, 2, 3)),
        torch.randn(3, 1, 2, 2),
        torch.randn(3, 1, 2, 2),
        torch.rand(3, 1, 1, 1),
    )
    assert value.item() == pytest.approx((3 - 1) ** 2, abs=1e-5)


def test_gradient_penalty_looks_between_real_and_generated():
    """f(x) = x^2 / 2 has gradient x: at 3/4 of the way from 0 to 4 it is 3."""
    value = adversarial.gradient_penalty(
        lambda x: x.square().sum(dim=(1, 2, 3)) / 2,
        torch.full((1, 1, 1, 1), 4.0),
        torch.zeros(1, 1, 1, 1),
        torch.full((1, 1, 1, 1), 0.75),
    )
    assert value.item() == pytest.approx((3 - 1) ** 2)


def test_added_terms_by_hand():
    picture = torch.tensor([[[[0.0, 1.0], [3.0, 1.0]]]])  # down: 3, 0; right: 1, 2
    assert adversarial.total_variation(picture).item() == pytest.approx(1.5 + 1.5)
    assert adversarial.feature_distance(torch.tensor([[0.0, 0.0], [2.0, 4.0]]), torch.zeros(3, 2)).item() == 2.5
    fingers = torch.tensor([[3.0, 0.0], [0.0, 2.0], [5.0, 0.0]])  # cosines 0, 1, 0
    assert adversarial.identity_similarity(fingers).item() == pytest.approx(1 / 3)


def test_simultaneous_and_alternating_steps_update_the_discriminator_alike():
    learners = [GanLearner(tiny(update=update), LoopConfig(), 1) for update in ('simultaneous', 'alternating')]
    losses = [learner.step(batch_of(4), noise()) for learner in learners]
    for name in ('loss_d', 'real', 'fake'):
        torch.testing.assert_close(losses[0][name], losses[1][name], rtol=1e-6, atol=1e-6)
    states = [learner.discriminator.state_dict() for learner in learners]
    for name, value in states[0].items():
        if 'num_batches' not in name:  # torch counts passes, and the alternating generator makes one more
            torch.testing.assert_close(value, states[1][name], rtol=1e-5, atol=1e-6)
    assert losses[0]['loss_g'] != losses[1]['loss_g']  # before and after the discriminator's update


@pytest.mark.parametrize('update', ['simultaneous', 'alternating'])
def test_generator_gradient_is_that_of_the_whole_loss(update):
    """The weighted sum of all terms through the discriminator, differentiated in one piece by autograd."""
    scorer = build_scorer(ScorerConfig(image=(SIDE, SIDE), widths=(4, 8)), seed=2).eval().requires_grad_(False)
    config = tiny(update=update, feature_matching=3.0, total_variation=0.5, identity=2.0)
    learner = GanLearner(config, LoopConfig(), 1, identity=scorer)
    generator, discriminator = copy.deepcopy(learner.generator), copy.deepcopy(learner.discriminator)
    real = batch_of(4)
    losses = learner.step(real, noise())
    if update == 'alternating':
        discriminator.load_state_dict(learner.discriminator.state_dict())
    fake = generator(torch.randn(4, 8, generator=noise()))
    features_real, features_fake = discriminator.features(real).detach(), discriminator.features(fake)
    whole = (
        generator_loss('bce', discriminator.judge(features_fake))
        + 3.0 * (features_real.mean(0) - features_fake.mean(0)).square().mean()
        + 0.5 * adversarial.total_variation(fake)
        + 2.0 * adversarial.identity_similarity(scorer.features(fake))
    )
    whole.backward()
    for weight, expected in zip(learner.generator.parameters(), generator.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, expected.grad, rtol=1e-3, atol=1e-6)
    parts = (
        losses['loss_g'] + 3 * losses['feature_matching'] + 0.5 * losses['total_variation'] + 2 * losses['identity']
    )
    torch.testing.assert_close(parts, whole.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('update', ['simultaneous', 'alternating'])
def test_every_loss_trains(loss, update):
    config = tiny('group' if loss == 'wgan-gp' else 'batch', loss=loss, update=update, lr_d=2e-3, lr_g=1e-5, clip=0.2)
    learner = GanLearner(config, LoopConfig(), 1)
    before = learner.generator.dense.weight.clone()
    learner.step(batch_of(8), noise())  # wgan clips the first weights here
    course = [learner.step(batch_of(8), noise(seed)) for seed in range(12)]
    first, last = (one['loss_d'] + config.penalty * one.get('penalty', 0) for one in (course[0], course[-1]))
    assert last < first and all(value.isfinite() for value in course[-1].values())
    assert not torch.equal(before, learner.generator.dense.weight)
    if loss == 'wgan':
        assert max(weight.abs().max().item() for weight in learner.discriminator.parameters()) <= 0.2 + 1e-6
    assert ('penalty' in course[-1]) == (loss == 'wgan-gp')


def test_generator_waits_for_its_discriminator_steps():
    learner = GanLearner(tiny(d_steps=3), LoopConfig(), 1)
    before = learner.generator.dense.weight.clone()
    names = [sorted(learner.step(batch_of(4, seed), noise(seed))) for seed in range(3)]
    assert names == [['fake', 'loss_d', 'real']] * 2 + [['fake', 'loss_d', 'loss_g', 'real']]
    assert not torch.equal(before, learner.generator.dense.weight)
    learner.step(batch_of(4), noise())
    moved = learner.generator.dense.weight.clone()
    learner.step(batch_of(4), noise())
    assert torch.equal(moved, learner.generator.dense.weight)


def test_moving_average_in_closed_form():
    learner = GanLearner(tiny(ema=0.75), LoopConfig(), 1)
    expected = learner.generator.dense.weight.detach().clone()
    for seed in range(3):
        learner.step(batch_of(4, seed), noise(seed))
        expected = 0.75 * expected + 0.25 * learner.generator.dense.weight.detach()
    assert learner.sampler is learner.average
    torch.testing.assert_close(learner.sampler.dense.weight, expected, rtol=0, atol=1e-7)
    running = [name for name, _ in learner.generator.named_buffers() if name.endswith('running_mean')]
    assert running and all(
        torch.equal(learner.sampler.get_buffer(name), learner.generator.get_buffer(name)) for name in running
    )


def test_holding_the_discriminator_still_leaves_no_trace():
    learner = GanLearner(tiny(update='alternating'), LoopConfig(), 1)
    learner.step(batch_of(4), noise())
    assert all(weight.requires_grad for weight in learner.discriminator.parameters())
    norms = [module for module in learner.discriminator.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == [0.1, 0.1]
    fresh = GanLearner(tiny(update='alternating'), LoopConfig(), 1)
    reference = fresh.discriminator  # its running means: one batch of real pictures, one of generated ones
    fake = fresh.generator(torch.randn(4, 8, generator=noise()))
    reference(batch_of(4)), reference(fake)
    own = [module for module in reference.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(norms[0].running_mean, own[0].running_mean, rtol=1e-5, atol=1e-6)


def test_mixed_precision_stays_near():
    plain, mixed = (GanLearner(tiny(), LoopConfig(amp=amp), 1) for amp in ('no', 'bf16'))
    losses = [learner.step(batch_of(8), noise()) for learner in (plain, mixed)]
    assert losses[0]['loss_d'] != losses[1]['loss_d']
    torch.testing.assert_close(losses[0]['loss_d'], losses[1]['loss_d'], rtol=0.02, atol=0.02)
    assert {weight.dtype for weight in mixed.discriminator.parameters()} == {torch.float32}


def test_resume_is_bit_equal(tmp_path):
    """Dropout, BatchNorm, minibatch discrimination, average and several discriminator steps, through a file."""
    network = DiscriminatorConfig(image=(SIDE, SIDE), widths=(8, 16), dropout=0.4, minibatch=3)
    config = tiny(discriminator=network, ema=0.9, d_steps=2, smoothing=0.2)
    loop = LoopConfig(images=60, batch=4, snapshot_every=28)
    data = Pictures(pictures(13))
    whole = GanLearner(config, loop, 1)
    train(loop, whole, data, 5, on_progress=lambda _: False)
    first = GanLearner(config, loop, 1)

    def save_and_stop(progress):
        torch.save(first.state_dict(), tmp_path / 'state.pt')
        return True

    seen = train(loop, first, data, 5, on_progress=save_and_stop)
    assert seen == 28
    second = GanLearner(config, loop, 99)  # other first weights: all must come from the file
    second.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    train(loop, second, data, 5, start=seen, on_progress=lambda _: False)
    for a, b in zip(leaves(whole.state_dict()), leaves(second.state_dict()), strict=True):
        assert torch.equal(a, b)
    assert np.array_equal(sample(whole.sampler, 3, 0), sample(second.sampler, 3, 0))


def leaves(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict | list | tuple):
        parts = value.values() if isinstance(value, dict) else value
        return [leaf for part in parts for leaf in leaves(part)]
    return [torch.tensor(value)] if isinstance(value, int | float) else []


def test_planted_overfit_is_found_by_the_discriminator():
    """Trained long on eight noise pictures, the discriminator ranks them above eight others of the same kind."""
    members, others = pictures(8, seed=1), pictures(8, seed=2)
    loop = LoopConfig(images=480, batch=8, snapshot_every=0)
    learner = GanLearner(tiny(lr_d=1e-3), loop, 1)
    fresh = score(learner.discriminator, np.concatenate([members, others]), batch=16)
    train(loop, learner, Pictures(members), 1, on_progress=lambda _: False)
    scores = score(learner.discriminator, np.concatenate([members, others]), batch=16)

    def auc(values):
        return np.mean(values[:8, None] > values[None, 8:])

    assert auc(scores) > 0.9
    assert auc(fresh) < 0.9


def test_samples_hang_on_seed_and_index_alone():
    generator = build_generator(GeneratorConfig(image=(SIDE, SIDE), noise=8, widths=(8, 8)), seed=1)
    generator(torch.randn(32, 8))  # running statistics away from 0 and 1
    long = sample(generator, 21, seed=4, batch=8)
    assert long.shape == (21, 1, SIDE, SIDE) and long.dtype == np.uint8
    assert np.array_equal(sample(generator, 5, seed=4, batch=8), long[:5])
    assert np.abs(sample(generator, 21, seed=4, batch=5).astype(int) - long).max() <= 1
    assert not np.array_equal(sample(generator, 5, seed=5, batch=8), long[:5])
    assert len({picture.tobytes() for picture in long}) == 21
    assert generator.training  # its mode is restored


def test_a_diverged_generator_is_said():
    generator = build_generator(GeneratorConfig(image=(SIDE, SIDE), noise=8, widths=(8, 8)))
    generator.dense.bias.data[0] = math.nan
    with pytest.raises(UserError, match='diverged'):
        sample(generator, 2, 0)


@pytest.mark.parametrize(
    'network',
    [
        DiscriminatorConfig(widths=(32, 64, 128, 128)),
        DiscriminatorConfig(widths=(8, 16), norm='group', minibatch=4, kernel=3),
    ],
)
def test_scores_hang_on_the_picture_alone(network):
    discriminator = build_discriminator(network, seed=1)
    discriminator(torch.randn(16, 1, 64, 64))
    query = pictures(45, side=64)
    scores = score(discriminator, query, batch=16)
    assert scores.shape == (45,) and scores.dtype == np.float64
    order = np.random.default_rng(1).permutation(45)
    assert np.array_equal(score(discriminator, query[order], batch=16), scores[order])
    assert np.array_equal(score(discriminator, query[7:8], batch=16), scores[7:8])
    for batch in (1, 7, 64):
        assert np.abs(score(discriminator, query, batch=batch) - scores).max() < 1e-5 * max(1, np.abs(scores).max())
    assert discriminator.training


def test_scores_of_loaded_weights_are_the_learners():
    learner = GanLearner(tiny(), LoopConfig(), 1)
    learner.step(batch_of(8), noise())
    buffer = io.BytesIO()
    torch.save(learner.discriminator.state_dict(), buffer)
    buffer.seek(0)
    loaded = build_discriminator(learner.config.discriminator)
    loaded.load_state_dict(torch.load(buffer, weights_only=True))
    assert np.array_equal(score(loaded, pictures(9)), score(learner.discriminator, pictures(9)))


@pytest.mark.parametrize(
    ('make', 'part'),
    [
        (lambda: tiny(loss='hinge', smoothing=0.1), 'no labels to smooth'),
        (lambda: tiny(loss='wgan-gp'), 'group or none'),
        (lambda: GanConfig(GeneratorConfig(image=(32, 32))), 'same pictures'),
        (lambda: tiny(lr_g=0.0), 'above 0'),
        (lambda: tiny(ema=1.0), 'below 1'),
        (lambda: GanLearner(tiny(identity=1.0), LoopConfig(), 1), 'identity network'),
    ],
)
def test_impossible_trainings_are_refused(make, part):
    with pytest.raises(UserError) as fault:
        make()
    assert part in str(fault.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='torch.compile needs a C++ compiler')
def test_compiled_steps_are_the_plain_steps():
    plain, compiled = (GanLearner(tiny(), LoopConfig(compile=chosen), 1) for chosen in (False, True))
    for seed in range(2):
        losses = [learner.step(batch_of(8, seed), noise(seed)) for learner in (plain, compiled)]
        assert losses[0].keys() == losses[1].keys()
        for name, value in losses[0].items():
            torch.testing.assert_close(losses[1][name], value, rtol=1e-4, atol=1e-5)
    assert plain.state_dict()['generator'].keys() == compiled.state_dict()['generator'].keys()
