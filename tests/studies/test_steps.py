"""The steps of an audit, each run directly with a context made by hand; a whole chain of them without a cluster."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata

from fpray.attacks.discriminator import load_discriminator
from fpray.attacks.nearest import calibrated_score, nearest_score
from fpray.data.config import DataConfig, SplitConfig
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet
from fpray.data.splits import GROUPS, Split, draw_split, query, training_rows
from fpray.distributed.train import fit
from fpray.errors import UserError
from fpray.models.config import DiscriminatorConfig, GeneratorConfig, ScorerConfig
from fpray.models.gan import build_discriminator, build_generator
from fpray.store import Context
from fpray.studies import steps
from fpray.studies.config import PRESETS, GeneratorQueryConfig, ScoringConfig, SearchConfig, architecture, for_pictures
from fpray.studies.tasks import ShadowTask, VictimTask, load_scorer, read_split, save_network
from fpray.training.config import ClassifierConfig, GanConfig, LoopConfig, MatchingConfig
from fpray.training.loop import Progress

SIDE = 16
DATA = DataConfig(impressions=2, query_impressions=1)
SIZES = SplitConfig(sizes=(3, 5), headline=5, nonmembers=5, scoring=8, placebo=5, rehearsal=5, reference=0)
POSITIONS, PATTERNS = ('left_index', 'right_thumb'), ('whorl', 'loop', 'arch')
LOOP = LoopConfig(images=64, batch=16, snapshot_every=32, device='cpu')
ATTACKS = PRESETS['smoke']().attacks
MATCHING = MatchingConfig(samples=32, splits=2, patience=1, stop=False)
GAN = architecture(GanConfig(lr_g=4e-4, lr_d=4e-4), 2, 16)


def make_set(people: int = 34, impressions: int = 3, **columns: str) -> ImageSet:
    """Pictures of people with two fingers each: a pattern of the finger's own under fresh noise; columns overridden."""
    rng, pixels, rows = np.random.default_rng(7), [], []
    for person in range(people):
        for finger, position in enumerate(POSITIONS):
            base = rng.integers(40, 200, (1, SIDE, SIDE))
            for touch in range(impressions):
                pixels.append(np.clip(base + rng.normal(0, 10, base.shape), 0, 255).astype(np.uint8))
                rows.append({'subject': f'p{person:02d}', 'identity': f'p{person:02d}/{position}', 'impression': str(touch),
                             'position': position, 'pattern': PATTERNS[(person + finger) % 3]})
    records = pd.DataFrame(rows).assign(path='synthetic', image_id=[image_id(picture) for picture in pixels], **columns)
    return ImageSet(np.stack(pixels), records, {'name': 'made', 'layout': 'synthetic', 'synthetic': True,
                                                'subject_known': True, 'skipped': [], 'ignored': 0})


SET = make_set()
SPLIT = draw_split(SET.records, DATA, SIZES, 3)


def context(out: Path, config: Any, inputs: Mapping[str, Path] | None = None, **settings: Any) -> Context:
    """A stage's context whose results and scratch lie in new folders under `out`."""
    for name in ('out', 'scratch'):
        (out / name).mkdir(parents=True)
    return Context(out.name, out.name, config, dict(inputs or {}), out / 'out', out / 'scratch', settings=settings)


# Seeds


def test_seeds_are_independent_of_each_other() -> None:
    found = [steps.derive_seed(5, *words) for words in (
        (), ('a',), ('b',), ('a', 'b'), ('ab',), ('b', 'a'), ('a', ''), ('', 'a'))]
    assert len(set(found)) == len(found) and all(0 <= seed < 2**63 for seed in found)
    assert steps.derive_seed(5, 'a', 'b') == int(hashlib.sha256(b'5\0a\0b').hexdigest()[:16], 16) // 2
    assert steps.derive_seed(6, 'a') != steps.derive_seed(5, 'a')
    spread = np.array([steps.derive_seed(seed, 'x') for seed in range(2_000)]) / 2**63
    assert abs(spread.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 2_000), 'evenly over the whole range'


# What the scoring network learns


