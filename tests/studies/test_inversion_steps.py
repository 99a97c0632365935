"""The steps of an inversion, each run with a context made by hand: who is in which set, planted guesses and copies."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fpray.attacks.config import InferenceConfig
from fpray.data.config import DataConfig, GroupsConfig
from fpray.data.groups import deal
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet, read_folder
from fpray.errors import UserError
from fpray.models.config import ExtractorConfig, ReconstructorConfig
from fpray.models.extractors import build_extractor
from fpray.models.reconstructor import build_reconstructor
from fpray.studies import inversion_steps as steps
from fpray.studies.groups import read_groups
from fpray.studies.inversion_config import IDENT, JUDGE, OTHER, PLACEBOS, SAME, Arm
from fpray.studies.inversion_evidence import impostors
from fpray.studies.inversion_tasks import at_depths
from fpray.studies.recognition_steps import cosine
from fpray.training.config import LoopConfig, ReconstructionConfig
from fpray.training.recognition import embed, save_extractor
from fpray.training.reconstruction import load_reconstructor, reconstruct, save_reconstructor
from tests.studies.test_steps import SIDE, context, make_set

GROUPS = GroupsConfig(public=2, adapt=2, attacker=6, judge=2, threshold=5, victims=6)
DATA = DataConfig(impressions=4, query_impressions=2)
SET = make_set(people=23, impressions=6)
DEALT = deal(SET.records, DATA, GROUPS, 5)
NETWORK = ExtractorConfig('small-plain', length=16, image=(SIDE, SIDE), width=8)
RECONSTRUCTOR = ReconstructorConfig(length=16, image=(SIDE, SIDE), width=16, blocks=3)
PLANTED = Arm('planted', 'one', 'network', 'one')
LOOP = LoopConfig(images=160, batch=16, snapshot_every=0, device='cpu')
REAL = os.environ.get('FPRAY_TEST_DATA', '')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A set, its groups, whoever is asked about, two networks with their vectors, two reconstructors."""
    folder = tmp_path_factory.mktemp('inversion')
    SET.save(folder / 'set')
    (folder / 'people').mkdir()
    (folder / 'people' / 'groups.json').write_text(DEALT.to_json())
    base = {'pictures': folder / 'set', 'people': folder / 'people'}
    asked = context(folder / 'asked', {'groups': ('adapt', 'threshold', 'victims'), 'identities': 0}, base)
    steps.subset(asked)
    found = {**base, 'asked': asked.out}
    for number, name in enumerate(('one', JUDGE)):
        network = build_extractor(NETWORK, number).eval()
        for kind, pixels in (('network', None), ('vectors', ImageSet.load(asked.out).pixels)):
            (folder / kind / name).mkdir(parents=True)
            found[f'{kind}/{name}'] = folder / kind / name
            if pixels is None:
                save_extractor(network, folder / kind / name)
            else:
                np.save(folder / kind / name / 'vectors.npy', embed(network, np.asarray(pixels)))
        (folder / 'reconstructor' / name).mkdir(parents=True)
        found[f'reconstructor/{name}'] = folder / 'reconstructor' / name
        save_reconstructor(build_reconstructor(RECONSTRUCTOR, number + 7), found[f'reconstructor/{name}'])
    return found


