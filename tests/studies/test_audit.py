"""The audit's plan: what its keys hang on and what not, who is trained, who is asked, and the owner's case."""

import pickle
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fpray.errors import UserError
from fpray.store import Stage, canonical_json
from fpray.studies import plan as plans
from fpray.studies.audit import Plan, headline_of, plan, targets
from fpray.studies.config import PRESETS, AuditConfig, GeneratorQueryConfig, SearchConfig
from fpray.studies.steps import foreseen, queries
from tests.studies import laying
from tests.studies.laying import assert_graph, keys, with_part, write_set

SMOKE = replace(PRESETS['smoke'](), seed=5)
changed = partial(laying.changed, plan)


def stages(laid: Plan) -> dict[str, Stage]:
    """The stages by name."""
    return {stage.name: stage for stage in laid.stages}


def families(names: set[str]) -> set[str]:
    """The stages' families."""
    return {name.split('/')[0] for name in names}


@pytest.fixture
def owner(tmp_path: Path) -> AuditConfig:
    """An owner's case: members, non-members, generated pictures and other people for the controls."""
    folders = {name: write_set(tmp_path / name, fingers) for name, fingers in (
        ('in', range(1, 13)), ('out', range(21, 33)), ('others', range(41, 90)), ('made', range(91, 95)))}
    data = replace(SMOKE.data, layout='fvc', members=str(folders['in']), nonmembers=str(folders['out']),
                   reference=str(folders['others']))
    return replace(SMOKE, data=data, victim=replace(SMOKE.victim, samples=str(folders['made'])))


# The plan as such


@pytest.mark.parametrize('name', ['smoke', 'desk', 'paper'])
def test_a_plan_is_a_graph_that_ends_in_the_numbers(name: str) -> None:
    assert_graph(plan(PRESETS[name]()))


def test_a_plan_holds_search_controls_and_every_size() -> None:
    found = set(keys(plan(SMOKE)))
    for victim, shadows in {'10': 2, 'rehearsal': 2, 'placebo': 2, '6': 1}.items():
        assert {f'victim/{victim}', f'samples/{victim}', f'attack/{victim}'} <= found
        assert sum(name.startswith(f'shadow/{victim}/') for name in found) == shadows
    assert {'pictures', 'people', 'scorer', 'search', 'quality', 'numbers'} <= found and len(found) == 6 + 3 * 4 + 7
    first = targets(SMOKE)[0]
    assert first.name == headline_of(SMOKE) == '10' and first.people == 10, 'the headline comes first'


def test_every_step_is_a_function_that_travels() -> None:
    for stage in plan(SMOKE).stages:
        assert '<' not in stage.run.__qualname__ and stage.run.__doc__
        assert pickle.loads(pickle.dumps(stage.run)) is stage.run
        assert pickle.loads(pickle.dumps(stage)).key == stage.key
        canonical_json(stage.config)


def test_steps_that_wait_for_others_hold_no_processor() -> None:
    cpus = {stage.family: stage.resources.cpus for stage in plan(SMOKE).stages}
    assert {family for family, count in cpus.items() if not count} == {'pictures', 'victim', 'search', 'attack'}


def test_a_training_takes_the_threads_and_the_gpu_that_it_asks_for() -> None:
    loop = replace(SMOKE.shadow.loop, threads=2, device='cuda')
    found = stages(plan(with_part(SMOKE, 'shadow', loop=loop)))
    assert (found['shadow/placebo/0'].resources.cpus, found['shadow/placebo/0'].resources.gpus) == (2, 1)
    assert found['scorer'].resources.gpus == 0


# What keys hang on


def test_keys_are_the_same_the_second_time() -> None:
    assert keys(plan(SMOKE)) == keys(plan(replace(PRESETS['smoke'](), seed=5)))
    assert changed(SMOKE, replace(SMOKE, seed=6)) == set(keys(plan(SMOKE))), 'every stage draws something'