def labels(records: pd.DataFrame, split: Split = SPLIT, **config: Any) -> tuple[str, list[str], dict[str, np.ndarray]]:
    """`class_labels` with a scoring configuration."""
    return steps.class_labels(records, split, ScoringConfig(**config), 11)


@pytest.mark.parametrize('kind', ['pattern', 'position', 'identity'])
def test_class_labels_speak_of_the_scoring_people_alone(kind: str) -> None:
    found, classes, arrays = labels(SET.records, classes=kind)
    assert found == kind and len(classes) == {'pattern': 3, 'position': 2, 'identity': 16}[kind]
    for rows, numbers in (('rows', 'classes'), ('held_rows', 'held_classes')):
        assert set(SET.records['subject'].iloc[arrays[rows]]) <= set(SPLIT.people['scoring'])
        assert [classes[n] for n in arrays[numbers]] == SET.records[kind].iloc[arrays[rows]].tolist()
    together = np.concatenate([arrays['rows'], arrays['held_rows']])
    assert len(set(together)) == len(together) == 8 * 2 * 3, 'every picture of theirs, once'


@pytest.mark.parametrize('kind', ['pattern', 'position'])
@pytest.mark.parametrize(('share', 'people'), [(0.25, 2), (0.5, 4), (0.01, 1)])
def test_classes_are_held_out_by_person(kind: str, share: float, people: int) -> None:
    _, _, arrays = labels(SET.records, classes=kind, holdout=share)
    trained, held = (set(SET.records['subject'].iloc[arrays[name]]) for name in ('rows', 'held_rows'))
    assert not trained & held and len(held) == people and len(trained) == 8 - people
    again = labels(SET.records, classes=kind, holdout=share)[2]
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)


def test_identities_are_held_out_by_impression() -> None:
    _, classes, arrays = labels(SET.records, classes='identity')
    assert sorted(np.bincount(arrays['held_classes'])) == [1] * 16 and sorted(np.bincount(arrays['classes'])) == [2] * 16
    assert not set(arrays['rows']) & set(arrays['held_rows']) and classes == sorted(classes)


def test_auto_takes_what_the_layout_knows() -> None:
    assert labels(SET.records)[0] == 'pattern'
    assert labels(SET.records.assign(pattern=''))[0] == 'position'
    assert labels(SET.records.assign(pattern='', position=''))[0] == 'identity'
    assert labels(SET.records.assign(pattern='whorl'))[0] == 'position', 'one class is none'


def test_a_class_of_held_out_people_alone_is_left_out() -> None:
    rare = SET.records.copy()
    held = set(rare['subject'].iloc[labels(rare, classes='pattern')[2]['held_rows']])
    rare.loc[rare['subject'].isin(held), 'pattern'] = 'rare'
    _, classes, arrays = labels(rare, classes='pattern')
    assert 'rare' not in classes and len(arrays['held_rows']) == 0 and len(arrays['rows'])


def test_nothing_to_tell_apart_is_said() -> None:
    with pytest.raises(UserError, match=r'1 class of kind pattern among its people; choose another --scorer\.classes'):
        labels(SET.records.assign(pattern='whorl'), classes='pattern')
    empty = replace(SPLIT, people={**SPLIT.people, 'scoring': []})
    with pytest.raises(UserError, match=r'no people to learn from; give --split\.scoring people'):
        labels(SET.records, empty)


# Queries


def test_queries_hold_every_contrast_that_can_be_had() -> None:
    asked = steps.queries(SPLIT, SET.records, 'members', 'nonmembers', 3)
    assert list(asked['contrast'].unique()) == ['mia', 'iia', 'memorisation']
    for contrast, part in asked.groupby('contrast'):
        expected = query(SPLIT, SET.records, str(contrast), people=3)
        pd.testing.assert_frame_equal(part.reset_index(drop=True), expected)
    trained = set(training_rows(SPLIT, 'members', 3))
    assert set(asked.loc[asked['is_member'], 'row']) == trained
    assert set(asked.loc[~asked['is_member_subject'], 'subject']) == set(SPLIT.people['nonmembers'])


