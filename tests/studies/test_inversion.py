"""The plan of an inversion: a graph whose keys hang on what they should, and bad input refused before anything is left."""

import io
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.errors import UserError
from fpray.models.config import ReconstructorConfig
from fpray.studies.embedding_config import NO_ADAPT
from fpray.studies.inversion import OWNER, arms_of, most_embeddings, plan
from fpray.studies.inversion_config import (
    END_TO_END,
    IDENT,
    LINEAR_MAP,
    MEAN,
    NEAREST,
    OTHER,
    PLACEBOS,
    PRESETS,
    REHEARSAL,
    SAME,
    TOLD,
    WRONG,
    InversionConfig,
    TargetConfig,
    key_of,
)
from tests.studies import laying
from tests.studies.laying import assert_graph, keys, with_part, write_faces, write_set

SMOKE = replace(PRESETS['smoke'](), seed=5)
changed = partial(laying.changed, plan)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp('set') / 'set', range(1, 61), 6, 48)


def on(folder: Path, **fields: object) -> InversionConfig:
    return replace(SMOKE, **{'data': replace(SMOKE.data, root=str(folder), layout='fvc'), **fields})


@pytest.fixture(scope='module')
def faces(tmp_path_factory) -> InversionConfig:
    folder = write_faces(tmp_path_factory.mktemp('faces') / 'orl')
    preset = replace(PRESETS['faces'](), seed=5)
    return replace(preset, data=replace(preset.data, root=str(folder), layout='orl'))


@pytest.mark.parametrize('name', [name for name in PRESETS if name != 'faces'])
def test_a_plan_is_a_graph_that_ends_in_the_numbers(name):
    assert_graph(plan(PRESETS[name]()))


def test_faces_are_given_and_cut_out(faces):
    laid = plan(faces)
    assert_graph(laid)
    assert laid.stages[2].name == 'faces' and laid.stages[2].config == {'how': 'landmarks', 'size': 64}
    with pytest.raises(UserError, match=r'--align landmarks without --data\.root'):
        plan(PRESETS['faces']())
    with pytest.raises(UserError, match=r'leave --data\.resize out'):
        with_part(faces, 'data', resize='scale')


def test_the_endpoint_comes_with_its_controls_and_baselines():
    headline = {arm.name: arm for arm in arms_of(SMOKE)['headline']}
    assert set(headline) == {END_TO_END, TOLD, *PLACEBOS, WRONG, MEAN, NEAREST, LINEAR_MAP, REHEARSAL}
    assert {arm.system for arm in headline.values()} == {key_of(SMOKE.target.network, SMOKE.target.rung)}
    assert {(headline[name].network, headline[name].space) for name in PLACEBOS} == {(SMOKE.target.network, 'reordered')}
    assert headline[WRONG].network == f'{SMOKE.invert.wrong}/{SAME}' and SMOKE.invert.wrong != SMOKE.target.network
    assert headline[REHEARSAL].group == 'threshold'


def test_the_attacker_trains_on_its_own_people_with_the_unadapted_network_alone():
    stages = {stage.name: stage for stage in plan(SMOKE).stages}
    for name, stage in stages.items():
        if stage.family == 'reconstructor' and name != f'reconstructor/{OWNER}':
            assert stage.inputs['pictures'].family == 'attacker' and stage.inputs['vectors'].family == 'known'
            if 'loop' in stage.config:  # else a linear map, which is solved
                assert stage.inputs['network'].family == 'candidate' and stage.config['rung'] == ''
    assert stages['guess'].inputs['known/small-plain'].inputs['extractor'] is stages['candidate/small-plain']
    assert not any('judge' in stage.inputs.values() for stage in stages.values() if stage.family in ('guess', 'invert'))


def test_a_change_trains_again_only_what_it_changes():
    def trained(names: set[str]) -> set[str]:
        return {name for name in names if name.split('/')[0] in ('candidate', 'ladder', 'judge', 'reconstructor')}

    assert trained(changed(SMOKE, with_part(SMOKE, 'judge', loop=replace(SMOKE.judge.loop, images=320)))) == {'judge'}
    assert trained(changed(SMOKE, replace(SMOKE, embeddings=(1,)))) == set()
    others = {f'reconstructor/{name}' for name in ('small-dense', 'small-residual', 'small-separable', OWNER)}
    assert trained(changed(SMOKE, with_part(SMOKE, 'adapt', lr=1e-3))) == {'ladder/small-plain'} | others, \
        'whoever is guessed hangs on the target; the brief ones of the comparisons do not'
    assert not any(name.startswith('reconstructor/small-plain') for name in changed(
        SMOKE, with_part(SMOKE, 'target', rung='FT-5'))), 'an adapted target is inverted with the same reconstructor'


