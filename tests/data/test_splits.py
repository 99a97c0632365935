"""Splits: nobody and nothing on two sides, the same draw from the same seed, equal pictures a finger."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpray.data import imageset, splits
from fpray.data.config import DataConfig, SplitConfig
from fpray.errors import UserError
from fpray.metrics.membership import LABELS

DATA = DataConfig(root='set', layout='fvc')
SIZES = SplitConfig(sizes=(2, 4), headline=4, nonmembers=4, scoring=2, placebo=4, rehearsal=2, reference=1)


def _records(people, fingers=2, impressions=5, prefix=''):
    rows = [(f'{prefix}{p}-{f}-{i}', f'{prefix}p{p}', f'{prefix}p{p}/f{f}', str(i))
            for p in range(people) for f in range(fingers) for i in range(impressions)]
    return pd.DataFrame(rows, columns=['image_id', 'subject', 'identity', 'impression']).assign(
        altered=False, path=lambda frame: frame['image_id'] + '.png')


@st.composite
def sets(draw):
    """Sets with uneven fingers, duplicates across identities, repeats within them, in any order."""
    rows = []
    for person in range(draw(st.integers(8, 40))):
        for finger in range(draw(st.integers(1, 3))):
            for impression in range(draw(st.integers(1, 6))):
                name = f'{person}-{finger}-{impression}'
                rows.append((name, f'p{person}', f'p{person}/f{finger}', str(impression)))
    frame = pd.DataFrame(rows, columns=['image_id', 'subject', 'identity', 'impression'])
    frame['altered'] = False
    pool = draw(st.lists(st.integers(0, len(frame) - 1), max_size=12))
    for number, row in enumerate(pool):
        frame.loc[row, 'image_id'] = f'copy {number % 3}'
    frame['path'] = frame['identity'] + '_' + frame['impression']
    return frame.sample(frac=1, random_state=draw(st.integers(0, 9))).reset_index(drop=True)


CONFIGS = st.builds(lambda k, u: DataConfig(root='set', layout='fvc', impressions=k, query_impressions=u),
                    st.integers(1, 4), st.integers(0, 3))


def _drawn(records, data, seed=0, sizes=SIZES):
    """The split, or None where the drawn set is too small for it: that is refused, and rightly."""
    try:
        return splits.draw_split(records, data, sizes, seed)
    except UserError as fault:
        assert 'people' in str(fault) or 'impressions' in str(fault)
        return None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sets(), CONFIGS, st.integers(0, 5))
def test_no_person_picture_or_duplicate_is_in_two_places(records, data, seed):
    split = _drawn(records, data, seed)
    if split is None:
        return
    people = [subject for group in splits.GROUPS for subject in split.people[group]]
    assert len(people) == len(set(people))
    where = {}
    for group in splits.GROUPS:
        for row in splits.training_rows(split, group):
            where.setdefault(records['image_id'][row], set()).add(f'{group} trained')
            assert records['subject'][row] in split.people[group]
        for subject in split.people[group]:
            for identity in split.fingers[subject]:
                assert len(split.trained[identity]) == data.impressions
                for row in split.unseen.get(identity, ()):
                    where.setdefault(records['image_id'][row], set()).add(f'{group} unseen')
                    assert records['identity'][row] == identity
    assert all(len(places) == 1 for places in where.values())
    several = set(imageset.duplicates(records))
    assert not several & set(where)
    assert split.left_out == int(records['image_id'].isin(several).sum())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sets(), CONFIGS, st.integers(0, 5))
def test_the_same_seed_gives_the_same_split_whatever_the_order_of_files(records, data, seed):
    split = _drawn(records, data, seed)
    if split is None:
        return
    assert split == splits.draw_split(records, data, SIZES, seed)
    assert split == splits.Split.from_json(split.to_json())
    shuffled = records.sample(frac=1, random_state=1).reset_index(drop=True)
    other = splits.draw_split(shuffled, data, SIZES, seed)
    assert other.people == split.people
    for identity, rows in split.trained.items():
        assert records['image_id'][rows].tolist() == shuffled['image_id'][other.trained[identity]].tolist()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sets(), CONFIGS, st.sampled_from(['mia', 'iia', 'memorisation']), st.integers(1, 4))
def test_both_sides_of_a_query_have_equal_pictures_a_finger(records, data, contrast, people):
    split = _drawn(records, data)
    if split is None:
        return
    if contrast != 'mia' and not split.unseen_impressions:
        with pytest.raises(UserError, match='no unseen impression'):
            splits.query(split, records, contrast)
        return
    asked = splits.query(split, records, contrast, people=people)
    number = {'mia': data.impressions, 'iia': split.unseen_impressions,
              'memorisation': min(data.impressions, split.unseen_impressions)}[contrast]
    label = LABELS[contrast]
    assert set(asked.groupby(['identity', label]).size()) <= {number}
    assert asked['row'].is_unique and asked['image_id'].is_unique
    assert (records['image_id'].iloc[asked['row']].to_numpy() == asked['image_id']).all()
    trained = set(splits.training_rows(split, 'members', people).tolist())
    assert asked['is_member'].tolist() == [row in trained for row in asked['row']]
    assert asked['is_member_subject'].equals(asked['subject'].isin(split.people['members'][:people]))
    assert (asked['is_member_identity'] == asked['is_member_subject']).all()
    if contrast == 'memorisation':
        assert asked[asked[label]]['identity'].tolist() == asked[~asked[label]]['identity'].tolist()


def test_a_smaller_set_is_the_beginning_of_a_larger_one():
    records = _records(40)
    split = splits.draw_split(records, DATA, SIZES, 3)
    small, large = splits.training_rows(split, 'members', 2), splits.training_rows(split, 'members')
    assert len(small) == 2 * 2 * 3 and len(large) == 4 * 2 * 3 and np.array_equal(small, large[:len(small)])
    other = splits.draw_split(records, DATA, SplitConfig((2, 4, 8), 8, 4, 2, 4, 2, 1), 3)
    assert other.people['members'][:4] == split.people['members']
    with pytest.raises(ValueError, match='5 people asked of the 4'):
        splits.training_rows(split, 'members', 5)


def test_membership_and_impressions_are_drawn_evenly():
    """Over many seeds everybody is a member equally often, and so is every impression: no 'first three'."""
    records = _records(16, fingers=1)
    members, impressions = np.zeros(16), np.zeros(5)
    for seed in range(200):
        split = splits.draw_split(records, DATA, SIZES, seed)
        members[[int(subject[1:]) for subject in split.people['members']]] += 1
        rows = splits.training_rows(split, 'members')
        impressions += np.bincount(records['impression'][rows].astype(int), minlength=5)
    assert np.abs(members / 200 - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 200)
    assert np.abs(impressions / impressions.sum() - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / impressions.sum())


def test_learning_groups_that_cannot_be_filled_come_back_empty():
    split = splits.draw_split(_records(14), DATA, SIZES, 0)
    assert split.missing == ['rehearsal_in', 'rehearsal_out', 'reference']
    assert len(split.people['scoring']) == 2 and len(split.people['placebo']) == 4
    assert split.people['rehearsal_in'] == split.people['rehearsal_out'] == [] and split.drawn
    assert splits.draw_split(_records(8), DATA, SIZES, 0).missing == list(splits.GROUPS[2:])
    assert splits.draw_split(_records(40), DATA, SIZES, 0).missing == []
    nothing = SplitConfig((2, 4), 4, 4, 0, 0, 0, 0)
    assert splits.draw_split(_records(8), DATA, nothing, 0).missing == []
    with pytest.raises(UserError, match='no people in group placebo'):
        splits.query(splits.draw_split(_records(8), DATA, SIZES, 0), _records(8), 'mia', 'placebo')


def test_too_few_people_is_said_with_flags_that_would_do():
    records = _records(7)
    with pytest.raises(UserError, match=r'7 people .* 8 are asked \(4 members, 4 non-members\).*'
                                        '--split.sizes 1 3 --split.headline 3 --split.nonmembers 3'):
        splits.draw_split(records, DATA, SIZES, 0)
    assert splits.draw_split(records, DATA, SplitConfig((1, 3), 3, 3, 0, 0, 0, 0), 0)
    with pytest.raises(UserError, match=r'1 person has.*give a set of more people'):
        splits.draw_split(_records(1), DATA, SIZES, 0)


def test_too_few_impressions_is_said_with_the_most_there_are():
    with pytest.raises(UserError, match=r'no finger has 3 different .*most is 1; use --data.impressions 1'):
        splits.draw_split(_records(20, impressions=1), DATA, SIZES, 0)
    records = _records(20, impressions=3)
    records['image_id'] = records['identity']  # three copies of one picture are one impression
    with pytest.raises(UserError, match='the most is 1'):
        splits.draw_split(records, DATA, SIZES, 0)


def test_one_poor_finger_does_not_decide_for_the_set():
    records = _records(20)
    poor = records[(records['identity'] == 'p3/f0') & (records['impression'].astype(int) >= 3)].index
    records = records.drop(poor).reset_index(drop=True)
    split = splits.draw_split(records, DATA, SIZES, 0)
    assert split.unseen_impressions == 2 == splits.unseen_available(records, DATA)
    assert splits.draw_split(_records(20, impressions=4), DATA, SIZES, 0).unseen_impressions == 1
    assert splits.draw_split(_records(20, impressions=3), DATA, SIZES, 0).unseen_impressions == 0
    few = pd.concat([_records(20, impressions=3), _records(1, prefix='rich')], ignore_index=True)
    assert splits.unseen_available(few, DATA) == 0, 'one rich person is no contrast'


def _with_altered(records, labels, fingers=None):
    """Rows of altered versions, as SOCOFing has them: one a finger and label."""
    first = records.drop_duplicates('identity')
    first = first if fingers is None else first[first['identity'].isin(fingers)]
    parts = [first.assign(image_id=first['image_id'] + label, impression=label, altered=True)
             for label in labels]
    return pd.concat([records, *parts], ignore_index=True)


def test_altered_pictures_stand_in_for_unseen_ones_by_the_same_alterations():
    single = DataConfig(root='set', layout='fvc', impressions=1)
    records = _with_altered(_records(20, impressions=1), ['CR', 'Obl'])
    records = _with_altered(records, ['Zcut'], fingers=['p0/f0', 'p1/f0'])
    assert splits.unseen_available(records, single) == 0
    split = splits.draw_split(records, single, SIZES, 0)
    assert split.altered and split.unseen_impressions == 2
    for rows in split.unseen.values():
        assert records['impression'][rows].tolist() == ['CR', 'Obl']
    assert not records['altered'][splits.training_rows(split, 'members')].any()
    asked = splits.query(split, records, 'iia')
    assert asked['altered'].all() and not splits.query(split, records, 'mia')['altered'].any()
    with pytest.raises(UserError, match='alteration would tell the sides apart'):
        splits.query(split, records, 'memorisation')


def test_real_impressions_come_before_altered_ones():
    records = _with_altered(_records(20), ['CR'])
    split = splits.draw_split(records, DATA, SIZES, 0)
    assert not split.altered and split.unseen_impressions == 2
    assert not records['altered'][[row for rows in split.unseen.values() for row in rows]].any()
    alone = _records(20).assign(altered=True)
    assert len(splits.training_rows(splits.draw_split(alone, DATA, SIZES, 0), 'members')) == 4 * 2 * 3


def _sides(members=6, nonmembers=8, reference=0):
    parts = [_records(members, prefix='a').assign(side='members'),
             _records(nonmembers, prefix='b').assign(side='nonmembers')]
    return pd.concat([*parts, _records(reference, prefix='c').assign(side='reference')], ignore_index=True)


def test_given_sides_are_kept_and_controls_come_from_the_reference():
    records = _sides(reference=30)
    split = splits.split_sides(records, DATA, SIZES, 0)
    assert sorted(split.people['members']) == [f'ap{n}' for n in range(6)]
    assert sorted(split.people['nonmembers']) == [f'bp{n}' for n in range(8)]
    assert all(subject.startswith('c') for group in splits.GROUPS[2:] for subject in split.people[group])
    assert not split.missing and split.borrowed == list(splits.GROUPS[2:]) and not split.drawn
    asked = splits.query(split, records, 'mia')
    assert len(asked) == (6 + 8) * 2 * 3 and int(asked['is_member'].sum()) == 6 * 2 * 3
    assert split.unseen_impressions == 0, 'the owner trained on every picture of a member'
    assert splits.split_sides(_sides(), DATA, SIZES, 0).missing == list(splits.GROUPS[2:])
    altered = splits.split_sides(_with_altered(records, ['one', 'two']), DATA, SIZES, 0)
    assert altered.altered and altered.unseen_impressions == 2


def test_a_person_or_picture_on_both_sides_is_refused():
    records = _sides(reference=3)
    for row, column, value, why in (
            (60, 'subject', 'ap0', 'same people on both sides, members and nonmembers: 1, e.g. ap0 and ap0'),
            (60, 'image_id', 'a0-0-0', r'same pictures .* members and nonmembers: 1, e.g. a0-0-0\.png and'),
            (140, 'subject', 'bp0', 'the same people on both sides, nonmembers and reference'),
            (140, 'image_id', 'b0-0-0', 'the same pictures on both sides, nonmembers and reference')):
        spoilt = records.copy()
        spoilt.loc[row, column] = value
        with pytest.raises(UserError, match=why):
            splits.split_sides(spoilt, DATA, SIZES, 0)
    with pytest.raises(UserError, match='no finger of the nonmembers has 3 different'):
        splits.split_sides(_sides(nonmembers=0), DATA, SIZES, 0)


def test_a_reference_fills_what_the_set_cannot():
    other = _records(9, prefix='other').assign(side='reference')
    records = pd.concat([_records(11).assign(side='set'), other], ignore_index=True)
    split = splits.draw_split(records, DATA, SIZES, 0)
    assert not split.missing and not any(name.startswith('other') for name in split.people['scoring'])
    assert split.borrowed == ['placebo', 'rehearsal_in', 'rehearsal_out']
    spoilt = records.assign(subject=records['subject'].str.removeprefix('other'))
    with pytest.raises(UserError, match=r'the same people on both sides, the set and --data\.reference'):
        splits.draw_split(spoilt, DATA, SIZES, 0)


def test_the_check_sees_a_person_in_two_groups_and_a_picture_twice():
    records = _records(40)
    text = splits.draw_split(records, DATA, SIZES, 0).to_json()
    shared = splits.Split.from_json(text)
    shared.people['placebo'][0] = shared.people['members'][0]
    with pytest.raises(AssertionError, match='two groups'):
        splits.check_disjoint(shared, records)
    twice = splits.Split.from_json(text)
    identity = twice.fingers[twice.people['members'][0]][0]
    twice.unseen[identity][0] = twice.trained[identity][0]
    with pytest.raises(AssertionError, match='stands twice'):
        splits.check_disjoint(twice, records)


def test_a_copy_counts_once_however_often_it_is_altered():
    records = _records(40)
    records.loc[[0, 10], 'image_id'] = 'copy'  # one picture of each of two people
    versions = records.assign(altered=True, impression='altered-0', image_id=records['image_id'] + ' altered')
    split = splits.draw_split(pd.concat([records, versions], ignore_index=True), DATA, SIZES, 0)
    assert split.left_out == 2 and split.repeats == 0


def test_query_can_ask_about_fewer_people_on_each_side():
    records = _records(40)
    split = splits.draw_split(records, DATA, SIZES, 0)
    asked = splits.query(split, records, 'mia', people=2, negative_people=3)
    assert asked.groupby('is_member')['subject'].nunique().to_dict() == {True: 2, False: 3}
    rehearsed = splits.query(split, records, 'iia', 'rehearsal_in', 'rehearsal_out')
    assert set(rehearsed['subject']) == set(split.people['rehearsal_in']) | set(split.people['rehearsal_out'])
    with pytest.raises(ValueError, match='unknown contrast'):
        splits.query(split, records, 'all')


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sets(), CONFIGS, st.sampled_from(splits.CONTRASTS), st.integers(1, 12))
def test_a_number_of_query_pictures_is_halved_alike(records, data, contrast, half):
    """Equal halves, and the same number of fingers with the same numbers of pictures on each of them."""
    split = _drawn(records, data)
    if split is None or (contrast != 'mia' and not split.unseen_impressions):
        return
    everything = splits.query(split, records, contrast)
    asked = splits.query(split, records, contrast, pictures=2 * half)
    label = LABELS[contrast]
    sides = [part for _, part in asked.groupby(label)] if len(asked) else []
    most = min(int(everything[label].sum()), int((~everything[label]).sum()))
    assert [len(side) for side in sides] == [min(half, most)] * 2 * (most > 0)
    counts = [sorted(side.groupby('identity').size()) for side in sides]
    assert all(one == counts[0] for one in counts)
    for side in sides:  # whole people first: only the last one lacks pictures
        whole = everything[everything['row'].isin(side['row']) | everything['subject'].isin(side['subject'])]
        whole = whole[whole[label] == side[label].iloc[0]].groupby('subject', sort=False).size()
        cut = whole - side.groupby('subject').size().reindex(whole.index)
        assert (cut[:-1] == 0).all() and set(side['row']) <= set(everything['row'])


def test_the_sources_numbers_of_query_pictures():
    """Tables 4.1 and 5.1: 8 fingers x 5 pictures a person, 3 of them trained on; here a tenth of the people."""
    records, data = _records(50, fingers=8), DataConfig(root='set', layout='fvc', impressions=3, query_impressions=2)
    sizes = SplitConfig((5, 10, 20, 40), 20, 10, 0, 0, 0, 0)
    split = splits.draw_split(records, data, sizes, 0)
    for people, pictures, unseen in ((5, 160, 160), (10, 320, 320), (20, 400, 320), (40, 400, 320)):
        splits.check_queries(split, people, pictures)
        for contrast, number in (('mia', pictures), ('iia', unseen)):
            asked = splits.query(split, records, contrast, people=people, pictures=pictures)
            assert asked['is_member_subject'].tolist() == [True] * (number // 2) + [False] * (number // 2)
    rows = splits.real_rows(split, 5, 200)
    assert len(set(rows.tolist())) == 200 and records['subject'][rows].nunique() == 5
    assert set(records['subject'][rows]) <= set(split.people['nonmembers'])


def test_more_query_pictures_than_there_are_are_refused():
    split = splits.draw_split(_records(40), DATA, SIZES, 0)  # 2 fingers x 3 a person, 4 non-members
    splits.check_queries(split, 4, 48)
    for people, pictures, words in ((4, 50, r'of members, who have 24 drawn; ask about at most 48'),
                                    (2, 26, r'26 for 2 people: 13 must be of members, who have 12')):
        with pytest.raises(UserError, match=words):
            splits.check_queries(split, people, pictures)
    with pytest.raises(UserError, match=r'--query\.real 4 41: the first 4 non-members have 40 pictures'):
        splits.real_rows(split, 4, 41)
    with pytest.raises(UserError, match='the first 4 non-members'):
        splits.real_rows(split, 5, 10)


REAL = os.environ.get('FPRAY_TEST_DATA', '')


@pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')
def test_socofing_splits_leave_its_duplicates_out():
    data = DataConfig(root=REAL, layout='socofing', resize='crop', size=96, impressions=1)
    found = imageset.read_folder(Path(REAL) / 'socofing' / 'Real', data)
    sizes = SplitConfig((25, 50, 100), 50, 100, 30, 20, 20, 10)
    assert splits.unseen_available(found.records, data) == 0
    split = splits.draw_split(found.records, data, sizes, 1)
    assert split.left_out == 7 and split.short == 7 and not split.missing
    used = [row for rows in split.trained.values() for row in rows]
    assert not set(found.records['image_id'][used]) & set(imageset.duplicates(found.records))
    part = found.select(np.flatnonzero(found.records['subject'].isin(split.people['members'][:10]
                                                                    + split.people['nonmembers'][:10])))
    longer = imageset.with_altered(part, 1, 2, seed=1)
    small = splits.draw_split(longer.records, data, SIZES, 1)
    assert small.left_out == int(part.records['image_id'].isin(imageset.duplicates(part.records)).sum())
    assert small.altered and splits.query(small, longer.records, 'iia')['altered'].all()


@pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')
def test_few_people_of_real_sets():
    pattern = r'(?P<subject>\d+)_(?P<finger>\d+)_(?P<impression>\d+)'
    data = DataConfig(root=REAL, layout='pattern', pattern=pattern, resize='crop', size=320)
    records = imageset.read_folder(Path(REAL) / 'neurotechnology' / 'UareU', data).records
    split = splits.draw_split(records, data, SplitConfig((1, 2), 2, 2, 1, 2, 1, 1), 0)
    assert split.missing == list(splits.GROUPS[2:]) and split.unseen_impressions == 2
    with pytest.raises(UserError, match=r'4 people.*8 are asked'):
        splits.draw_split(records, data, SIZES, 0)