def test_altered_and_missing_impressions_leave_contrasts_out() -> None:
    altered = replace(SPLIT, altered=True)
    asked = steps.queries(altered, SET.records, 'members', 'nonmembers', None)
    assert list(asked['contrast'].unique()) == ['mia', 'iia'] and asked.loc[asked['contrast'] == 'iia', 'altered'].all()
    none = draw_split(SET.records, replace(DATA, impressions=3), SIZES, 3)
    assert list(steps.queries(none, SET.records, 'members', 'nonmembers', None)['contrast'].unique()) == ['mia']
    with pytest.raises(UserError, match='no people in group reference'):
        steps.queries(SPLIT, SET.records, 'reference', 'nonmembers', None)


# The search's networks


def test_a_trial_names_its_networks() -> None:
    params = {'blocks': 2, 'width': 32, 'noise': 17, 'batch': 8, 'lr_g': 1e-4, 'lr_d': 2e-4, 'smoothing': 0.15}
    gan = steps.trial_gan(GanConfig(loss='bce', ema=0.5), params)
    assert gan.generator.widths == (32, 32, 16) and gan.generator.noise == 17 and gan.discriminator.widths == (16, 32, 64)
    assert (gan.lr_g, gan.lr_d, gan.smoothing, gan.ema) == (1e-4, 2e-4, 0.15, 0.5)


def test_the_space_holds_what_the_configuration_says() -> None:
    space = steps.space(SearchConfig(blocks=(2, 3), width=(16,), noise=(8, 9), batch=(4,), lr_g=(1e-4, 1e-3),
                                     lr_d=(2e-4, 2e-3), smoothing=(0.0, 0.3)))
    assert set(space) == {'blocks', 'width', 'noise', 'batch', 'lr_g', 'lr_d', 'smoothing'}
    assert space['noise'].options == (8, 9) and space['blocks'].options == (2, 3)
    assert (space['lr_d'].low, space['lr_d'].high, space['lr_d'].log) == (2e-4, 2e-3, True)
    assert (space['smoothing'].low, space['smoothing'].high, space['smoothing'].log) == (0.0, 0.3, False)
    for options in ({name: each.options[0] if hasattr(each, 'options') else each.high for name, each in space.items()},):
        steps.trial_gan(PRESETS['smoke']().shadow.gan, options)


# A whole chain, step after step, without a cluster


def _chain(root: Path) -> dict[str, Path]:
    """Results of every step but the drawing of pictures, on the tiny set; name of a stage -> its folder."""
    done = {'pictures': root / 'pictures'}
    SET.save(done['pictures'])

    def step(name: str, function: Any, config: Any, *inputs: str, **more: str) -> None:
        folders = {each: done[each] for each in inputs} | {each: done[stage] for each, stage in more.items()}
        made = context(root / name, config, folders, actors=0, checkpoint_seconds=1e9)
        function(made)
        done[name] = made.out

    base = ('pictures', 'people')
    step('people', steps.people, steps.PeopleConfig(DATA, SIZES, 3), 'pictures')
    network = ClassifierConfig(scorer=ScorerConfig(widths=(8, 8)))
    step('scorer', steps.scorer, {'scorer': ScoringConfig(network=network, loop=LOOP), 'seed': 1}, *base)
    for name, group, people in (('5', 'members', 5), ('rehearsal', 'rehearsal_in', 5)):
        def train(made: Context, group: str = group, people: int = people) -> None:
            gan = for_pictures(GAN, (SIDE, SIDE), 1)
            task = VictimTask(*(str(made.inputs[each]) for each in (*base, 'scorer')), group, people, gan, LOOP, MATCHING, 2)
            fit(task, LOOP, 2, made)

        step(f'victim-{name}', train, None, *base, 'scorer')
        step(f'samples-{name}', steps.samples, {'draws': 40, 'seed': 3}, victim=f'victim-{name}')
    shadow = replace(PRESETS['smoke']().shadow, gan=GAN, loop=LOOP, matching=MATCHING)
    step('search', steps.search_shadow, {'search': SearchConfig(mode='off'), 'shadow': shadow, 'seed': 4},
         samples='samples-5', scorer='scorer')
    for number in range(2):
        step(f'shadow-{number}', steps.shadow, {'matching': MATCHING, 'seed': 10 + number, 'course': 2},
             samples='samples-5', scorer='scorer', search='search')
    step('attack', steps.attack, {'victim': '5', 'attacks': ATTACKS, 'positives': 'members', 'negatives': 'nonmembers',
                                  'people': 5, 'course': True}, *base, samples='samples-5', victim='victim-5',
         reference='samples-rehearsal', **{'shadow/00': 'shadow-0', 'shadow/01': 'shadow-1'})
    step('quality', steps.quality, {'measure': MATCHING.measure, 'headline': 5, 'sizes': {'5': 5, 'rehearsal': 5},
                                    'seed': 6}, *base, scorer='scorer',
         **{'samples/5': 'samples-5', 'samples/rehearsal': 'samples-rehearsal'})
    return done