def test_every_training_has_a_seed_of_its_own():
    seeds = [stage.config['seed'] for stage in plan(PRESETS['desk']()).stages
             if stage.family in ('candidate', 'ladder', 'judge', 'reconstructor') and 'loop' in stage.config]
    assert len(seeds) > 10
    assert len(seeds) == len(set(seeds))


def test_several_stolen_templates_leave_the_references_alone():
    assert most_embeddings(replace(SMOKE, embeddings=(1, 3, 10))) == 3, '6 pictures, of which 2 are references'
    assert 'several' not in arms_of(replace(SMOKE, embeddings=(1,)))
    assert all(IDENT not in arm.name for arm in arms_of(SMOKE)['several'])


def test_a_black_box_is_one_of_the_pool_and_only_answers(pictures):
    config = on(pictures, target=TargetConfig(kind='dlib'))
    stages = {stage.name: stage for stage in plan(config).stages}
    assert config.pool[-1] == 'dlib' and config.right == 'dlib'
    assert 'network' not in stages['reconstructor/dlib'].inputs
    assert WRONG not in {arm.name for arm in arms_of(config)['headline']}, 'vectors of another length'
    assert not any(name.startswith('ladder') for name in stages) and 'known/Same-PreProc/dlib' in stages


def test_a_network_that_comes_trained_needs_no_people(pictures):
    ready = replace(SMOKE.judge.recognition.extractor, name='efficientnet-lite0', weights='package')
    config = replace(on(pictures), judge=replace(SMOKE.judge, recognition=replace(SMOKE.judge.recognition, extractor=ready)),
                     groups=replace(SMOKE.groups, judge=0))
    stages = {stage.name: stage for stage in plan(config).stages}
    assert 'loop' not in stages['judge'].config, 'nothing is trained'
    with pytest.raises(UserError, match='judge'):
        with_part(SMOKE, 'groups', judge=0)


def test_keys_hold_no_paths(pictures, tmp_path):
    config = on(pictures, attacker=replace(SMOKE.attacker, folder=str(write_set(tmp_path / 'more', range(1, 4), 6, 48))))
    assert all(str(tmp_path) not in str(stage.config) and str(pictures) not in str(stage.config)
               for stage in plan(config).stages)
    assert IDENT not in plan(config).numbers.config['conditions'], 'nobody known: none of the victims'
    folders = [name for name in plan(config).numbers.inputs if name.startswith('folder/')]
    assert folders == ['folder/unknown'], 'once, however many conditions read it'
    moved = write_set(tmp_path / 'elsewhere', range(1, 61), 6, 48)
    assert keys(plan(on(pictures))) == keys(plan(on(moved)))


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('part, change, fault', [
    ('target', {'model': 'nosuch'}, 'unknown model'), ('target', {'network': 'nosuch'}, 'target.network'),
    ('target', {'rung': 'FT-9'}, 'FT-9'), ('target', {'templates': 'x'}, 'templates'),
    ('target', {'kind': 'nosuch'}, 'nosuch'), ('target', {'kind': 'dlib'}, 'data.root'),
    ('invert', {'wrong': 'small-plain'}, 'target itself'),
    ('invert', {'wrong': 'nosuch'}, 'invert.wrong'), ('invert', {'brief': 0.0}, 'brief'),
    ('invert', {'depths': (2.0,)}, 'depths'),
    ('attacker', {'conditions': (OTHER,)}, SAME), ('attacker', {'conditions': ('nosuch', SAME)}, 'nosuch'),
    ('attacker', {'layout': 'fvc'}, 'attacker.other'), ('attacker', {'layout': 'nosuch', 'other': 'x'}, 'nosuch'),
    ('judge', {'kind': 'matcher'}, 'ppi'), ('search', {'trials': 1, 'rounds': 2}, 'rounds'),
    ('groups', {'adapt': 0}, 'groups.adapt'), ('data', {'impressions': 2, 'query_impressions': 0}, 'pictures an identity')])
def test_a_part_that_cannot_be_is_refused(part, change, fault):
    with pytest.raises(UserError, match=fault):
        with_part(SMOKE, part, **change)


@pytest.mark.parametrize('change, fault', [
    ({'ladder': (NO_ADAPT, 'FT-9')}, 'FT-9'), ({'embeddings': (0,)}, 'embeddings'), ({'embeddings': (1, 1)}, 'twice'),
    ({'align': 'eyes'}, 'align'), ({'seed': -1}, 'seed')])
def test_a_configuration_that_cannot_be_is_refused(change, fault):
    with pytest.raises(UserError, match=fault):
        replace(SMOKE, **change)