def test_without_a_seed_it_comes_from_the_data_alone() -> None:
    free = PRESETS['smoke']()
    assert plan(free).seed == plan(free).seed
    assert plan(with_part(free, 'shadow', count=3)).seed == plan(free).seed
    assert plan(with_part(free, 'split', placebo=12)).seed == plan(free).seed
    assert plan(with_part(free, 'data', size=64)).seed != plan(free).seed
    assert plan(SMOKE).seed == 5 and 0 <= plan(free).seed < 2**31
    drawn = plan(free)
    assert drawn.config == replace(free, seed=drawn.seed), 'so that a saved configuration runs the same again'
    assert keys(plan(drawn.config)) == keys(drawn)


def test_a_victim_does_not_hang_on_what_is_done_to_it() -> None:
    """Search, shadows, attacks and the attacker's draws change nothing that was trained or measured before them."""
    before = {'pictures', 'people', 'scorer', 'victim', 'samples'}
    for other in (with_part(SMOKE, 'search', trials=4), with_part(SMOKE, 'search', rounds=2, trials=4),
                  with_part(SMOKE, 'search', mode='off'), with_part(SMOKE, 'shadow', count=4),
                  with_part(SMOKE, 'shadow', course=3), with_part(SMOKE, 'shadow', others=2),
                  replace(SMOKE, attacks=('shadow',))):
        assert not families(changed(SMOKE, other)) & before
    assert not families(changed(SMOKE, with_part(SMOKE, 'victim', draws=200))) & before - {'samples'}


def test_a_change_is_seen_by_exactly_what_follows_from_it() -> None:
    everyone = set(keys(plan(SMOKE)))
    after_search = {'search', 'shadow', 'attack', 'numbers'}
    assert families(changed(SMOKE, with_part(SMOKE, 'search', trials=4))) == after_search
    assert families(changed(SMOKE, with_part(SMOKE, 'shadow', gan=replace(SMOKE.shadow.gan, smoothing=0.1)))) == after_search
    # more shadows leave those that were there, and the search
    assert families(changed(SMOKE, with_part(SMOKE, 'shadow', count=4))) == {'attack', 'numbers'}
    assert families(changed(SMOKE, replace(SMOKE, attacks=('shadow',)))) == {'attack', 'numbers'}
    assert changed(SMOKE, with_part(SMOKE, 'victim', random_draw=True)) == {'numbers'}
    longer = with_part(SMOKE, 'victim', loop=replace(SMOKE.victim.loop, images=512))
    assert changed(SMOKE, longer) == everyone - {'pictures', 'people', 'scorer'}
    assert changed(SMOKE, with_part(SMOKE, 'scorer', holdout=0.3)) == everyone - {'pictures', 'people'}
    assert changed(SMOKE, with_part(SMOKE, 'data', impressions=2)) == everyone


def test_a_change_of_the_split_redraws_everybody() -> None:
    """The stand-in holds as many people as all groups ask for, and members are drawn from all of them."""
    other = with_part(SMOKE, 'split', placebo=12)
    assert changed(SMOKE, other) == set(keys(plan(SMOKE)))
    placebo = stages(plan(other))['victim/placebo']
    assert placebo.config['people'] == 12 and placebo.config['group'] == 'placebo'


@settings(deadline=None)  # a busy machine stands still now and then
@given(patience=st.integers(1, 9), band=st.floats(0.1, 3), stop=st.booleans(), every=st.integers(0, 512))
def test_a_victim_does_not_hang_on_the_rule_that_stops_its_shadows(patience: int, band: float, stop: bool,
                                                                   every: int) -> None:
    rule = replace(SMOKE.shadow.matching, patience=patience, band=band, stop=stop, evaluate_every=every)
    moved = families(changed(SMOKE, with_part(SMOKE, 'shadow', matching=rule)))
    assert moved == (set() if rule == SMOKE.shadow.matching else {'search', 'shadow', 'attack', 'numbers'})


@pytest.mark.parametrize(('field', 'value'), [('samples', 80), ('splits', 4), ('batch', 16)])
def test_a_victim_hangs_on_how_its_samples_are_measured(field: str, value: int) -> None:
    rule = replace(SMOKE.shadow.matching, **{field: value})
    moved = families(changed(SMOKE, with_part(SMOKE, 'shadow', matching=rule)))
    assert moved == {'victim', 'samples', 'search', 'shadow', 'attack', 'quality', 'numbers'}


