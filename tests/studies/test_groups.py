"""The set that a study of embeddings begins with: augmented as the source did it, identities of fingers or of persons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fpray.data.config import AugmentConfig, GroupsConfig
from fpray.data.groups import deal, held_apart
from fpray.data.imageset import ImageSet
from fpray.errors import UserError
from fpray.studies.groups import (
    SetConfig,
    altered_references,
    foretold,
    group_notices,
    identified,
    people_lines,
    read_or_draw,
)
from fpray.studies.inversion import plan
from fpray.studies.inversion_config import PRESETS, InversionConfig, TargetConfig
from tests.studies.laying import changed, with_part, write_set
from tests.studies.test_steps import context

GROUPS = GroupsConfig(public=2, adapt=2, attacker=2, judge=2, threshold=2, victims=2)
BASE = replace(PRESETS['smoke'](), seed=5, groups=GROUPS)
HANDS = 'Left', 'Right'
FINGERS = 'index', 'thumb'


@pytest.fixture(scope='module')
def prints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people with four fingers each, one picture a finger, in the layout socofing."""
    folder = tmp_path_factory.mktemp('prints')
    for person in range(12):
        for place, (hand, finger) in enumerate((hand, finger) for hand in HANDS for finger in FINGERS):
            pixels = np.random.default_rng([person, place]).integers(0, 256, (48, 48), np.uint8)
            Image.fromarray(pixels).save(folder / f'{person + 1}__M_{hand}_{finger}_finger.png')
    return folder


def on(folder: Path, **augment: object) -> InversionConfig:
    made = AugmentConfig(**augment)  # type: ignore[arg-type]
    data = replace(BASE.data, root=str(folder), layout='socofing', query_impressions=0,
                   impressions=4 if made.of('socofing').level == 'person' else 1)
    return replace(BASE, data=data, augment=made)


def made(config: InversionConfig, folder: Path) -> tuple[ImageSet, SetConfig]:
    """The set of a plan's first stage."""
    stage = plan(config).stages[0]
    done = context(folder, stage.config, folders={'root': config.data.root})
    read_or_draw(done)
    return ImageSet.load(done.out), stage.config


@pytest.mark.parametrize('level', ['finger', 'person'])
def test_versions_stay_with_their_original_in_every_group(prints, tmp_path, level):
    everyone, config = made(on(prints, times=10, level=level), tmp_path / 'set')
    assert len(everyone) == 12 * 4 * 10 and everyone.records['altered'].sum() == 12 * 4 * 9
    assert everyone.records['identity'].nunique() == (48 if level == 'finger' else 12)
    groups = deal(everyone.records, config.data, GROUPS, config.seed)
    whose = {row: group for group in groups.people for row in groups.pictures(group)}
    homes = everyone.records.loc[list(whose)].groupby('path').apply(
        lambda each: {whose[row] for row in each.index}, include_groups=False)
    assert len(homes) and (homes.map(len) == 1).all(), 'no picture has versions in two groups'
    first = everyone.records.loc[groups.templates()]
    assert not first['altered'].any(), 'what is stolen is a picture as it was taken'
    touches = 4 if level == 'person' else 1
    for rows in groups.rows.values():
        drawn = everyone.records.loc[rows]
        assert len(rows) == 10 * touches and (drawn['origin'].value_counts() == 10).all(), 'each with all its versions'
        assert not drawn['altered'].iloc[:touches].any() and drawn['altered'].iloc[touches:].all()
    assert altered_references(everyone, groups) == (level == 'finger'), 'of a person other fingers as they were taken'
    assert groups.altered and any('10 versions' in text for text in group_notices(everyone, groups))
    assert any('identity is a person' in text for text in group_notices(everyone, groups)) == (level == 'person')