def test_an_owner_without_pictures_has_no_auto_encoder(faces):
    assert 'baseline' in arms_of(SMOKE) and 'baseline' not in arms_of(faces)
    assert f'reconstructor/{OWNER}' not in {stage.name for stage in plan(faces).stages}


def test_linear_reconstructors_need_no_search_and_no_second_linear_map():
    linear = with_part(SMOKE, 'invert', training=replace(
        SMOKE.invert.training, reconstructor=ReconstructorConfig(family='linear', last='none')))
    assert LINEAR_MAP not in {arm.name for arm in arms_of(linear)['headline']}
    laid = plan(linear)
    assert_graph(laid)
    mine = {stage.name: stage for stage in laid.stages if stage.family == 'reconstructor'}
    assert 'loop' in mine.pop(f'reconstructor/{OWNER}').config, 'the auto-encoder is trained'
    for stage in mine.values():
        assert set(stage.config) == {'reconstructor', 'place', 'needed'}, 'solved: no loop, no layer, no seed'
        assert not set(stage.inputs) & {'network', 'search'}
    assert changed(linear, with_part(linear, 'invert', brief=0.25)) == {
        f'reconstructor/{OWNER}', 'invert/baseline', 'verify/baseline', 'numbers'}
    with pytest.raises(UserError, match='no layers'):
        with_part(linear, 'search', mode='rounds')


def test_candidates_of_lengths_of_their_own_are_refused():
    own = replace(SMOKE.candidates.recognition, extractor=replace(SMOKE.candidates.recognition.extractor, length=0))
    with pytest.raises(UserError, match='give all candidates one'):
        with_part(SMOKE, 'candidates', recognition=own)


def test_a_rule_for_sizes_needs_pictures():
    with pytest.raises(UserError, match=r'--data\.resize crop without --data\.root'):
        plan(with_part(SMOKE, 'data', resize='crop'))


def test_the_judge_must_be_of_another_family_than_the_target():
    same = replace(SMOKE.judge.recognition, extractor=replace(SMOKE.judge.recognition.extractor, name='small-plain'))
    with pytest.raises(UserError, match='own family'):
        with_part(SMOKE, 'judge', recognition=same)


@pytest.mark.parametrize('people, pictures, fault', [(60, 1, 'different pictures|are needed'), (1, 6, 'people can be used')])
def test_one_identity_or_no_genuine_pairs_are_refused_by_names_alone(tmp_path, people, pictures, fault):
    folder = write_set(tmp_path / 'set', range(1, people + 1), pictures, 48)
    with pytest.raises(UserError, match=fault):
        plan(on(folder, data=replace(SMOKE.data, root=str(folder), layout='fvc', query_impressions=0)))


def bad(kind: str, good: np.ndarray) -> bytes:
    """Contents of a file that is no template."""
    held = io.BytesIO()
    if kind == 'pickle':
        np.save(held, np.array([{'a': 1}], dtype=object), allow_pickle=True)
    elif kind == 'bare pickle':
        held.write(pickle.dumps([1.0]))
    elif kind == 'picture':
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(held, 'PNG')
    elif kind == 'picture array':
        np.save(held, np.zeros((8, 8), np.uint8))
    else:
        np.save(held, {'nan': np.where(np.arange(len(good)) == 2, np.nan, good), 'long': np.append(good, 1.0)}[kind])
    return held.getvalue()


@pytest.mark.parametrize('kind, fault', [
    ('pickle', 'pickle'), ('bare pickle', 'pickle'), ('picture', 'picture'), ('picture array', 'picture or a table'),
    ('nan', 'not finite'), ('long', 'length 33'), ('missing', 'missing')])
def test_a_bad_template_is_refused_before_anything_is_left(pictures, tmp_path, kind, fault):
    folder = tmp_path / 'templates'
    folder.mkdir()
    for path in pictures.iterdir():
        np.save(folder / f'{path.stem}.npy', np.random.default_rng(1).normal(size=32).astype(np.float32))
    config = on(pictures, target=TargetConfig(kind='templates', templates=str(folder)))
    plan(config)
    wrong = folder / '7_2.npy'
    good = np.load(wrong)
    wrong.unlink()
    if kind != 'missing':
        wrong.write_bytes(bad(kind, good))
    with pytest.raises(UserError, match=fault):
        plan(config)


def test_answers_that_are_none_are_refused(pictures, tmp_path):
    (tmp_path / 'answers.npz').write_text('no')
    with pytest.raises(UserError, match='no extractor'):
        plan(on(pictures, target=TargetConfig(kind='callable', answers=str(tmp_path / 'answers.npz'))))
