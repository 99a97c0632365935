"""The plan of a codec's audit: a graph with keys that hang on what they should, and on nothing else."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fpray.errors import UserError
from fpray.store import Stage
from fpray.studies.codec import headline_of, plan, targets
from fpray.studies.codec_analysis import moved, undefended
from fpray.studies.codec_config import PRESETS
from tests.studies import laying
from tests.studies.laying import assert_graph, with_part, write_set

SMOKE = replace(PRESETS['smoke'](), seed=5)
DESK = replace(PRESETS['desk'](), seed=5)
changed = partial(laying.changed, plan)


@pytest.mark.parametrize('name', PRESETS)
def test_a_plan_is_a_graph_that_ends_in_the_numbers(name):
    assert_graph(plan(PRESETS[name]()))


def test_every_lambda_size_control_and_defence_is_attacked():
    goals = {goal.name: goal for goal in targets(DESK)}
    assert headline_of(DESK) == '0.01' and next(iter(goals)) == '0.01'
    assert {'0.003', '0.001', '0.0003', '0.01-80', 'placebo', 'rehearsal'} <= set(goals)
    assert {goal.defence for goal in goals.values()} == {'', 'twin', 'stand-in', 'early-stop', 'regularised', 'dp-sgd'}
    assert goals['placebo'].positives == 'members' and goals['placebo'].group == 'placebo'
    frontier = targets(PRESETS['frontier']())
    assert sum(goal.defence == 'twin' and goal.role == 'defence' for goal in frontier) == 3 * 4, 'victims, lambdas'
    assert sum(goal.defence == 'twin' and goal.group == 'placebo' for goal in frontier) == 3, 'a placebo a victim'
    assert sum(goal.name.startswith('none') for goal in frontier) == 2 * 4, 'the undefended codec on as many deals'


def test_what_an_attack_learns_from_is_the_reference_peoples_alone():
    for stage in plan(DESK).stages:
        if stage.family in ('reference', 'shadow'):
            assert stage.config['group'] == 'reference' and stage.config['half'] is not None
            assert set(stage.inputs) == {'pictures', 'people'}


def test_a_change_trains_again_only_what_it_changes():
    def trained(names: set[str]) -> set[str]:
        networks = ('victim', 'reference', 'shadow', 'gan', 'gan-shadow', 'gan-placebo', 'scorer')
        return {name for name in names if name.split('/')[0] in networks}

    assert trained(changed(DESK, with_part(DESK, 'defences', dropout=0.3))) == {
        'victim/regularised-0.01', 'victim/regularised-placebo-0.01'}
    assert trained(changed(DESK, with_part(DESK, 'defences', stop_at=0.5))) == {
        'victim/early-stop-0.01', 'victim/early-stop-placebo-0.01'}
    assert trained(changed(DESK, replace(DESK, attacks=('calibrated', 'rate')))) == set()
    assert trained(changed(DESK, replace(DESK, fidelity=False))) == set()
    assert trained(changed(DESK, with_part(DESK, 'shadow', count=6))) == set()
    assert trained(changed(DESK, with_part(DESK, 'twin', draws=900))) == {
        'victim/twin-0.01', 'victim/twin-placebo-0.01', 'gan-placebo/0', 'gan-shadow/0-0-0', 'gan-shadow/0-1-0'}
    assert 'victim/0.01' in changed(DESK, with_part(DESK, 'loop', images=9_000))


def test_a_whole_deal_more_leaves_the_first_alone():
    more = with_part(DESK, 'defences', victims=2)
    changed_families = {name.split('/')[0] for name in changed(DESK, more)}
    assert changed_families == {'numbers'}


def test_every_training_has_a_seed_of_its_own():
    seeds = [stage.config['seed'] for stage in plan(PRESETS['frontier']()).stages if isinstance(stage.config, dict)
             and stage.config.get('seed') and stage.family != 'numbers']
    assert len(seeds) == len(set(seeds))


@pytest.fixture
def owner(tmp_path):
    """An owner's case: both sides with their decompressed copies and compressed files, and other people."""
    folders = {}
    for side, fingers in (('members', range(1, 13)), ('nonmembers', range(21, 33))):
        folders[side] = str(write_set(tmp_path / side, fingers))
        write_set(tmp_path / 'out' / side, fingers)
        write_set(tmp_path / 'files' / side, fingers, suffix='jpg')
    data = replace(SMOKE.data, layout='fvc', reference=str(write_set(tmp_path / 'more', range(41, 90))), **folders)
    return replace(SMOKE, data=data, victim=replace(SMOKE.victim, decompressed=str(tmp_path / 'out'),
                                                    compressed=str(tmp_path / 'files')))


def test_an_owners_codec_is_neither_trained_nor_defended(owner):
    laid = plan(owner)
    stages: dict[str, Stage] = {stage.name: stage for stage in laid.stages}
    assert {name for name in stages if name.startswith('victim/')} == {'victim/rehearsal', 'victim/placebo'}
    assert 'measure/owner' in stages and 'attack/owner' in stages and not any(name.startswith('gan') for name in stages)
    assert owner.data.query_impressions == 0, 'an owner\'s files hold no altered versions'
    assert all('/' not in str(stage.config) or str(owner.victim.decompressed) not in str(stage.config)
               for stage in laid.stages), 'keys hold no paths'


@pytest.mark.parametrize('change, fault', [
    ({'attacks': ('rate',)}, 'calibrated'), ({'attacks': ('calibrated', 'nosuch')}, 'nosuch'), ({'seed': -1}, 'seed')])
def test_a_configuration_that_cannot_be_is_refused(change, fault):
    with pytest.raises(UserError, match=fault):
        replace(SMOKE, **change)


@pytest.mark.parametrize('part, change, fault', [
    ('victim', {'lambdas': (0.0,)}, 'lambdas'), ('victim', {'primary': 0.5}, 'primary'),
    ('victim', {'lambdas': (0.01, 0.01)}, 'twice'), ('victim', {'compressed': 'x'}, 'together'),
    ('victim', {'families': ('nosuch',)}, 'nosuch'), ('shadow', {'count': 3}, 'even'),
    ('twin', {'dropouts': ()}, 'dropouts'), ('twin', {'draws': 1}, 'draws'),
    ('defences', {'names': ('nosuch',)}, 'nosuch'), ('defences', {'victims': 0}, 'victims'),
    ('defences', {'stop_at': 1.0}, 'stop_at'), ('split', {'reference': 0}, 'reference'),
    ('split', {'scoring': 0}, 'scoring')])
def test_a_part_that_cannot_be_is_refused(part, change, fault):
    with pytest.raises(UserError, match=fault):
        with_part(SMOKE, part, **change)


def test_a_further_deal_is_placed_on_the_first_deals_curve_moved_to_its_own_point():
    curve = [(0.1, 20.0), (0.2, 23.0), (0.4, 25.0)]
    there = moved(curve, curve[1], (0.3, 22.0))
    assert there[1] == (pytest.approx(0.3), 22.0) and np.allclose(moved(there, there[1], curve[1]), curve)
    expected, _ = undefended(curve, 0.25)
    found, beyond = undefended(there, 0.375)
    assert found == pytest.approx(expected - 1) and not beyond