@pytest.fixture(scope='module')
def chain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """See `_chain`."""
    return _chain(tmp_path_factory.mktemp('chain'))


@pytest.fixture(scope='module')
def scores(chain: dict[str, Path]) -> pd.DataFrame:
    """The table of membership scores of the chain's attack."""
    return pd.read_parquet(chain['attack'] / 'scores.parquet')


def test_people_writes_the_split(chain: dict[str, Path]) -> None:
    split = read_split(chain['people'])
    assert split == draw_split(SET.records, DATA, SIZES, steps.derive_seed(3, 'split'))
    everyone = [subject for group in GROUPS for subject in split.people[group]]
    assert len(everyone) == len(set(everyone)) == 5 + 5 + 8 + 5 + 10


def test_an_owners_sides_are_kept_not_drawn(tmp_path: Path) -> None:
    half = SET.records['subject'] < 'p12'
    side = np.where(half, 'members', np.where(SET.records['subject'] < 'p20', 'nonmembers', 'reference'))
    replace(SET, records=SET.records.assign(side=side)).save(tmp_path / 'pictures')
    made = context(tmp_path / 'people', steps.PeopleConfig(DATA, SIZES, 3), {'pictures': tmp_path / 'pictures'})
    steps.people(made)
    split = read_split(made.out)
    assert not split.drawn and set(split.people['members']) == set(SET.records.loc[half, 'subject'])
    assert not split.missing or set(split.missing) <= set(GROUPS[2:])
    assert set(split.people['scoring']) <= set(SET.records.loc[side == 'reference', 'subject'])


def test_the_scoring_network_says_what_it_knows(chain: dict[str, Path]) -> None:
    told = json.loads((chain['scorer'] / 'scorer.json').read_text())
    assert told['kind'] == 'pattern' and told['classes'] == sorted(PATTERNS) and told['chance'] == 1 / 3
    assert told['held_out'] == 2 * 2 * 3 and 0 <= told['accuracy'] <= 1
    network = load_scorer(chain['scorer'])
    assert not network.training and network.config.image == (SIDE, SIDE)


def test_samples_are_what_the_generator_draws(chain: dict[str, Path], tmp_path: Path) -> None:
    drawn = np.load(chain['samples-5'] / 'samples.npy')
    assert drawn.shape == (40, 1, SIDE, SIDE) and drawn.dtype == np.uint8 and len(np.unique(drawn, axis=0)) > 1
    for name, config, same in (('again', {'draws': 40, 'seed': 3}, True), ('fewer', {'draws': 7, 'seed': 3}, True),
                               ('other', {'draws': 40, 'seed': 4}, False)):
        made = context(tmp_path / name, config, {'victim': chain['victim-5']})
        steps.samples(made)
        again = np.load(made.out / 'samples.npy')
        assert np.array_equal(again, drawn[:len(again)]) == same


def test_many_samples_come_in_chunks_that_differ(tmp_path: Path) -> None:
    generator = build_generator(GeneratorConfig(image=(8, 8), noise=4, widths=(8, 8)), 0)
    (tmp_path / 'victim').mkdir()
    save_network(generator, generator.config, tmp_path / 'victim', 'generator')
    made = context(tmp_path / 'samples', {'draws': 1_100, 'seed': 0}, {'victim': tmp_path / 'victim'})
    steps.samples(made)
    drawn = np.load(made.out / 'samples.npy')
    assert drawn.shape == (1_100, 1, 8, 8) and not np.array_equal(drawn[:76], drawn[1_024:])