@settings(deadline=None)  # a busy machine stands still now and then
@given(st.integers(2, 18), st.integers(1, 9))
def test_the_same_people_divided_otherwise_are_the_same_stand_in(most: int, smaller: int) -> None:
    """20 members and non-members in all, another 30 who teach: who is who is drawn from the same pictures."""
    other = with_part(SMOKE, 'split', sizes=tuple(sorted({min(smaller, most), most})), headline=most, nonmembers=20 - most)
    assert 'pictures' not in changed(SMOKE, other)
    assert 'pictures' in changed(SMOKE, with_part(other, 'split', nonmembers=21 - most))
    swapped = with_part(other, 'split', scoring=SMOKE.split.scoring - 2, rehearsal=SMOKE.split.rehearsal + 1)
    assert 'pictures' not in changed(SMOKE, swapped)


def test_a_set_of_pictures_hangs_on_who_is_short_in_it(tmp_path: Path) -> None:
    """A stand-in fills the groups for which a real set has too few people, so its own and each group's number count."""
    base = with_part(SMOKE, 'data', root=str(write_set(tmp_path / 'set', range(1, 5))), layout='fvc')
    for sizes in ((10,), (3, 10), (9, 10)):
        moved = changed(base, with_part(base, 'split', sizes=sizes))
        assert 'pictures' not in moved and 'people' in moved
    for group in ('nonmembers', 'scoring', 'placebo', 'rehearsal'):
        assert 'pictures' in changed(base, with_part(base, 'split', **{group: getattr(base.split, group) + 1})), group
    assert 'pictures' in changed(base, with_part(base, 'split', sizes=(6, 11), headline=11))


def test_an_owners_pictures_do_not_hang_on_sizes(owner: AuditConfig) -> None:
    moved = changed(owner, with_part(owner, 'split', sizes=(4, 8), headline=8, nonmembers=7))
    assert 'pictures' not in moved
    assert 'pictures' in changed(owner, with_part(owner, 'split', scoring=9))


def test_a_new_version_of_a_step_changes_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(plan(SMOKE))
    monkeypatch.setitem(plans.VERSIONS, 'samples', 2)
    after = keys(plan(SMOKE))
    assert families({name for name in before if before[name] != after[name]}) == {
        'samples', 'search', 'shadow', 'attack', 'quality', 'numbers'}


# Data by what they hold


def test_data_count_by_their_content_not_by_their_place(tmp_path: Path) -> None:
    here = write_set(tmp_path / 'a' / 'here', range(1, 7))
    there = tmp_path / 'b' / 'there'
    shutil.copytree(here, there)

    def laid(folder: Path) -> Plan:
        return plan(replace(PRESETS['smoke'](), data=replace(SMOKE.data, root=str(folder), layout='fvc')),
                    str(tmp_path / 'cache'))

    first, moved = laid(here), laid(there)
    assert keys(first) == keys(moved) and first.seed == moved.seed
    assert first.folders == {'root': str(here)} and moved.folders == {'root': str(there)}, 'the place is a setting'
    assert str(here) not in canonical_json([stage.config for stage in first.stages])
    with Image.open(there / '3_2.png') as picture:
        pixels = np.array(picture)
    pixels[7, 7] ^= 1
    Image.fromarray(pixels).save(there / '3_2.png')
    touched = laid(there)
    assert touched.seed != first.seed and not set(keys(touched).values()) & set(keys(first).values())
    (there / 'notes.txt').write_text('no picture')
    assert keys(laid(there)) == keys(touched), 'what is no picture does not count'


@pytest.mark.parametrize('name', ['root', 'reference'])
def test_a_missing_folder_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match='none'):
        plan(with_part(SMOKE, 'data', **{'root': str(tmp_path), name: str(tmp_path / 'none')}))


def test_nobody_to_learn_from_is_said_before_anything_runs() -> None:
    with pytest.raises(UserError, match=r'--split\.scoring 0'):
        plan(with_part(SMOKE, 'split', scoring=0))


# Who is trained on and who is asked about


