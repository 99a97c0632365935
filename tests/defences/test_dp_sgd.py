"""DP-SGD by person: the step by hand, the sampling's law, epsilon against Opacus and exact mechanisms, resume."""

import copy
import math

import numpy as np
import pytest
import torch
from opacus.accountants import PRVAccountant, create_accountant
from scipy.optimize import brentq
from scipy.stats import kstest, norm

from fpray.data.images import to_float
from fpray.defences.config import PrivateConfig
from fpray.defences.dp_sgd import PrivateCodecLearner, epsilon
from fpray.errors import UserError
from fpray.models.config import CodecConfig
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import Pictures, numerics, train
from fpray.training.rate_distortion import CodecLearner, measure, rate_distortion

CONFIG = RateDistortionConfig(CodecConfig(n=8, m=12), lmbda=0.01)
PEOPLE = np.array(['d', 'a', 'b', 'a', 'c', 'a', 'b', 'a'])  # 4, 2, 1 and 1 pictures
ALL = {'people': 4, 'pictures': 9}  # rate 1, every picture
UNUSED = torch.zeros(0)


@pytest.fixture(autouse=True)
def _numerics():
    """As in the loop: one thread, and no denormals, which make a fresh codec several times slower."""
    with numerics(1):
        yield


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Ridges of a random direction and distance, (count, 1, 64, 64)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] / 64
    u, v, phase = rng.uniform(3, 10, (3, count, 1, 1))
    return np.rint(127.5 + 120 * np.sin(2 * np.pi * (u * x + v * y) + phase)).astype(np.uint8)[:, None]


def learner(seed: int = 1, config: RateDistortionConfig = CONFIG, **fields) -> PrivateCodecLearner:
    private = PrivateConfig(**(ALL | fields))
    loop = LoopConfig(images=6 * private.batch, batch=private.batch, snapshot_every=0)
    return PrivateCodecLearner(config, private, loop, seed, pictures(8), None, PEOPLE)


def run(one: PrivateCodecLearner, start: int = 0, images: int = 0) -> list[dict[str, float]]:
    """Train by the shared loop; the losses of each step."""
    private, losses = one.private, []
    loop = LoopConfig(images=images or one.loop.images, batch=private.batch, snapshot_every=0, report_every=1)
    train(loop, one, Pictures(one.pixels), 5, start=start, on_progress=lambda p: bool(losses.append(p.losses)))
    return losses


def flat(one: CodecLearner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in one.weights])


def gradient(one: PrivateCodecLearner) -> torch.Tensor:
    """What the first step handed to Adam, read from its first moment, 0.1 of it."""
    return torch.cat([one.optimiser.state[weight]['exp_avg'].flatten() for weight in one.weights]) / 0.1


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_hand(one: PrivateCodecLearner) -> dict[str, list[torch.Tensor]]:
    """Each person's whole gradient without quantisation noise, one `backward` over all of their pictures."""
    found = {}
    for person in sorted(set(PEOPLE)):
        pixels = to_float(torch.from_numpy(one.pixels[person == PEOPLE]))
        codec = copy.deepcopy(one.codec)
        with codec.noise_from(torch.zeros_like):
            rate_distortion(pixels, codec.train()(pixels), CONFIG.lmbda)['loss'].backward()
        found[person] = [w.grad for n, w in codec.named_parameters() if n != 'entropy_bottleneck.quantiles']
    return found


def test_a_step_without_noise_by_hand(monkeypatch):
    """Clip each person as one, add up, divide by the people expected; then plain Adam, in torch's slow version."""
    one = learner(noise=0.0, clip=2.0)
    monkeypatch.setattr(one, '_uniform', lambda values, noise: torch.zeros_like(values))
    gradients = by_hand(one)
    norms = {person: math.sqrt(sum(g.square().sum().item() for g in each)) for person, each in gradients.items()}
    assert min(norms.values()) > 2, 'nobody is clipped'
    before = [weight.detach().clone().contiguous() for weight in one.weights]
    one.step(UNUSED, generator())
    for place, (weight, old) in enumerate(zip(one.weights, before, strict=True)):
        old.grad = sum(gradients[p][place] * 2 / (norms[p] + 1e-6) for p in gradients).contiguous() / 4
        old.requires_grad_()
        first = one.optimiser.state[weight]['exp_avg'] / 0.1
        torch.testing.assert_close(first, old.grad, rtol=1e-3, atol=1e-6)
        torch.optim.Adam([old], CONFIG.lr, fused=False, foreach=False).step()
        # Adam's first step is lr * sign(g): a gradient near 0 may go either way by its last bits
        far = old.grad.abs() > 1e-5
        torch.testing.assert_close(weight.detach()[far], old.detach()[far], rtol=0, atol=2e-5)