@pytest.mark.parametrize('augment', [{'times': 10}, {'times': 10, 'level': 'person'}, {'level': 'person'}])
def test_names_alone_foretell_the_groups(prints, tmp_path, augment):
    config = on(prints, **augment)
    laid = plan(config)
    everyone, made_of = made(config, tmp_path / 'set')
    foreseen = deal(foretold(laid), laid.data, GROUPS, 3)
    real = deal(everyone.records, made_of.data, GROUPS, 3)
    assert len(foretold(laid)) == len(everyone) and foreseen.people == real.people
    assert {name: len(rows) for name, rows in foreseen.rows.items()} == {name: len(rows) for name, rows in real.rows.items()}
    assert any(line.startswith('  victims: 2 people') for line in people_lines(laid))


def test_the_stand_in_is_augmented_too():
    laid = plan(replace(BASE, augment=AugmentConfig(times=3)))
    wanted = BASE.data.impressions + BASE.data.query_impressions
    groups = deal(foretold(laid), laid.data, GROUPS, 3)
    assert all(len(rows) == 3 * wanted for rows in groups.rows.values())


def test_held_pictures_take_their_versions_along():
    origins = np.array([*'abcabcabc'])
    assert held_apart(range(9), origins, 1) == ([0, 1, 3, 4, 6, 7], [2, 5, 8])
    assert held_apart([0, 3, 6], origins, 1) == ([0, 3], [6]), 'an only picture can but leave versions out'
    assert held_apart(range(6), None, 2) == ([0, 1, 2, 3], [4, 5])


def test_the_sources_factors_hang_on_the_layout():
    source = AugmentConfig(times=0, level='source')
    assert [(source.of(layout).times, source.of(layout).level) for layout in ('polyu', 'socofing', 'fvc', '')] == [
        (50, 'finger'), (10, 'person'), (1, 'finger'), (1, 'finger')]
    assert PRESETS['paper']().augment == source and PRESETS['desk']().augment == AugmentConfig()


def test_the_sets_key_hangs_on_what_is_done_not_on_how_it_was_asked_for(prints):
    fields = {'times': 10, 'level': 'finger'}
    assert 'pictures' in changed(plan, on(prints, **fields), on(prints, **fields | {'times': 20}))
    assert 'pictures' in changed(plan, on(prints, **fields), on(prints, **fields | {'strength': 'hard'}))
    assert not changed(plan, BASE, replace(BASE, augment=AugmentConfig(strength='hard')))
    assert not changed(plan, on(prints, times=10, level='person'), on(prints, times=0, level='source'))


@pytest.mark.parametrize('change, fault', [
    ({'times': -1}, 'augment.times'), ({'kinds': ()}, 'nothing given'), ({'kinds': ('fire',)}, 'fire'),
    ({'strength': 'utmost'}, 'utmost'), ({'level': 'hand'}, 'hand')])
def test_an_augmentation_that_cannot_be_is_refused(change, fault):
    with pytest.raises(UserError, match=fault):
        AugmentConfig(**change)


def test_persons_must_be_known_and_templates_be_stored(tmp_path):
    folder = write_set(tmp_path / 'set', range(1, 13), 6, 48)
    fingers = with_part(BASE, 'data', root=str(folder), layout='fvc')
    with pytest.raises(UserError, match='knows no persons'):
        plan(replace(fingers, augment=AugmentConfig(level='person')))
    with pytest.raises(UserError, match='knows no persons'):
        identified(pd.DataFrame({'subject': ['a']}), 'person', False)
    stored = TargetConfig(kind='templates', templates=str(tmp_path))
    with pytest.raises(UserError, match='no stored template'):
        replace(fingers, target=stored, augment=AugmentConfig(times=2))
    np.save(tmp_path / 'x.npy', np.zeros(4))
    one = write_set(tmp_path / 'one', range(1, 13), 1, 48)
    with pytest.raises(UserError, match='faces are no prints'):
        replace(with_part(fingers, 'data', resize='none'), align='landmarks', augment=AugmentConfig(times=2))
    with pytest.raises(UserError, match='different fingers'):
        replace(with_part(fingers, 'data', ppi=500), judge=replace(BASE.judge, kind='matcher'),
                augment=AugmentConfig(level='person'))
    with pytest.raises(UserError, match='too few pictures an identity'):
        plan(replace(with_part(fingers, 'data', root=str(one), impressions=1, query_impressions=5), target=stored))