def test_without_a_search_the_shadow_is_as_configured(chain: dict[str, Path]) -> None:
    gan, loop = steps.read_best(chain['search'])
    assert gan == GAN and loop == LOOP
    assert not (chain['search'] / 'trials.json').exists()
    told = [json.loads((chain[f'shadow-{n}'] / 'shadow.json').read_text()) for n in range(2)]
    assert [point['images_seen'] for point in told[0]['trace']] == [32, 64]
    assert told[0]['stopped_at'] in (32, 64) and told[0]['trace'] != told[1]['trace'], 'seeds of their own'
    assert sorted(path.stem for path in (chain['shadow-0'] / 'course').glob('*.pt')) == ['32', '64']


def test_the_best_trial_is_the_first_shadow(tmp_path: Path) -> None:
    (tmp_path / 'search' / 'best' / 'course').mkdir(parents=True)
    (tmp_path / 'search' / 'best.json').write_text(json.dumps({'gan': {'generator': {}, 'discriminator': {}}, 'loop': {}}))
    (tmp_path / 'search' / 'best' / 'shadow.json').write_text('{"stopped_at": 7}')
    made = context(tmp_path / 'shadow', {'best': True}, {'search': tmp_path / 'search'})
    steps.shadow(made)
    assert json.loads((made.out / 'shadow.json').read_text()) == {'stopped_at': 7} and (made.out / 'course').is_dir()


def test_the_table_of_scores_is_whole(scores: pd.DataFrame) -> None:
    columns = ['image_id', 'subject', 'identity', 'score', 'is_member', 'is_member_identity', 'is_member_subject', 'attack',
               'victim', 'replicate', 'contrast', 'row']
    assert set(columns) <= set(scores.columns) and np.isfinite(scores['score']).all() and set(scores['victim']) == {'5'}
    rows = scores.groupby(['attack', 'replicate', 'contrast']).size()
    pictures = {'mia': 5 * 2 * 2 * 2, 'iia': 5 * 2 * 2, 'memorisation': 5 * 2 * 2}
    kinds = [('shadow', ''), ('shadow', '0'), ('shadow', '1'), *((name, '') for name in ATTACKS[1:])]
    assert rows.to_dict() == {(*kind, contrast): count for kind in kinds for contrast, count in pictures.items()}
    assert (SET.records['image_id'].iloc[scores['row']].to_numpy() == scores['image_id'].to_numpy()).all()


def pick(scores: pd.DataFrame, attack: str, contrast: str, replicate: str = '') -> pd.DataFrame:
    """One attack's rows of one contrast."""
    return scores[(scores['attack'] == attack) & (scores['contrast'] == contrast) & (scores['replicate'] == replicate)]


@pytest.mark.parametrize('contrast', ['mia', 'iia', 'memorisation'])
def test_ranks_are_averaged_within_a_contrast(scores: pd.DataFrame, contrast: str) -> None:
    single = [pick(scores, 'shadow', contrast, str(n))['score'].to_numpy() for n in range(2)]
    expected = sum((rankdata(one) - 0.5) / len(one) for one in single) / 2
    np.testing.assert_allclose(pick(scores, 'shadow', contrast)['score'], expected)
    assert not np.allclose(rankdata(single[0]), rankdata(single[1])), 'the average says more than one shadow'


def test_scores_are_those_of_the_networks_and_samples(chain: dict[str, Path], scores: pd.DataFrame) -> None:
    asked = pick(scores, 'shadow', 'mia', '1')
    pixels = SET.pixels[asked['row'].to_numpy()]
    for name, attack, replicate in (('shadow-1', 'shadow', '1'), ('victim-5', 'white-box', '')):
        alone = load_discriminator(chain[name] / 'discriminator.json', chain[name] / 'discriminator.pt')
        np.testing.assert_array_equal(pick(scores, attack, 'mia', replicate)['score'], alone(pixels))
    drawn, other = (np.load(chain[f'samples-{name}'] / 'samples.npy') for name in ('5', 'rehearsal'))
    np.testing.assert_allclose(pick(scores, 'nearest', 'mia')['score'], nearest_score(pixels, drawn), atol=1e-5)
    np.testing.assert_allclose(pick(scores, 'nearest-calibrated', 'mia')['score'], calibrated_score(pixels, drawn, other),
                               atol=2e-5)