@pytest.mark.parametrize('clip', [0.5, 1e6])
def test_one_person_moves_the_sum_by_clip_at_most(clip, monkeypatch):
    """The sensitivity that the noise is made for: a, with half of all pictures, is there or not."""
    sums = []
    for there in (slice(0, None), slice(1, None)):
        one = learner(noise=0.0, clip=clip)
        monkeypatch.setattr(one, '_uniform', lambda values, noise: torch.zeros_like(values))
        one.rows_of = one.rows_of[there]
        one.step(UNUSED, generator())
        sums.append(4 * gradient(one))
    a = math.sqrt(sum(g.square().sum().item() for g in by_hand(learner())['a']))
    assert 0.5 < a < 1e6
    assert (sums[0] - sums[1]).norm().item() == pytest.approx(min(clip, a), rel=1e-3)


def test_noise_is_added_once_to_the_sum():
    """Divided by the people expected, as the sum is: noise * clip / people, alike for all weights, none twice."""
    with_noise, without = (learner(noise=noise, clip=0.5) for noise in (3.0, 0.0))
    for one in (with_noise, without):
        one.step(UNUSED, generator())
    added = ((gradient(with_noise) - gradient(without)) / (3.0 * 0.5 / 4)).numpy()
    assert added.std() == pytest.approx(1, rel=0.03) and abs(added.mean()) < 0.03  # 5 sigma of 20,000 weights
    assert kstest(added, 'norm').pvalue > 1e-3
    assert len(np.unique(added)) > 0.98 * len(added), 'weights share their noise'


def test_people_come_by_independent_coins():
    """Binomial counts, each person alike whatever they own, pictures without replacement; none may come at all."""
    one, noise = learner(people=1, pictures=3), generator()
    draws = [one.draw(noise) for _ in range(4_000)]
    counts = np.bincount([len(each) for each in draws], minlength=5)[:5] / 4_000
    assert counts == pytest.approx([math.comb(4, k) * 0.25**k * 0.75 ** (4 - k) for k in range(5)], abs=0.03)
    rows = [r for each in draws for r in each]
    came = [np.mean([set(r) <= set(mine) for r in rows]) for mine in one.rows_of]
    assert came == pytest.approx([0.25] * 4, abs=0.03)
    assert {len(r) for r in rows} == {1, 2, 3} and all(len(set(r)) == len(r) for r in rows)
    assert set(np.concatenate(rows)) == set(range(8))


def test_a_step_that_nobody_came_to_is_noise_alone():
    one = learner(people=1, pictures=1)
    one.rate, before = 0.0, flat(one)
    assert set(one.step(UNUSED, generator())) == {'aux'}
    assert not torch.equal(flat(one), before)


def test_the_loops_batch_is_not_looked_at():
    first, second = learner(), learner()
    first.step(torch.zeros(4, 1, 64, 64), generator())
    second.step(torch.ones(7, 1, 64, 64), generator())
    assert torch.equal(flat(first), flat(second))


def test_rows_choose_the_pictures():
    """Rows 1 and 3 of a larger set are that set's rows 1 and 3, each of its own person."""
    one = PrivateCodecLearner(CONFIG, PrivateConfig(people=2, pictures=1), LoopConfig(batch=2), 1, pictures(8),
                              np.array([3, 1]), ['x', 'y'])
    assert [each.tolist() for each in one.draw(generator())] == [[3], [1]]


@pytest.mark.parametrize('people', [4, 2])
def test_one_seed_is_one_training_and_a_resume_goes_on_to_it(people):
    """Bit for bit, dropout, coins and noise included."""
    config = RateDistortionConfig(CodecConfig(n=8, m=12, dropout=0.1), weight_decay=0.1, crop=64)
    whole, again = (learner(config=config, people=people, pictures=2) for _ in range(2))
    curve = run(whole)
    assert run(again) == curve
    half = learner(config=config, people=people, pictures=2)
    run(half, images=3 * half.private.batch)
    state = copy.deepcopy(half.state_dict())
    resumed = learner(seed=9, config=config, people=people, pictures=2)
    resumed.load_state_dict(state)
    assert run(resumed, start=3 * half.private.batch) == curve[3:]
    assert torch.equal(flat(whole), flat(again)) and torch.equal(flat(whole), flat(resumed))