def test_the_placebo_is_asked_about_people_it_never_saw() -> None:
    found = stages(plan(SMOKE))
    headline, placebo = found['attack/10'].config, found['attack/placebo'].config
    for field in ('positives', 'negatives', 'people', 'attacks'):
        assert headline[field] == placebo[field], 'the very queries of the headline'
    assert (headline['positives'], headline['negatives'], headline['people']) == ('members', 'nonmembers', 10)
    trained = {name: (stage.config['group'], stage.config['people']) for name, stage in found.items()
               if stage.family == 'victim'}
    assert trained == {'victim/10': ('members', 10), 'victim/6': ('members', 6), 'victim/placebo': ('placebo', 10),
                       'victim/rehearsal': ('rehearsal_in', 10)}
    rehearsal = found['attack/rehearsal'].config
    assert (rehearsal['positives'], rehearsal['negatives']) == ('rehearsal_in', 'rehearsal_out')
    assert found['attack/6'].config['people'] == 6
    recipes = {name: replace_seed(stage.config) for name, stage in found.items() if stage.family == 'victim'}
    assert recipes['victim/placebo'] == recipes['victim/10'] == recipes['victim/rehearsal'] == recipes['victim/6']


def replace_seed(config: Mapping[str, object]) -> dict[str, object]:
    """A victim's configuration without who it is trained on."""
    return {name: value for name, value in config.items() if name not in ('seed', 'group', 'people')}


def test_every_training_and_draw_has_a_seed_of_its_own() -> None:
    laid = plan(PRESETS['desk']())
    seeds = [stage.config['seed'] for stage in laid.stages if isinstance(stage.config, dict) and 'seed' in stage.config
             and stage.family != 'numbers']
    assert len(seeds) == len(set(seeds)) and all(0 <= seed < 2**63 for seed in seeds)


def test_an_attack_sees_samples_and_no_more() -> None:
    """White-box alone gets the victim; the shadows learn from samples, the scoring network and the search."""
    found = stages(plan(SMOKE))
    for name, stage in found.items():
        if stage.family == 'shadow':
            victim = name.split('/')[1]
            assert {each.name for each in stage.inputs.values()} == {f'samples/{victim}', 'scorer', 'search'}
    assert {each.name for each in found['search'].inputs.values()} == {'samples/10', 'scorer'}
    assert {each.name for each in found['scorer'].inputs.values()} == {'pictures', 'people'}
    assert found['attack/10'].inputs['victim'] is found['victim/10']
    assert found['attack/10'].inputs['reference'] is found['samples/rehearsal']
    assert 'reference' not in found['attack/rehearsal'].inputs, 'it would be calibrated by itself'
    black = stages(plan(replace(SMOKE, attacks=('shadow', 'nearest'))))
    for name, stage in black.items():
        assert stage.family != 'attack' or not {'victim', 'reference'} & set(stage.inputs), name


def test_controls_that_cannot_be_had_are_left_out() -> None:
    found = keys(plan(with_part(SMOKE, 'split', placebo=0, rehearsal=0)))
    assert {name for name in found if name.startswith('victim')} == {'victim/10', 'victim/6'}
    assert 'reference' not in stages(plan(with_part(SMOKE, 'split', rehearsal=0)))['attack/10'].inputs


def test_without_a_search_the_first_shadow_is_trained_like_the_others() -> None:
    off = plan(with_part(SMOKE, 'search', mode='off'))
    first = stages(off)['shadow/10/0'].config
    assert 'best' not in first and first['course'] == SMOKE.shadow.course
    searched = stages(plan(SMOKE))
    assert searched['shadow/10/0'].config['best'] and 'best' not in searched['shadow/placebo/0'].config
    assert searched['shadow/placebo/0'].config['matching'].stop and not searched['shadow/placebo/0'].config['course']


# Queries


