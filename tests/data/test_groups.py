"""Groups of people share nobody, and every draw hangs on contents alone."""

import numpy as np
import pandas as pd
import pytest

from fpray.data.config import GROUPS, DataConfig, GroupsConfig
from fpray.data.groups import Groups, deal, labels_of, places
from fpray.errors import UserError

DATA = DataConfig(impressions=3, query_impressions=1)
SIZES = GroupsConfig(public=4, adapt=3, attacker=5, judge=4, threshold=3, victims=2)


def records(people: int, fingers: int = 2, impressions: int = 5) -> pd.DataFrame:
    rows = [(f'p{p}', f'p{p}/{f}', str(i), f'{p}/{f}/{i}') for p in range(people) for f in range(fingers)
            for i in range(impressions)]
    return pd.DataFrame(rows, columns=['subject', 'identity', 'impression', 'image_id'])


def test_groups_share_no_person_and_no_picture() -> None:
    groups = deal(records(25), DATA, SIZES, 7)
    people = [subject for group in GROUPS for subject in groups.people[group]]
    assert len(people) == len(set(people)) == 21
    rows = np.concatenate([groups.pictures(group) for group in GROUPS])
    assert len(rows) == len(set(rows.tolist())) == 21 * 2 * 4


def test_template_references_and_others_divide_a_victims_pictures() -> None:
    groups = deal(records(21), DATA, SIZES, 1)
    parts = [groups.templates(), groups.references(count=2), groups.others(count=2)]
    assert [len(part) for part in parts] == [4, 8, 4]
    assert sorted(np.concatenate(parts)) == sorted(groups.pictures('victims'))


def test_the_deal_hangs_neither_on_the_rows_order_nor_on_a_later_groups_size() -> None:
    table = records(30)
    mixed = table.sample(frac=1, random_state=3)
    one, other = deal(table, DATA, SIZES, 5), deal(mixed.reset_index(drop=True), DATA, SIZES, 5)
    assert one.people == other.people
    ids = table['image_id'].to_numpy(), mixed['image_id'].to_numpy()
    assert [ids[0][row] for row in one.templates()] == [ids[1][row] for row in other.templates()]
    larger = GroupsConfig(**{**vars(SIZES), 'public': 6})
    assert deal(table, DATA, larger, 5).people['victims'] == one.people['victims']


def test_one_picture_under_two_identities_is_left_out() -> None:
    table = records(22)
    table.loc[table.index[-1], 'image_id'] = table['image_id'].iloc[0]
    groups = deal(table, DATA, SIZES, 2)
    assert groups.left_out == 2
    used = np.concatenate([groups.pictures(group) for group in GROUPS])
    assert not {0, len(table) - 1} & set(used.tolist())


def test_altered_versions_come_after_the_pictures_as_taken() -> None:
    real = records(21, impressions=1).assign(altered=False)
    fake = pd.concat([real.assign(altered=True, image_id=real['image_id'] + f'#{n}') for n in range(3)])
    groups = deal(pd.concat([real, fake], ignore_index=True), DataConfig(impressions=1, query_impressions=3), SIZES, 2)
    assert groups.altered and (groups.templates() < len(real)).all() and (groups.references() >= len(real)).all()


def test_too_few_people_or_pictures_are_said_in_numbers() -> None:
    with pytest.raises(UserError, match=r'20 people can be used, 21 are asked for; give more, or use --groups\.public 3'):
        deal(records(20), DATA, SIZES, 1)
    with pytest.raises(UserError, match=r'no identity has 4 different pictures .* the most is 3'):
        deal(records(25, impressions=3), DATA, SIZES, 1)


def test_a_group_round_trips_as_json_and_labels_follow_identities() -> None:
    table = records(25)
    groups = deal(table, DATA, SIZES, 7)
    assert Groups.from_json(groups.to_json()) == groups
    labels, names = labels_of(table, groups.pictures('judge'))
    assert len(names) == 8 and (np.bincount(labels) == 4).all()
    assert [names[label] for label in labels] == table['identity'].iloc[groups.pictures('judge')].tolist()


def test_places_finds_each_row_and_names_what_is_lacking() -> None:
    known = np.array([7, 2, 9, 4])
    assert places(known, np.array([4, 7, 4])).tolist() == [3, 0, 3] and places(known, np.array([], int)).tolist() == []
    for lacking in (1, 5, 10):
        with pytest.raises(KeyError, match='1 of 2 rows'):
            places(known, np.array([9, lacking]))
