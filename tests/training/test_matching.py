"""The stopping rule on traces made by hand, and the matcher on small networks."""

import math

import numpy as np
import pytest
import torch

from fpray.errors import UserError
from fpray.metrics.generative import frechet_distance, inception_score
from fpray.models.config import DiscriminatorConfig, GeneratorConfig, ScorerConfig
from fpray.models.gan import build_discriminator, build_generator
from fpray.models.scorer import build_scorer
from fpray.training.adversarial import sample
from fpray.training.classifier import predict
from fpray.training.config import MatchingConfig
from fpray.training.loop import derive
from fpray.training.matching import Evaluation, Match, Matcher, Target, find_match, measure, other_rules

VICTIM = 2.0


def trace_of(*scores: float, frechet: tuple[float, ...] = ()) -> list[Evaluation]:
    distances = frechet or tuple(range(len(scores), 0, -1))
    return [
        Evaluation(100 * (number + 1), score, 0.1, distances[number], abs(score - VICTIM))
        for number, score in enumerate(scores)
    ]


def test_three_in_a_row_within_the_band():
    trace = trace_of(1.2, 1.95, 2.05, 1.92, 2.0)
    assert find_match(trace, 0.1, 3) == Match(400, True, pytest.approx(0.08))


def test_a_first_noisy_crossing_is_no_stop():
    trace = trace_of(1.2, 2.0, 1.4, 1.95, 1.96, 1.6, 1.93, 1.94, 1.95)
    assert find_match(trace[:3], 0.1, 3) == Match(200, False, 0.0)  # so far the closest, but not reached
    assert find_match(trace[:8], 0.1, 3) == Match(200, False, 0.0)  # two in a row are not three
    assert find_match(trace, 0.1, 3) == Match(900, True, pytest.approx(0.05))


def test_an_overshoot_does_not_count():
    trace = trace_of(1.95, 2.0, 2.3, 2.4, 2.5)
    assert find_match(trace, 0.1, 3) == Match(200, False, 0.0)


def test_the_rule_looks_no_further_than_its_stop():
    trace = trace_of(1.95, 1.95, 1.95, 2.0, 2.0)
    assert find_match(trace, 0.1, 3) == Match(300, True, pytest.approx(0.05))


def test_the_edge_of_the_band_belongs_to_it_and_patience_is_a_field():
    trace = trace_of(1.75, 1.75)
    assert find_match(trace, 0.25, 2) == Match(200, True, 0.25)
    assert find_match(trace, 0.2499, 2) == Match(100, False, 0.25)  # the earliest of equals
    assert find_match(trace, 0.25, 1) == Match(100, True, 0.25)
    assert find_match([], 0.1, 3) is None


def test_a_diverged_evaluation_is_neither_close_nor_near():
    lost = Evaluation(300, math.nan, math.nan, math.inf, math.inf)
    trace = [*trace_of(1.0, 1.5), lost]
    assert find_match(trace, 0.1, 3) == Match(200, False, 0.5)
    assert other_rules(trace, 0.1)['nearest_frechet'] == 200


def test_other_rules():
    trace = trace_of(1.2, 1.95, 1.4, 2.01, 1.5, frechet=(9.0, 5.0, 3.0, 4.0, 8.0))
    assert other_rules(trace, 0.1) == {
        'first': 100,
        'first_crossing': 200,
        'closest': 400,
        'last': 500,
        'nearest_frechet': 300,
    }
    assert 'first_crossing' not in other_rules(trace_of(1.0, 1.1), 0.1)
    assert other_rules([], 0.1) == {}


SIDE = 16
CONFIG = MatchingConfig(samples=40, splits=4, batch=16)


@pytest.fixture(scope='module')
def networks():
    generator = build_generator(GeneratorConfig(image=(SIDE, SIDE), noise=8, widths=(8, 8)), seed=1)
    generator(torch.randn(64, 8, generator=torch.Generator().manual_seed(1)))
    discriminator = build_discriminator(DiscriminatorConfig(image=(SIDE, SIDE), widths=(4, 8)), seed=2)
    scorer = build_scorer(ScorerConfig(image=(SIDE, SIDE), classes=4, widths=(8, 8)), seed=3)
    scorer.head.weight.data *= 200  # an untrained network is sure of nothing: let it be of something
    return generator, discriminator, scorer


def matcher_for(networks, target: Target | None = None, config: MatchingConfig = CONFIG, **options) -> Matcher:
    scorer = networks[2]
    return Matcher(config, target or measure(scorer, sample(networks[0], 40, seed=9), config), scorer, 7, **options)