def test_it_learns_and_under_huge_noise_it_does_not():
    """One step of Adam is as large with noise alone as with a gradient: only its direction is lost."""
    losses = {}
    for noise in (0.0, 1e4):
        one = learner(noise=noise)
        before = measure(one.codec, one.pixels)
        run(one, images=40 * one.private.batch)
        after = measure(one.codec, one.pixels)
        losses[noise] = [(m.bits / 64**2 + CONFIG.lmbda * m.mse).mean() for m in (before, after)]
    assert losses[0.0][1] < 0.8 * losses[0.0][0]
    assert losses[1e4][1] > 0.98 * losses[1e4][0]


@pytest.mark.parametrize(('noise', 'people', 'steps'), [(1.0, 100, 500), (0.6, 50, 200), (8.0, 16, 3_000)])
def test_epsilon_is_opacus_own(noise, people, steps):
    private = PrivateConfig(noise=noise, people=8, delta=1e-3)
    accountant = create_accountant('rdp')
    for _ in range(steps):
        accountant.step(noise_multiplier=noise, sample_rate=8 / people)
    assert epsilon(private, people, steps) == accountant.get_epsilon(1e-3)


@pytest.mark.filterwarnings('ignore:Optimal order')  # of the first guess that PRV makes by RDP
def test_epsilon_bounds_the_tighter_accountant():
    """Numerical composition (Gopi et al. 2021) finds less, and not much less."""
    accountant = PRVAccountant()
    accountant.history = [(4.0, 0.08, 500)]
    found, tight = epsilon(PrivateConfig(noise=4.0, delta=1e-3), 100, 500), accountant.get_epsilon(1e-3)
    assert 0.75 * found < tight < found


def test_epsilon_bounds_the_exact_gaussian_mechanism():
    """With everybody in every step, T steps are one Gaussian of noise / sqrt(T) (Balle & Wang 2018, theorem 8)."""
    sigma = 20 / math.sqrt(100)
    exact = brentq(lambda e: norm.cdf(0.5 / sigma - e * sigma) - math.exp(e) * norm.cdf(-0.5 / sigma - e * sigma)
                   - 1e-3, 0, 10)
    found = epsilon(PrivateConfig(noise=20.0, people=30, delta=1e-3), 30, 100)
    assert exact < found < 1.2 * exact


def test_epsilon_at_its_ends_and_in_order():
    weak, strong = (PrivateConfig(noise=noise, delta=1e-3) for noise in (0.5, 2.0))
    assert epsilon(PrivateConfig(noise=0.0, delta=1e-3), 50, 10) == math.inf
    assert epsilon(strong, 50, 0) == 0
    assert epsilon(strong, 100, 50) < epsilon(strong, 50, 50) < epsilon(strong, 50, 500) < epsilon(weak, 50, 500)
    assert 1_000 < epsilon(PrivateConfig(noise=0.1, delta=1e-3), 50, 500) < math.inf


def test_what_cannot_be_private_is_refused():
    with pytest.raises(UserError, match='delta'):
        epsilon(PrivateConfig(delta=0.01), 100, 10)
    with pytest.raises(UserError, match='4 people'):
        learner(people=5)
    with pytest.raises(UserError, match='one worker'):
        PrivateCodecLearner(CONFIG, PrivateConfig(people=2, pictures=2), LoopConfig(batch=4, workers=2), 1, pictures(8),
                            None, PEOPLE)
    with pytest.raises(ValueError, match='expected to see 4'):
        PrivateCodecLearner(CONFIG, PrivateConfig(people=2, pictures=2), LoopConfig(batch=8), 1, pictures(8), None, PEOPLE)
    with pytest.raises(ValueError, match='7 people for 8 rows'):
        PrivateCodecLearner(CONFIG, PrivateConfig(people=2, pictures=2), LoopConfig(batch=4), 1, pictures(8), None,
                            PEOPLE[1:])


def test_the_quantiles_follow_the_weights_alone():
    """Their gradient is 0 in the loss of pictures, and the densities' is 0 in theirs: no noise is owed, none spent."""
    one = learner()
    quantiles = one.codec.entropy_bottleneck.quantiles
    pixels = to_float(torch.from_numpy(one.pixels))
    one.codec.train()
    loss = rate_distortion(pixels, one.codec(pixels), CONFIG.lmbda)['loss']
    (of_pictures,) = torch.autograd.grad(loss, [quantiles], allow_unused=True)
    of_quantiles = torch.autograd.grad(one.codec.aux_loss(), one.weights, allow_unused=True)
    assert of_pictures is None or not of_pictures.any()
    assert not any(gradient is not None and gradient.any() for gradient in of_quantiles)
    assert all(weight is not quantiles for group in one.private_optimiser.param_groups for weight in group['params'])
