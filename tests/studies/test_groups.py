"""The set that a study of embeddings begins with: augmented as the source did it, identities of fingers or of persons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.data.config import AugmentConfig, GroupsConfig
from fpray.data.groups import deal
from fpray.data.imageset import ImageSet
from fpray.errors import UserError
from fpray.studies.groups import SetConfig, foretold, group_notices, people_lines, read_or_draw
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
    config = with_part(BASE, 'data', root=str(folder), layout='socofing', impressions=4, query_impressions=2)
    return replace(config, augment=AugmentConfig(**augment))  # type: ignore[arg-type]


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
    assert groups.altered and any('10 versions' in text for text in group_notices(everyone, groups))
    assert any('identity is a person' in text for text in group_notices(everyone, groups)) == (level == 'person')


def test_names_alone_foretell_the_groups(prints, tmp_path):
    for config in (on(prints, times=10), on(prints, times=10, level='person'), on(prints, level='person'),
                   replace(BASE, augment=AugmentConfig(times=3))):
        laid = plan(config)
        lines = people_lines(laid)
        records = foretold(laid)
        wanted = config.data.impressions + config.data.query_impressions
        victims = next(line for line in lines if 'victims' in line)
        assert f' {2 * records.groupby("subject")["identity"].nunique().iloc[0]:,} identities' in victims
        assert f' {wanted * 2 * records.groupby("subject")["identity"].nunique().iloc[0]:,} pictures' in victims
    everyone, _ = made(on(prints, times=10), tmp_path / 'set')
    assert len(foretold(plan(on(prints, times=10)))) == len(everyone)


def test_the_sources_factors_hang_on_the_layout():
    source = AugmentConfig(times=0, level='source')
    assert [(source.of(layout).times, source.of(layout).level) for layout in ('polyu', 'socofing', 'fvc', '')] == [
        (50, 'finger'), (10, 'person'), (1, 'finger'), (1, 'finger')]
    assert PRESETS['paper']().augment == source and PRESETS['desk']().augment == AugmentConfig()


def test_the_sets_key_hangs_on_what_is_done_not_on_how_it_was_asked_for(prints):
    fields = {'times': 10, 'level': 'finger'}
    assert 'pictures' in changed(plan, on(prints, **fields), on(prints, **fields | {'times': 20}))
    assert 'pictures' in changed(plan, on(prints, **fields), on(prints, **fields | {'level': 'person'}))
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
        made(replace(fingers, augment=AugmentConfig(level='person')), tmp_path / 'made')
    stored = TargetConfig(kind='templates', templates=str(tmp_path))
    with pytest.raises(UserError, match='nobody stored'):
        replace(fingers, target=stored, augment=AugmentConfig(times=2))
    np.save(tmp_path / 'x.npy', np.zeros(4))
    one = write_set(tmp_path / 'one', range(1, 13), 1, 48)
    with pytest.raises(UserError, match='too few pictures an identity'):
        plan(replace(with_part(fingers, 'data', root=str(one), impressions=1, query_impressions=5), target=stored))