def test_an_evaluation_is_the_metrics_on_fresh_samples(networks):
    generator, discriminator, scorer = networks
    matcher = matcher_for(networks)
    matcher.observe(320, generator, discriminator)
    logits, features = predict(scorer, sample(generator, 40, derive(7, 320), 16), 16)
    mean, std = inception_score(logits, 4)
    expected = Evaluation(
        320, mean, std, frechet_distance(features, matcher.target.features), abs(mean - matcher.target.is_mean)
    )
    assert matcher.trace == [expected] and mean > 1.01
    matcher.observe(640, generator, discriminator)
    assert matcher.trace[1].is_mean != mean  # new samples for each evaluation


def test_it_keeps_the_discriminator_of_the_stopping_point(networks):
    generator, discriminator, _ = networks
    kept = {}
    target = matcher_for(networks).target
    matcher = matcher_for(networks, Target(target.is_mean, 1e-9, target.features), keep=kept.__setitem__)
    for images in (100, 200, 300, 400):
        discriminator.head.bias.data.fill_(images)
        assert not matcher.observe(images, generator, discriminator)  # the band is too narrow to be reached
    best = min(matcher.trace, key=lambda one: one.gap)
    assert matcher.match == Match(best.images_seen, False, best.gap)
    assert matcher.state is not None and matcher.state['head.bias'].item() == best.images_seen
    assert {images: state['head.bias'].item() for images, state in kept.items()} == {
        i: i for i in (100, 200, 300, 400)
    }


@pytest.mark.parametrize('stop', [True, False])
def test_it_stops_once_reached_or_goes_on_to_be_judged(networks, stop):
    generator, discriminator, _ = networks
    config = MatchingConfig(samples=40, splits=4, batch=16, band=50.0, stop=stop)  # every evaluation is within
    matcher = matcher_for(networks, config=config)
    answers = []
    for images in (100, 200, 300, 400):
        discriminator.head.bias.data.fill_(images)
        answers.append(matcher.observe(images, generator, discriminator))
    assert answers == [False, False, stop, stop]
    assert matcher.match is not None and (matcher.match.images_seen, matcher.match.reached) == (300, True)
    assert matcher.state is not None and matcher.state['head.bias'].item() == 300


def test_a_resumed_matcher_goes_on(networks, tmp_path):
    generator, discriminator, _ = networks
    whole, first, second = matcher_for(networks), matcher_for(networks), matcher_for(networks)
    for images in (100, 200, 300):
        whole.observe(images, generator, discriminator)
    first.observe(100, generator, discriminator)
    torch.save(first.state_dict(), tmp_path / 'matcher.pt')
    second.load_state_dict(torch.load(tmp_path / 'matcher.pt', weights_only=True))
    for images in (200, 300):
        second.observe(images, generator, discriminator)
    assert second.trace == whole.trace and second.match == whole.match
    assert whole.state is not None and second.state is not None
    assert all(torch.equal(whole.state[name], second.state[name]) for name in whole.state)


def test_it_evaluates_at_the_snapshots_that_are_due(networks):
    generator, discriminator, _ = networks
    matcher = matcher_for(networks, config=MatchingConfig(evaluate_every=250, samples=40, splits=4, batch=16))
    for images in range(100, 900, 100):
        matcher.observe(images, generator, discriminator)
    assert [one.images_seen for one in matcher.trace] == [300, 600]
    matcher.observe(600, generator, discriminator)  # a resumed loop's snapshot, seen before
    assert len(matcher.trace) == 2


def test_a_diverged_shadow_ends_and_what_it_had_counts(networks):
    generator, discriminator, _ = networks
    matcher = matcher_for(networks)
    matcher.observe(100, generator, discriminator)
    broken = build_generator(generator.config)
    broken.dense.weight.data.fill_(np.inf)
    assert matcher.observe(200, broken, discriminator)
    assert matcher.match is not None and matcher.match.images_seen == 100


def test_counts_must_be_equal(networks):
    with pytest.raises(UserError, match=r'matching\.samples is 40'):
        measure(networks[2], sample(networks[0], 39, 1), CONFIG)
    more = sample(networks[0], 50, 1)
    target = measure(networks[2], more, CONFIG)
    logits, features = predict(networks[2], more[:40], 16)
    assert (target.is_mean, target.is_std) == inception_score(logits, 4)
    assert np.array_equal(target.features, features)
    with pytest.raises(UserError, match='two a split'):
        MatchingConfig(samples=10, splits=6)