def with_vectors(folder: Path, vectors: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    np.save(folder / 'vectors.npy', vectors.astype(np.float32))
    return folder


# Who is in which set ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('condition', [SAME, IDENT, OTHER])
def test_the_attackers_pictures_are_nobody_elses_templates_or_references(world, tmp_path, condition):
    made = context(tmp_path / 'attacker', {'condition': condition, 'folder': '', 'align': 'none', 'size': SIDE}, world)
    steps.attacker(made)
    mine = ImageSet.load(made.out)
    people = {group: set(names) for group, names in DEALT.people.items()}
    victims = set(SET.records['image_id'].iloc[DEALT.others('victims')])
    whose = set(mine.records['subject'])
    if condition == IDENT:
        assert whose == people['attacker'] | people['victims']
        stolen = mine.records[mine.records['subject'].isin(people['victims'])]
        assert set(stolen['image_id']) == victims, 'neither the template nor its references'
    else:
        assert whose == people['attacker']
    same = np.array_equal(mine.pixels, SET.pixels[DEALT.pictures('attacker')])
    assert same == (condition == SAME), 'another pipeline changes the pictures, and only it'


@pytest.mark.parametrize('foreign', [False, True])
def test_of_a_second_sensors_folder_the_other_groups_people_are_left_out_unless_it_is_a_set_of_its_own(
        world, tmp_path, foreign):
    names = [DEALT.people[group][0] for group in ('attacker', 'victims', 'judge')]
    for number, name in enumerate(names):
        (tmp_path / 'set' / name).mkdir(parents=True)
        for touch in range(2):
            Image.fromarray(255 - SET.pixels[2 * number + touch, 0]).save(tmp_path / 'set' / name / f'{touch}.png')
    made = context(tmp_path / 'attacker', {
        'condition': OTHER, 'folder': 'other', 'align': 'none', 'size': SIDE, 'foreign': foreign,
        'data': replace(DATA, layout='folder')}, world, folders={'other': str(tmp_path / 'set')})
    steps.attacker(made)
    mine = ImageSet.load(made.out)
    assert set(mine.records['subject']) == set(names if foreign else names[:1]) and mine.meta['copies'] == 0


def test_copies_of_other_groups_pictures_are_left_out_of_a_folder_whatever_their_names(world, tmp_path):
    (tmp_path / 'more').mkdir()
    rows = [*DEALT.pictures('victims')[:3], *DEALT.pictures('attacker')[:2]]
    fresh = np.random.default_rng(9).integers(0, 256, (1, *SET.pixels.shape[1:]), np.uint8)
    for number, picture in enumerate([*SET.pixels[rows], *fresh]):
        Image.fromarray(picture[0]).save(tmp_path / 'more' / f'{number}.png')
    made = context(tmp_path / 'attacker', {'condition': SAME, 'folder': 'unknown', 'align': 'none', 'size': SIDE,
                                           'foreign': False, 'data': DATA}, world,
                   folders={'unknown': str(tmp_path / 'more')})
    steps.attacker(made)
    mine = ImageSet.load(made.out)
    assert np.array_equal(mine.pixels, [*SET.pixels[rows[3:]], *fresh]) and mine.meta['copies'] == 3
    for number in range(3, 6):
        (tmp_path / 'more' / f'{number}.png').unlink()
    with pytest.raises(UserError, match='nobody but people of the set'):
        steps.attacker(replace(made, out=tmp_path))


def test_stolen_are_the_template_and_then_the_others_never_a_reference():
    for number in (1, 3):
        table = steps.probes_of(DEALT, Arm('x', 'one', 'network', number=number))
        assert len(table) == number * len(DEALT.of('victims'))
        assert not set(table['row']) & set(DEALT.references('victims'))
        assert set(table[table['number'] == 0]['row']) == set(DEALT.templates())


def test_of_many_fingers_only_some_are_asked_about(world, tmp_path):
    made = context(tmp_path / 'asked', {'groups': ('threshold', 'victims'), 'identities': 1}, world)
    steps.subset(made)
    fewer, everyone = read_groups(made.out), ImageSet.load(made.out)
    assert len(fewer.of('victims')) == len(fewer.people['victims']) == everyone.records['identity'].nunique() - 5
    assert fewer.of('attacker') == DEALT.of('attacker'), 'the attacker holds all of its own'
    assert np.array_equal(everyone.pixels, SET.pixels[np.load(made.out / 'rows.npy')])


def test_asked_rows_are_found_whatever_their_order(world):
    asked = steps.Asked(context(Path(world['asked']).parent / 'x', {}, world))
    rows = DEALT.pictures('victims')[::-1]
    assert np.array_equal(asked.pixels[asked.at(rows)], SET.pixels[rows])


@pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')
def test_faces_are_cut_out_of_whole_pictures_two_ways(tmp_path):
    pytest.importorskip('dlib')
    folder = tmp_path / 'orl'
    for person in ('s1', 's2'):
        (folder / person).mkdir(parents=True)
        for number in (1, 2):
            shutil.copy(Path(REAL, 'orl-faces', person, f'{number}.pgm'), folder / person)
    read_folder(folder, DataConfig(root=str(folder), layout='orl'), tmp_path / 'set')
    made = context(tmp_path / 'faces', {'how': 'landmarks', 'size': 64}, {'pictures': tmp_path / 'set'})
    steps.cut_faces(made)
    cut = ImageSet.load(made.out)
    assert cut.pixels.shape == (4, 1, 64, 64) and cut.meta['faces_missed'] <= 1, 'the detector misses one in thirty'
    boxed = steps.other_pipeline(np.asarray(ImageSet.load(tmp_path / 'set').pixels), 'landmarks', 64)
    assert boxed.shape == cut.pixels.shape and not np.array_equal(boxed, cut.pixels), 'Diff-PreProc is another alignment'


# Which network? ---------------------------------------------------------------------------------------------------


def guessed(world: dict[str, Path], folder: Path, lengths: tuple[int, int] = (16, 16), told: str = '') -> dict[str, Any]:
    """Answers about vectors of the second of two candidates, whose clouds lie apart."""
    rng, asked = np.random.default_rng(3), len(np.load(world['asked'] / 'rows.npy'))
    inputs = {name: world[name] for name in ('people', 'asked')}
    for number, length in enumerate(lengths):
        centre = np.zeros(length)
        centre[number] = 4
        inputs[f'known/{number}'] = with_vectors(folder / f'known-{number}', centre + rng.normal(size=(80, length)))
        inputs[f'vectors/{number}'] = with_vectors(folder / f'vectors-{number}', centre + rng.normal(size=(asked, length)))
    made = context(folder / 'guess', {
        'pool': ('0', '1'), 'told': told, 'places': {'FT-1': '1'}, 'seed': 3,
        'inference': InferenceConfig(loop=LoopConfig(images=2_000, batch=32, snapshot_every=0))}, inputs)
    steps.guess(made)
    return steps.read_guesses(made.out)


def test_the_candidate_that_made_the_vectors_is_named(world, tmp_path):
    found = guessed(world, tmp_path)
    named = found['answers']['FT-1']['named']
    assert found['identities'] == DEALT.of('victims') and len(named) == len(found['identities'])
    assert np.mean([name == '1' for name in named]) > 0.9
    assert np.shape(found['answers']['FT-1']['log']) == (len(named), 2)


def test_a_length_that_one_candidate_alone_has_leaves_no_choice(world, tmp_path):
    found = guessed(world, tmp_path, (16, 8))
    assert found['candidates'] == ['1'] and set(found['answers']['FT-1']['named']) == {'1'}


def test_who_is_told_does_not_infer(world, tmp_path):
    assert set(guessed(world, tmp_path, told='0')['answers']['FT-1']['named']) == {'0'}


# Reconstructors ---------------------------------------------------------------------------------------------------


def trained(world: dict[str, Path], folder: Path, needed: str = '', run: Any = steps.reconstructor, **config: Any) -> Path:
    """A reconstructor's stage on the attacker's pictures."""
    attacker = context(folder / 'attacker', {'condition': SAME, 'folder': '', 'align': 'none', 'size': SIDE}, world)
    steps.attacker(attacker)
    vectors = embed(build_extractor(NETWORK, 0).eval(), np.asarray(ImageSet.load(attacker.out).pixels))
    guess = folder / 'guess'
    guess.mkdir()
    named = {'FT-1': {'named': ['one'] * 29 + ['two']}, 'FT-5': {'named': ['two'] * 30}}
    (guess / 'guesses.json').write_text(json.dumps({'answers': named}))
    made = context(folder / 'reconstructor', {
        'training': ReconstructionConfig(reconstructor=RECONSTRUCTOR), 'loop': LOOP, 'depths': (0.5, 1.0), 'rung': '',
        'joint': False, 'needed': needed, 'place': 'FT-1', 'seed': 3, **config}, {
        'pictures': attacker.out, 'vectors': with_vectors(folder / 'known', vectors), 'network': world['network/one'],
        'guess': guess})
    run(made)
    return made.out


def test_a_reconstructor_is_trained_for_a_network_that_somebodys_vector_was_taken_for(world, tmp_path):
    used = trained(world, tmp_path / 'a', 'one')
    facts = json.loads((used / 'trained.json').read_text())
    assert load_reconstructor(used).config.length == 16 and facts['pictures'] == len(DEALT.pictures('attacker'))
    assert facts['layers'] == ['stages.1.1', 'stages.3.1'], 'the ends of the second and of the last stage'
    unused = trained(world, tmp_path / 'b', 'two')
    assert (unused / steps.UNUSED).exists() and not (unused / 'reconstructor.json').exists()


def test_a_linear_reconstructor_is_solved_for_a_network_that_somebodys_vector_was_taken_for(world, tmp_path):
    linear = replace(RECONSTRUCTOR, family='linear', last='none')
    made, unused = (trained(world, tmp_path / needed, needed, steps.linear_reconstructor, reconstructor=linear)
                    for needed in ('one', 'two'))
    facts = json.loads((made / 'trained.json').read_text())
    assert facts['pictures'] == facts['images'] == len(DEALT.pictures('attacker')) and facts['seconds'] > 0
    network, known = load_reconstructor(made), SET.pixels[DEALT.pictures('attacker')]
    drawn = reconstruct(network, np.load(tmp_path / 'one' / 'known' / 'vectors.npy'))
    assert drawn.shape == known.shape and network.config.family == 'linear'
    off, blind = (np.square(each - known.astype(float)).mean() for each in (drawn, known.mean(axis=0)))
    assert off < blind, 'of pictures that it learnt from it knows more than their mean'
    assert (unused / steps.UNUSED).exists()


def test_layers_at_shares_of_the_depth():
    layers = ('a', 'b', 'c', 'd', '')
    assert at_depths(layers, (0.25, 1.0)) == ('a', 'd') and at_depths(layers, ()) == ()
    assert at_depths(layers, (0.01, 0.5, 0.51)) == ('a', 'b'), 'each layer once, never the vector itself'


# From vectors to pictures -----------------------------------------------------------------------------------------


def inverted(world: dict[str, Path], folder: Path, *arms: Arm, **inputs: Path) -> list[np.ndarray]:
    made = context(folder / 'invert', {'arms': arms, 'pool': ('one', JUDGE), 'places': {'FT-1': 'one'}, 'steps': 0,
                                       'equal_time': False, 'seed': 3}, {**world, **inputs})
    steps.invert(made)
    return [np.load(made.out / f'pixels-{number}.npy') for number in range(len(arms))]


def test_each_vector_goes_to_the_reconstructor_of_the_network_named_for_it(world, tmp_path):
    guess, identities = tmp_path / 'guess', DEALT.of('victims')
    guess.mkdir()
    named = [('one', JUDGE)[number % 2] for number in range(len(identities))]
    (guess / 'guesses.json').write_text(json.dumps({'answers': {'FT-1': {'named': named}}}))
    arms = Arm('guess', 'one', 'guess'), Arm('one', 'one', 'network', 'one'), Arm('two', 'one', 'network', JUDGE), Arm(
        'mean', 'one', 'mean')
    world = {**world, 'guess': guess, 'attacker': world['pictures']}
    mixed, one, two, _ = inverted(world, tmp_path / 'a', *arms)
    assert not np.array_equal(one, two)
    for number, name in enumerate(named):
        assert np.array_equal(mixed[number], (one if name == 'one' else two)[number])
    (tmp_path / 'unused').mkdir()
    (tmp_path / 'unused' / steps.UNUSED).write_text('{}')
    mixed, one, mean = inverted({**world, f'reconstructor/{JUDGE}': tmp_path / 'unused'}, tmp_path / 'b', *arms[:2], arms[3])
    for number, name in enumerate(named):
        assert np.array_equal(mixed[number], (one if name == 'one' else mean)[number]), 'no reconstructor: nothing is known'


def test_a_linear_map_between_spaces_is_undone(world, tmp_path):
    rng = np.random.default_rng(5)
    turn, known = rng.normal(size=(16, 16)), rng.normal(size=(200, 16))
    vectors = np.load(world['vectors/one'] / 'vectors.npy')
    moved = {'vectors/other': with_vectors(tmp_path / 'moved', vectors @ turn),
             'known/other': with_vectors(tmp_path / 'theirs', known @ turn),
             'known/one': with_vectors(tmp_path / 'ours', known)}
    linear, ranged, plain = inverted(
        world, tmp_path, Arm('linear', 'other', 'network', 'one', 'linear'),
        Arm('ranges', 'other', 'network', 'one', 'ranges'), Arm('plain', 'one', 'network', 'one'), **moved)
    off = [np.abs(each.astype(int) - plain).mean() for each in (linear, ranged)]
    assert off[0] < 1 < off[1], 'the adapter finds the turn, ranges alone do not'


def test_the_mean_is_one_for_all_and_the_nearest_is_the_attackers_own(world, tmp_path):
    attacker = context(tmp_path / 'attacker', {'condition': SAME, 'folder': '', 'align': 'none', 'size': SIDE}, world)
    steps.attacker(attacker)
    known = ImageSet.load(attacker.out)
    vectors = embed(build_extractor(NETWORK, 0).eval(), np.asarray(known.pixels))
    mean, nearest = inverted(world, tmp_path, Arm('mean', 'one', 'mean'), Arm('nearest', 'one', 'nearest', 'one'),
                             attacker=attacker.out, **{'known/one': with_vectors(tmp_path / 'known', vectors)})
    assert (mean == mean[0]).all()
    ids = set(known.records['image_id'])
    assert all(image_id(picture) in ids for picture in nearest)


# Getting in -------------------------------------------------------------------------------------------------------


def tried(world: dict[str, Path], folder: Path, pixels: np.ndarray, arm: Arm = PLANTED,
          **config: Any) -> tuple[pd.DataFrame, ...]:
    """Scores, those of the same image, and errors of planted reconstructions."""
    made = context(folder / 'made', {}, world)
    np.save(made.out / 'pixels-0.npy', pixels)
    steps.probes_of(DEALT, arm).assign(arm=arm.name).to_parquet(made.out / 'probes.parquet')
    settings, without = config.pop('settings', {}), config.pop('without', ())
    inputs = {**{name: path for name, path in world.items() if name not in without}, 'invert': made.out}
    done = context(folder / 'verify', {'arms': (arm,), 'rungs': {'one': ''}, 'kind': 'trained', 'judge': 'trained',
                                       'perceptual': JUDGE, **config}, inputs)
    done.settings = settings
    done = replace(done, name='verify/group')
    steps.verify(done)
    return tuple(pd.read_parquet(done.out / f'{name}.parquet') for name in ('scores', 'same', 'errors'))


def test_the_very_pictures_get_in_everywhere_and_differ_in_nothing(world, tmp_path):
    originals = SET.pixels[DEALT.templates()]
    _, own, errors = tried(world, tmp_path, originals)
    assert len(own) == 2 * len(originals) and own['genuine'].all() and set(own['condition']) == {'one', JUDGE}
    assert np.allclose(own['similarity'], 1, atol=1e-5)
    assert errors['dssim'].abs().max() < 1e-9 and errors[['perceptual', 'distance']].abs().to_numpy().max() < 1e-3


def test_every_comparison_is_there_once_with_its_people(world, tmp_path):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, SET.pixels[DEALT.templates()].shape, np.uint8)
    scores, _, _ = tried(world, tmp_path, pixels)
    victims, references = len(DEALT.of('victims')), len(DEALT.references('victims'))
    judged = scores[scores['condition'] == JUDGE]
    assert len(judged) == victims * references and judged['genuine'].sum() == references
    owner = dict(zip(SET.records.index, SET.records['subject'], strict=True))
    assert (judged['reference'].map(owner) == judged['reference_subject'].astype(str)).all()
    network = build_extractor(NETWORK, 1).eval()
    rows = judged['reference'].to_numpy()[:references]
    again = cosine(embed(network, pixels), embed(network, SET.pixels[rows]))
    assert np.allclose(judged['similarity'].to_numpy().reshape(victims, references), again, atol=1e-4)


