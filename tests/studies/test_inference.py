"""The plan of model inference: a graph with keys that hang on what they should, groups that share nobody, refusals."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from fpray.errors import UserError
from fpray.models.config import LITE, TABLE_13
from fpray.studies.inference import files_print, plan, pooled, twins_of
from fpray.studies.inference_config import CONDITIONS, OWN_FOLDER, PRESETS, InferenceStudyConfig, candidates_of
from fpray.studies.inference_study import networks
from tests.studies import laying
from tests.studies.laying import assert_graph, keys, with_part, write_faces

SMOKE = replace(PRESETS['smoke'](), seed=5)
DESK = replace(PRESETS['desk'](), seed=5)
changed = partial(laying.changed, plan)


@pytest.mark.parametrize('name', [name for name in PRESETS if name != 'faces'])
def test_a_plan_is_a_graph_that_ends_in_the_numbers(name):
    config = PRESETS[name]()
    assert_graph(plan(config))
    assert any('decides' in line for line in networks(config))


def test_candidates_that_come_trained_need_no_people(tmp_path):
    faces = replace(PRESETS['faces'](), seed=5)
    with pytest.raises(UserError, match=r'--data\.resize scale without --data\.root'):
        plan(faces)
    faces = with_part(faces, 'data', root=str(write_faces(tmp_path / 'orl')), layout='orl')
    assert_graph(plan(faces))
    stages = {stage.name: stage for stage in plan(faces).stages if stage.family == 'candidate'}
    assert len(stages) == 3 and all(set(stage.inputs) == {'pictures'} for stage in stages.values())
    assert 'as they come' in ' '.join(networks(faces))
    random = replace(faces.candidates.recognition.extractor, weights='random')
    for change, fault in (({'candidates': replace(faces.candidates, recognition=replace(
            faces.candidates.recognition, extractor=random))}, 'come trained'), ({'twins': True}, 'no-twins'),
            ({'pool': replace(faces.pool, further=32)}, 'pool.further'), (
            {'pool': replace(faces.pool, names=('resnet10t', 'resnet18'))}, 'random weights of --pool.names resnet10t')):
        with pytest.raises(UserError, match=fault):
            replace(faces, **change)


def test_every_length_condition_and_candidate_is_there():
    names = set(keys(plan(DESK)))
    for length in DESK.lengths:
        assert {f'classifier/{length}/{condition}' for condition in CONDITIONS[:3]} <= names
        for each in DESK.candidates.names:
            assert {f'candidate/{length}/{each}', f'ladder/{length}/{each}', f'vectors/{length}/{each}'} <= names
    assert {f'candidate-twin/{DESK.headline.length}/{each}' for each in DESK.candidates.names} <= names
    assert not any(name.startswith('candidate-twin') for name in keys(plan(replace(DESK, twins=False))))


def test_networks_learn_from_the_groups_that_are_theirs():
    groups = {'candidate': 'public', 'candidate-twin': 'public', 'ladder': 'adapt'}
    for stage in plan(DESK).stages:
        if stage.family in groups:
            assert stage.config['group'] == groups[stage.family], stage.name
        if stage.family == 'classifier':
            assert not any(name.startswith('ladder') for name in stage.inputs), 'the attacker knows no adapted network'


def test_every_training_has_a_seed_of_its_own():
    seeds = [stage.config['seed'] for stage in plan(DESK).stages if isinstance(stage.config, dict)
             and stage.config.get('seed') is not None and stage.family not in ('numbers', 'map')]
    assert len(seeds) == len(set(seeds))


def test_a_change_trains_again_only_what_it_changes():
    def families(other: InferenceStudyConfig) -> set[str]:
        return {name.split('/')[0] for name in changed(DESK, other)}

    assert families(with_part(DESK, 'adapt', lr=2e-3)) == {
        'ladder', 'vectors', 'classifier', 'answers', 'unknown', 'map', 'placebo', 'twins', 'identify', 'numbers'}
    assert families(replace(DESK, seen=(1, 2))) == {'numbers'}
    assert families(with_part(DESK, 'headline', rung='FT-1')) == {'placebo', 'unknown', 'numbers'}
    assert families(with_part(DESK, 'zoo', folds=5)) == {'attributes', 'numbers'}
    assert families(with_part(DESK, 'pool', images=100)) == {'pool-vectors', 'pool', 'identify', 'numbers'}
    assert not {'candidate', 'pipeline', 'vectors'} & families(with_part(DESK, 'attacker', alarms=0.1))


def test_table_13_gives_four_candidates_a_length_with_their_layers():
    source = replace(DESK, table_13='finger', lengths=(512, 1024, 2048), headline=replace(DESK.headline, length=2048))
    for length in source.lengths:
        found = candidates_of(source, length)
        rows = [row for row in TABLE_13 if row.modality == 'finger' and row.length == length]
        assert [each.name for each in found] == [row.target for row in rows] and len(found) == 4
        assert [each.recognition.extractor.layer for each in found] == [row.layer for row in rows]
        assert {each.recognition.extractor.length for each in found} == {length}
    with pytest.raises(UserError, match='--lengths 300: Table 13 has'):
        replace(source, lengths=(300, 2048))


def test_an_own_folder_is_a_condition_and_its_path_is_in_no_key(tmp_path):
    folder = tmp_path / 'crawled'
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (48, 48), np.uint8)).save(folder / f'{number}.png')
    config = with_part(SMOKE, 'attacker', folder=str(folder), other=str(folder))
    assert config.conditions[-1] == OWN_FOLDER
    laid = plan(config)
    names = keys(laid)
    assert {f'classifier/32/{OWN_FOLDER}', f'pipeline/{OWN_FOLDER}'} <= set(names)
    assert all(str(tmp_path) not in str(stage.config) for stage in laid.stages), 'keys hold no paths'
    moved = tmp_path / 'elsewhere'
    folder.rename(moved)
    again = with_part(SMOKE, 'attacker', folder=str(moved), other=str(moved))
    assert keys(plan(again)) == names, 'what lies there counts, not where'


def test_the_digits_are_known_by_what_they_hold(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'x').write_bytes(b'1')
    first = files_print(str(tmp_path / 'a'), '--zoo.digits')
    (tmp_path / 'a').rename(tmp_path / 'b')
    assert files_print(str(tmp_path / 'b'), '--zoo.digits') == first
    (tmp_path / 'b' / 'x').write_bytes(b'2')
    assert files_print(str(tmp_path / 'b'), '--zoo.digits') != first
    with pytest.raises(UserError, match=r'--zoo\.digits'):
        files_print(str(tmp_path / 'none'), '--zoo.digits')


def test_the_pool_is_named_by_its_table_and_needs_two_of_a_length():
    every = pooled(with_part(DESK, 'pool', names=('all',)))
    lengths = [each.extractor.length for each in every if each.name not in LITE]
    assert len(lengths) == 105 and [lengths.count(length) for length in (2048, 1024, 512, 128)] == [39, 24, 31, 11]
    assert pooled(with_part(DESK, 'pool', names=())) == []
    assert pooled(with_part(DESK, 'pool', names=('none',))) == []
    with pytest.raises(UserError, match=r'unknown network .resnet1.; choose from all, none, (?=.*resnet18,).*\.\.\.$'):
        pooled(with_part(DESK, 'pool', names=('resnet1', every[0].name)))
    with pytest.raises(UserError, match=r'unknown network .nosuch.'):
        pooled(with_part(DESK, 'pool', names=('nosuch', every[0].name)))
    with pytest.raises(UserError, match='only network of length'):
        pooled(with_part(DESK, 'pool', names=(every[0].name,)))
    drawn = twins_of(every, 2)
    assert [each.extractor.length for each in drawn].count(2048) == 2
    package = replace(every[0].extractor, name=LITE[0], length=1280, weights='package')
    fixed = [replace(each, extractor=package) for each in every[:2]]
    assert twins_of(fixed, 2) == [], 'weights that nobody draws have no twin'


@pytest.mark.parametrize('change, fault', [
    ({'seed': -1}, 'seed'), ({'lengths': ()}, 'lengths'), ({'lengths': (64,)}, '--headline.length'),
    ({'conditions': ('nosuch',)}, 'nosuch'), ({'conditions': ('Same-Ident',)}, '--headline.condition'),
    ({'conditions': CONDITIONS}, '--attacker.folder'), ({'seen': (0,)}, 'seen'), ({'lengths': (32, 32)}, 'twice')])
def test_a_configuration_that_cannot_be_is_refused(change, fault):
    with pytest.raises(UserError, match=fault):
        replace(SMOKE, **change)


@pytest.mark.parametrize('part, change, fault', [
    ('attacker', {'kinds': ('linear',)}, 'auxiliary'), ('attacker', {'kinds': ('auxiliary', 'magic')}, 'magic'),
    ('attacker', {'alarms': 0.0}, 'alarms'), ('attacker', {'deals': 2}, 'deals'), ('attacker', {'pipeline': 'x'}, 'unknown'),
    ('attacker', {'folder': 's3://x'}, 'address'), ('headline', {'rung': 'FT-9'}, 'FT-9'),
    ('headline', {'condition': 'x'}, 'condition'), ('pool', {'images': 1}, 'images'), ('pool', {'open': 1.5}, 'open'),
    ('zoo', {'networks': 3}, '--zoo.networks'),
    ('zoo', {'mnist_net': 'x'}, '--zoo.digits'), ('groups', {'adapt': 0}, '--groups.adapt'),
    ('candidates', {'names': ('small-plain',)}, 'no choice'), ('data', {'query_impressions': 0}, 'impressions')])
def test_a_part_that_cannot_be_is_refused(part, change, fault):
    with pytest.raises(UserError, match=fault):
        with_part(SMOKE, part, **change)


def test_an_owners_folders_have_no_place():
    data = replace(SMOKE.data, members='a', nonmembers='b')
    with pytest.raises(UserError, match='no place here'):
        replace(SMOKE, data=data)
