"""Every defence keeps the contract, changes what it says and nothing else; the twin's choice by hand."""

from dataclasses import replace

import pytest

from fpray.defences import DEFENCES, load_defence
from fpray.defences.config import PrivateConfig
from fpray.defences.training import Privately, Regularised, Shorter
from fpray.defences.twin import choose
from fpray.errors import UserError
from fpray.metrics.rate import Rate
from fpray.models.config import CodecConfig
from fpray.training.config import LoopConfig, RateDistortionConfig

CONFIG, LOOP = RateDistortionConfig(CodecConfig(n=8, m=12), lmbda=0.003), LoopConfig(images=8_000, batch=16)


def rate(estimate: float | None, upper: float | None = None, chance: float | None = 0.5) -> Rate:
    return Rate(estimate, (None, upper), chance, n=40, n_people=20)


@pytest.mark.parametrize('name', DEFENCES)
def test_every_defence_keeps_the_contract(name):
    defence = load_defence(name)
    assert defence.name == name and defence.text and defence.source
    assert defence.data in ('private', 'samples', 'stand-in')
    config, loop = defence.change(CONFIG, LOOP)
    assert (config.lmbda, config.codec.family, config.codec.n) == (0.003, 'mean-scale', 8), 'another point of the curve'
    assert loop.images <= LOOP.images and loop.batch <= loop.images


def test_what_each_changes():
    assert load_defence('twin').change(CONFIG, LOOP) == load_defence('stand-in').change(CONFIG, LOOP) == (CONFIG, LOOP)
    assert load_defence('early-stop').change(CONFIG, LOOP) == (CONFIG, replace(LOOP, images=2_000))
    config, loop = load_defence('regularised').change(CONFIG, LOOP)
    assert loop == LOOP and config.codec.dropout > 0 and config.weight_decay > 0
    config, loop = load_defence('dp-sgd').change(CONFIG, LOOP)
    assert config == CONFIG and loop == replace(LOOP, batch=32)  # 8 people, 4 pictures each


def test_strengths_can_be_chosen():
    weaker = replace(load_defence('early-stop'), change=Shorter(0.001))
    assert weaker.change(CONFIG, LOOP)[1].images == LOOP.batch, 'less than one step'
    config, _ = Regularised(0.25, 0.5)(CONFIG, LOOP)
    assert (config.codec.dropout, config.weight_decay) == (0.25, 0.5)
    private = PrivateConfig(noise=2.0, people=3, pictures=5)
    defence = replace(load_defence('dp-sgd'), change=Privately(private))
    assert defence.private == private and defence.change(CONFIG, LOOP)[1].batch == 15


def test_one_defence_alone_wants_the_private_learner():
    assert [name for name in DEFENCES if load_defence(name).private] == ['dp-sgd']


@pytest.mark.parametrize('bad', [
    lambda: Shorter(0.0), lambda: Shorter(1.0), lambda: PrivateConfig(noise=-1.0), lambda: PrivateConfig(clip=0.0),
    lambda: PrivateConfig(noise=float('nan')), lambda: PrivateConfig(people=0), lambda: PrivateConfig(pictures=0),
    lambda: PrivateConfig(delta=0.0), lambda: PrivateConfig(delta=1.0), lambda: PrivateConfig(people=8).rate(7),
    lambda: load_defence('hope'), lambda: Regularised(dropout=1.5)(CONFIG, LOOP),
    lambda: Regularised(weight_decay=-1.0)(CONFIG, LOOP),
])  # fmt: skip
def test_bad_values_are_refused(bad):
    with pytest.raises(UserError):
        bad()


def test_the_least_leaking_candidate_is_chosen():
    leaks = {'victim-400': rate(0.55, 0.6), 'victim-100': rate(0.8, 0.9), 'victim-200': rate(0.53, 0.7)}
    assert choose(leaks) == choose(dict(reversed(leaks.items()))) == 'victim-200'


def test_luck_below_chance_is_no_protection():
    """0.40 and 0.48 are both no leak; the surer of the two wins. Without a chance the estimates count as they are."""
    assert choose({'lucky': rate(0.40, 0.60), 'sure': rate(0.48, 0.52)}) == 'sure'
    assert choose({'lucky': rate(0.40, 0.60, None), 'sure': rate(0.48, 0.52, None)}) == 'lucky'


def test_ties_go_to_the_name_and_the_unmeasured_to_nobody():
    assert choose({'b': rate(0.6, 0.7), 'a': rate(0.6, 0.7), 'c': rate(None)}) == 'a'
    assert choose({'a': rate(0.6), 'b': rate(0.6, 0.7)}) == 'b', 'no upper bound is no promise'
    with pytest.raises(ValueError):
        choose({'c': rate(None)})