def test_further_draws_of_the_placebo_are_shown_to_the_judge_alone(world, tmp_path):
    pixels = SET.pixels[DEALT.templates()]
    for name, seen in ((PLACEBOS[0], {'one', JUDGE}), (PLACEBOS[1], {JUDGE})):
        scores, _, errors = tried(world, tmp_path / name, pixels, arm=Arm(name, 'one', 'network', 'one', 'reordered'))
        assert set(scores['condition']) == seen and errors['distance'].isna().all() == (len(seen) == 1)


def test_a_system_that_cannot_be_asked_leaves_the_judge_alone(world, tmp_path):
    pixels = SET.pixels[DEALT.templates()]
    scores, _, errors = tried(world, tmp_path, pixels, without=('network/one',), kind='templates', settings={'folders': {}})
    assert set(scores['condition']) == {JUDGE} and errors['distance'].isna().all() and errors['perceptual'].notna().all()


def test_kept_replies_stand_for_a_callable(world, tmp_path):
    pixels = SET.pixels[DEALT.templates()]
    vectors = np.load(world['vectors/one'] / 'vectors.npy')[steps.Asked(context(tmp_path / 'x', {}, world)).at(
        DEALT.templates())]
    np.savez(tmp_path / 'replies.npz', image_id=np.array([image_id(each) for each in pixels]), vectors=vectors)
    _, own, _ = tried(world, tmp_path, pixels, without=('network/one',), kind='callable',
                      settings={'folders': {'replies': str(tmp_path / 'replies.npz')}})
    own = own[own['condition'] == 'one']
    assert len(own) == len(pixels) and np.allclose(own['similarity'], 1, atol=1e-5)
    with pytest.raises(UserError, match='lacks 1 of 1'):
        steps.kept_answers(str(tmp_path / 'replies.npz'), 255 - pixels[:1])