def test_the_course_follows_each_shadow(chain: dict[str, Path], scores: pd.DataFrame) -> None:
    course = pd.read_parquet(chain['attack'] / 'course.parquet')
    assert sorted(course.groupby(['shadow', 'images_seen']).size().index) == [
        (f'shadow/0{n}', images) for n in range(2) for images in (32, 64)]
    assert set(course['contrast']) == {'mia'}
    stopped = json.loads((chain['shadow-0'] / 'shadow.json').read_text())['stopped_at']
    there = course[(course['shadow'] == 'shadow/00') & (course['images_seen'] == stopped)]
    np.testing.assert_array_equal(there['score'], pick(scores, 'shadow', 'mia', '0')['score'])


def test_several_discriminators_score_as_each_does_alone(tmp_path: Path) -> None:
    files = []
    for number, widths in enumerate([(8, 8), (4, 8, 8), (8, 16)]):
        network = build_discriminator(DiscriminatorConfig(image=(SIDE, SIDE), widths=widths), number)
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if name.endswith('running_mean'):
                    buffer.normal_(generator=torch.Generator().manual_seed(number))
        save_network(network, network.config, tmp_path, str(number))
        files.append((str(tmp_path), str(number)))
    pixels = SET.pixels[:70]
    together = steps.discriminators(files)(pixels)
    assert together.shape == (70, 3) and together.dtype == np.float64
    for number in range(3):
        alone = load_discriminator(tmp_path / f'{number}.json', tmp_path / f'{number}.pt')
        np.testing.assert_array_equal(together[:, number], alone(pixels))
    np.testing.assert_array_equal(steps.discriminators(files[1:2])(pixels[::-1])[::-1, 0], together[:, 1])


def test_quality_stands_beside_real_pictures(chain: dict[str, Path]) -> None:
    rows = {row['name']: row for row in json.loads((chain['quality'] / 'quality.json').read_text())}
    assert list(rows) == ['training pictures', 'held-out impressions', 'unseen people', 'generator 5', 'generator rehearsal',
                          'noise']
    assert [(rows[n]['people'], rows[n]['images'], rows[n]['impressions']) for n in list(rows)[:3]] == [
        (5, 10, 2), (5, 10, 1), (5, 10, 2)]
    assert {row['images'] for row in rows.values()} == {10}, 'scores are compared at equal counts'
    assert rows['training pictures']['frechet'] == pytest.approx(0, abs=1e-6) and rows['training pictures']['recall'] is None
    assert rows['noise']['frechet'] > rows['unseen people']['frechet'] > 0
    assert all(rows[n]['role'] == ('victim' if n.startswith('generator') else 'reference') for n in rows)
    for row in rows.values():
        assert 1 <= row['is_mean'] <= 3 + 1e-9 and row['is_std'] >= 0 and 1 <= row['distinct_identities'] <= row['images']
    split = read_split(chain['people'])
    unseen = {row for rows in split.unseen.values() for row in rows}
    assert not unseen & set(training_rows(split, 'members')), 'held-out impressions were never trained on'


def test_real_images_stand_beside_where_they_are_asked_for(chain: dict[str, Path], tmp_path: Path) -> None:
    inputs = {'pictures': chain['pictures'], 'people': chain['people'], 'scorer': chain['scorer'],
              'samples/5': chain['samples-5']}
    made = context(tmp_path, {'measure': MATCHING, 'headline': 5, 'sizes': {'5': 5}, 'seed': 6, 'real': (3, 16)}, inputs)
    steps.quality(made)
    rows = {row['name']: row for row in json.loads((made.out / 'quality.json').read_text())}
    real = rows['real images']
    assert (real['role'], real['people'], real['impressions']) == ('reference', 3, 3)
    assert {row['images'] for row in rows.values()} == {10}, 'at equal counts too'