def test_a_number_of_query_pictures_reaches_the_attacks_alone() -> None:
    asked = plan(replace(SMOKE, query=GeneratorQueryConfig(pictures=(24, 40), real=(4, 16))))
    numbers = {name: stage.config.get('pictures') for name, stage in stages(asked).items() if stage.family == 'attack'}
    assert numbers == {'attack/10': 40, 'attack/6': 24, 'attack/placebo': 40, 'attack/rehearsal': 40}
    assert stages(asked)['quality'].config['real'] == (4, 16)
    before, after = keys(plan(SMOKE)), keys(asked)
    changed = {name.split('/')[0] for name in before if before[name] != after[name]}
    assert changed == {'attack', 'quality', 'numbers'}, 'nothing is trained again'


def test_names_alone_foretell_the_queries(tmp_path: Path) -> None:
    folder = write_set(tmp_path / 'set', range(1, 23))
    config = replace(SMOKE, data=replace(SMOKE.data, root=str(folder), layout='fvc'), query=GeneratorQueryConfig((24, 40)))
    records, split = foreseen(config, {'root': str(folder)}, 5)
    asked = queries(split, records, 'members', 'nonmembers', 10, config.asked(10))
    assert (~records['altered']).sum() == len(list(folder.iterdir())) and (asked['contrast'] == 'mia').sum() == 40
    with pytest.raises(UserError, match='who have 18 drawn'):
        foreseen(replace(config, query=GeneratorQueryConfig((40, 40))), {'root': str(folder)}, 5)
    with pytest.raises(UserError, match='20 are asked'):
        foreseen(config, {'root': str(write_set(tmp_path / 'few', range(1, 9)))}, 5)


# An owner's generator


def test_an_owners_generator_is_never_trained_or_opened(owner: AuditConfig) -> None:
    laid = plan(owner)
    found = stages(laid)
    assert headline_of(owner) == 'owner' and set(laid.folders) == {'members', 'nonmembers', 'reference', 'samples'}
    assert {name for name in found if name.startswith('victim')} == {'victim/placebo', 'victim/rehearsal'}
    assert 'victim' not in found['attack/owner'].inputs, 'no white box'
    assert found['samples/owner'].run.__name__ == 'owner_samples'
    assert found['attack/owner'].config['people'] is None and found['attack/placebo'].config['people'] is None
    assert found['attack/placebo'].config['positives'] == 'members'
    assert found['attack/owner'].config['course'] and found['search'].inputs['samples'] is found['samples/owner']
    assert found['quality'].config['headline'] is None and laid.numbers.config['owner']


def test_an_owners_new_samples_change_no_control(owner: AuditConfig, tmp_path: Path) -> None:
    again = write_set(tmp_path / 'again', range(91, 95), shade=1)
    moved = changed(owner, with_part(owner, 'victim', samples=str(again)))
    assert 'samples/owner' in moved and 'attack/owner' in moved
    assert not {'pictures', 'people', 'scorer', 'victim/placebo', 'victim/rehearsal', 'samples/placebo'} & moved
    free = replace(owner, seed=None)
    assert changed(free, with_part(free, 'victim', samples=str(again))) == moved, 'without a seed of the user\'s too'


def test_an_owners_samples_may_be_a_file(owner: AuditConfig, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (4, 1, 16, 16), np.uint8)
    np.save(tmp_path / 'one.npy', drawn)
    np.save(tmp_path / 'same.npy', drawn)
    np.save(tmp_path / 'other.npy', drawn[::-1])
    one, same, other = (with_part(owner, 'victim', samples=str(tmp_path / f'{name}.npy'))
                        for name in ('one', 'same', 'other'))
    assert not changed(one, same) and 'samples/owner' in changed(one, other)
    with pytest.raises(UserError, match=r'none\.npy: No such file'):
        plan(with_part(owner, 'victim', samples=str(tmp_path / 'none.npy')))


@pytest.mark.parametrize('part', ['members', 'nonmembers', 'reference'])
def test_an_owners_missing_folder_is_named(part: str, owner: AuditConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match='lost'):
        plan(with_part(owner, 'data', **{part: str(tmp_path / 'lost')}))
    with pytest.raises(UserError, match='lost'):
        plan(with_part(owner, 'victim', samples=str(tmp_path / 'lost')))


def test_the_default_search_has_a_plan() -> None:
    assert plan(replace(SMOKE, search=SearchConfig())).numbers.key != plan(SMOKE).numbers.key