def test_thresholds_come_from_all_pictures_of_people_who_are_not_judged(world, tmp_path):
    made = context(tmp_path / 'real', {'systems': ['one', JUDGE], 'matcher': False}, world)
    steps.real(made)
    table = pd.read_parquet(made.out / 'scores.parquet')
    for group in ('victims', 'threshold'):
        mine = table[(table['attack'] == f'real, {group}') & (table['condition'] == JUDGE)]
        assert set(mine['probe_subject']) == set(mine['reference_subject']) == set(DEALT.people[group])
        assert (group == 'threshold') == bool(set(mine['probe']) & set(mine['reference'])), 'few people: all their pictures'
    mine = table[(table['attack'] == 'real, threshold') & (table['condition'] == 'one')]
    assert set(mine['reference']) == set(DEALT.pictures('threshold', 1)) and len(mine) == mine['probe'].nunique() * 50
    found = impostors(mine, 0.01)
    strangers = {frozenset(each) for each in mine.loc[mine['probe_subject'] != mine['reference_subject'].astype(str),
                                                      ['probe', 'reference']].to_numpy().tolist()}
    assert found.false_matches <= 0.01 * len(strangers) < len(mine) * 0.01, 'each pair of pictures counts once'
    quality = steps.quality_of(made.out)
    assert np.allclose(quality['quality'], SET.pixels[quality['row']].reshape(len(quality), -1).std(axis=1))


def test_the_same_seed_gives_the_same_reconstructions(world, tmp_path):
    first, second = (load_reconstructor(trained(world, tmp_path / name)) for name in 'ab')
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    vectors = np.load(world['vectors/one'] / 'vectors.npy')[:4]
    assert np.array_equal(reconstruct(first, vectors), reconstruct(second, vectors))