def test_query_pictures_that_the_set_lacks_are_refused_before_anything_is_trained(chain: dict[str, Path],
                                                                                  tmp_path: Path) -> None:
    config = steps.PeopleConfig(DATA, SIZES, 3)
    made = context(tmp_path, config, {'pictures': chain['pictures']}, query=GeneratorQueryConfig(pictures=(12, 42)))
    with pytest.raises(UserError, match=r'--query\.pictures 42 for 5 people: 21 must be of members, who have 20'):
        steps.people(made)
    assert not list(made.out.iterdir())
    with pytest.raises(UserError, match='for 5 people'):
        steps.queries(SPLIT, SET.records, 'members', 'nonmembers', 5, 42)
    asked = steps.queries(SPLIT, SET.records, 'members', 'nonmembers', 5, 12)
    assert asked.groupby('contrast').size().to_dict() == {'mia': 12, 'iia': 12, 'memorisation': 12}


def test_a_shadow_that_diverges_leaves_what_it_was_before(chain: dict[str, Path], tmp_path: Path) -> None:
    gan = for_pictures(GAN, (SIDE, SIDE), 1)
    task = ShadowTask(str(chain['samples-5']), str(chain['scorer']), gan, LOOP, MATCHING, 5, course=2)
    made = task.build(0, 1, 'cpu')
    assert made.observer(Progress(32, 64, {}, 1.0, True, False))['stop'] == 0
    with torch.no_grad():
        for weight in (*made.learner.sampler.parameters(), *made.learner.discriminator.parameters()):
            weight.fill_(torch.nan)
    told = made.observer(Progress(64, 64, {}, 1.0, True, True))
    assert told['stop'] == 1 and all(np.isfinite(value) for value in told.values())
    made.observer.finish(tmp_path)
    shadow = json.loads((tmp_path / 'shadow.json').read_text(), parse_constant=lambda name: pytest.fail(f'{name} in JSON'))
    assert shadow['stopped_at'] == 32 and shadow['trace'][1]['is_mean'] is None and not (tmp_path / 'grid.png').exists()
    assert [path.stem for path in (tmp_path / 'course').glob('*.pt')] == ['32'], 'its course ends where it diverged'
    alone = load_discriminator(tmp_path / 'discriminator.json', tmp_path / 'discriminator.pt')
    assert np.isfinite(alone(SET.pixels[:8])).all()


# An owner's samples


def _owner(folder: Path, samples: Path, draws: int = 4) -> Context:
    if not (folder / 'pictures').exists():
        SET.save(folder / 'pictures')
    made = context(folder / f'owner-{samples.name}', {'draws': draws, 'seed': 3, 'data': DATA},
                   {'pictures': folder / 'pictures'}, folders={'samples': str(samples)})
    steps.owner_samples(made)
    return made


def test_an_owners_samples_come_from_a_folder_or_a_file(tmp_path: Path) -> None:
    pixels = SET.pixels[:6]
    (tmp_path / 'made').mkdir()
    for number, picture in enumerate(pixels):
        Image.fromarray(picture[0]).save(tmp_path / 'made' / f'{number}.png')
    np.save(tmp_path / 'made.npy', pixels)
    known = {picture.tobytes() for picture in pixels}
    for source, draws, count in ((tmp_path / 'made', 4, 4), (tmp_path / 'made.npy', 6, 6)):
        drawn = np.load(_owner(tmp_path, source, draws).out / 'samples.npy')
        assert drawn.shape == (count, 1, SIDE, SIDE) and drawn.dtype == np.uint8, 'as many as asked'
        assert {picture.tobytes() for picture in drawn} <= known and len(np.unique(drawn, axis=0)) == count


def test_generated_pictures_of_another_form_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / 'wide.npy', np.zeros((6, 1, 8, 24), np.uint8))
    with pytest.raises(UserError, match=r'24 x 8 px gray generated, 16 x 16 px gray of .*--data\.resize'):
        _owner(tmp_path, tmp_path / 'wide.npy')
    np.save(tmp_path / 'colour.npy', np.zeros((6, 3, SIDE, SIDE), np.uint8))
    with pytest.raises(UserError, match='16 x 16 px colour generated, 16 x 16 px gray of the members'):
        _owner(tmp_path, tmp_path / 'colour.npy')


# Pictures from folders that need no stand-in


def _folder(path: Path, fingers: range, side: int = SIDE) -> str:
    """A folder in the layout fvc, two impressions a finger."""
    path.mkdir()
    for finger in fingers:
        for touch in range(1, 3):
            picture = np.random.default_rng([finger, touch]).integers(0, 256, (side, side), np.uint8)
            Image.fromarray(picture).save(path / f'{finger}_{touch}.png')
    return str(path)


def _read(out: Path, data: DataConfig, draws: int = 0, /, **folders: str) -> ImageSet:
    """The step 'pictures' on these folders."""
    read = {name: 'fingerprint' for name in folders if name != 'samples'}
    made = context(out, steps.PicturesConfig(data, SIZES, read, 0), folders=folders, draws=draws)
    steps.pictures(made)
    return ImageSet.load(made.out)


def test_pictures_are_read_and_altered_where_nothing_is_unseen(tmp_path: Path) -> None:
    folder, data = _folder(tmp_path / 'set', range(1, 41)), replace(DATA, root='.', layout='fvc')
    found = _read(tmp_path / 'pictures', data, root=folder)
    assert not found.meta['synthetic'] and not found.meta['subject_known'] and not found.meta.get('stand_in')
    altered = found.records['altered'].astype(bool)
    assert (~altered).sum() == 80 and altered.sum() == 40, 'one altered version a finger, as asked'
    split = steps.draw(found.records, data, SIZES, 0)
    assert split.altered and split.unseen_impressions == 1 and not split.missing
    fewer = _read(tmp_path / 'fewer', replace(data, impressions=1), root=folder)
    assert len(fewer) == 80, 'an unseen impression is there: none is made'


def test_an_owners_folders_become_one_set_with_sides(tmp_path: Path) -> None:
    sides = {name: _folder(tmp_path / name, fingers) for name, fingers in (
        ('members', range(1, 7)), ('nonmembers', range(11, 17)), ('reference', range(21, 51)))}
    data = replace(DATA, layout='fvc', members='.', nonmembers='.')
    found = _read(tmp_path / 'pictures', data, **sides, samples=_folder(tmp_path / 'made', range(90, 92)))
    split = steps.draw(found.records, data, SIZES, 0)
    assert set(found.records['side']) == set(sides) and not split.drawn and not split.missing
    assert set(split.people['members']) == {str(finger) for finger in range(1, 7)}
    assert split.altered, 'what the owner left in the folder was trained on: nothing is unseen'
    assert found.records.groupby('side')['altered'].sum().to_dict() == {'members': 6, 'nonmembers': 6, 'reference': 30}


def test_an_owners_faults_are_said_before_anything_is_trained(tmp_path: Path) -> None:
    sides = {name: _folder(tmp_path / name, fingers) for name, fingers in (
        ('members', range(1, 7)), ('nonmembers', range(11, 17)))}
    data = replace(DATA, layout='fvc', members='.', nonmembers='.')
    others = _folder(tmp_path / 'others', range(21, 51))
    with pytest.raises(UserError, match='32 x 32 px gray generated, 16 x 16 px gray of the members'):
        _read(tmp_path / 'a', data, **sides, reference=others, samples=_folder(tmp_path / 'made', range(90, 92), 32))
    with pytest.raises(UserError, match=r'2 generated pictures, --victim\.draws is 9: .* or use --victim\.draws 2'):
        _read(tmp_path / 'd', data, 9, **sides, reference=others, samples=_folder(tmp_path / 'two', range(90, 91)))
    with pytest.raises(UserError, match=r'--data\.reference lacks 10 of the people'):
        _read(tmp_path / 'b', data, **sides, reference=_folder(tmp_path / 'few', range(21, 35)))
    with pytest.raises(UserError, match='both sides'):
        _read(tmp_path / 'c', data, members=sides['members'], nonmembers=sides['members'], reference=others)
    assert not any(list((tmp_path / name / 'out').iterdir()) for name in 'abcd'), 'nothing half-written'
