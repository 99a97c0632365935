"""Who trains, who is asked about, and who the attacker learns from: splits by person, and query sets.

Membership is drawn at random by person; groups share no person and no picture; the pictures of a finger are
drawn at random within the finger by one rule for everybody. (Impressions 1-3 against 4-8 of the same fingers
separate by mean gray alone, AUC up to 0.73: "the first three are members" would manufacture a leak.)
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from fpray.data.config import DataConfig, SplitConfig
from fpray.data.imageset import duplicates
from fpray.errors import UserError

GROUPS = ('members', 'nonmembers', 'scoring', 'placebo', 'rehearsal_in', 'rehearsal_out', 'reference')
CONTRASTS = ('mia', 'iia', 'memorisation')
# In the order in which people are given out. A rehearsal has two sides: one alone is of no use.
_LEARNING = (('scoring',), ('placebo',), ('rehearsal_in', 'rehearsal_out'), ('reference',))


@dataclass(frozen=True)
class Split:
    """The division of a set's people, and the pictures drawn of each finger.

    Attributes:
        people: group -> subjects in drawn order. Groups: members (as many as the largest size; a smaller size
            is the first ones), nonmembers, scoring, placebo, rehearsal_in, rehearsal_out, reference.
        fingers: subject -> identities that are used.
        trained: identity -> rows drawn for training, `impressions` of them, in drawn order.
        unseen: identity -> rows never trained on, `unseen_impressions` of them; not every finger has them.
        impressions: training pictures a finger (k).
        unseen_impressions: unseen pictures a finger (u); 0: the IIA and memorisation contrasts are not to be
            had.
        altered: the unseen pictures are altered versions of the trained ones, the same alterations for
            everybody.
        left_out: pictures left out because the same pixels stand under several identities, altered versions not
            counted.
        repeats: pictures left out because the same identity has the same pixels already, likewise.
        short: identities left out for want of `impressions` different pictures.
        missing: learning groups that were asked for and are empty for want of people.
        borrowed: learning groups whose people come from the set's side 'reference'.
        drawn: membership was drawn at random by this product (False: an owner's folders).
        seed: the seed of all draws.
    """

    people: dict[str, list[str]]
    fingers: dict[str, list[str]]
    trained: dict[str, list[int]]
    unseen: dict[str, list[int]]
    impressions: int
    unseen_impressions: int
    altered: bool
    left_out: int
    repeats: int
    short: int
    missing: list[str]
    borrowed: list[str]
    drawn: bool
    seed: int

    def to_json(self) -> str:
        """The split as JSON text; `from_json` gives an equal split back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Split:
        """The split that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class _Drawn:
    """The fingers that can be used and the pictures drawn of them."""

    trained: dict[str, list[int]]
    unseen: dict[str, list[int]]
    fingers: dict[str, list[str]]
    unseen_impressions: int
    altered: bool
    left_out: int
    repeats: int
    short: int


def draw_split(records: pd.DataFrame, data: DataConfig, split: SplitConfig, seed: int) -> Split:
    """Draw members, non-members and the groups that an attack learns from.

    Rows whose column `side` (`imageset.join`) is 'reference' are other people's: they only fill learning
    groups for which the set itself has too few people left.

    Args:
        records: as in `ImageSet.records`; row numbers of the split are positions in it. The draw depends on
            its contents, not on its order.
        data: impressions and query_impressions are read from it.
        split: people a group.
        seed: at least 0.

    Raises:
        UserError: too few people for members and non-members, too few impressions, or a person or picture of
            the reference that is in the set too.
    """
    away = _on_side(records, 'reference')
    _refuse_shared(records, {'the set': ~away, '--data.reference': away})
    drawn = _draw_pictures(records, data, seed, ~away)
    subjects = _shuffled(_subjects(records, drawn, ~away), seed, 'people')
    most, need = max(split.sizes), max(split.sizes) + split.nonmembers
    if len(subjects) < need:
        have = '1 person has' if len(subjects) == 1 else f'{len(subjects):,} people have'
        raise UserError(f'{have} a finger with {data.impressions} different impressions, '
                        f'{need:,} are asked ({most:,} members, {split.nonmembers:,} non-members)',
                        _smaller(len(subjects), split))
    people = {'members': subjects[:most], 'nonmembers': subjects[most:need]}
    return _complete(records, drawn, split, people, subjects[need:], data, seed)


def split_sides(records: pd.DataFrame, data: DataConfig, split: SplitConfig, seed: int) -> Split:
    """The split of an owner's folders, whose members are given and not drawn.

    All people of side 'members' are members, all of side 'nonmembers' are non-members, each side in a drawn
    order; the learning groups come from side 'reference', as far as it has people. Pictures are drawn by the
    same rule on both sides. Only altered versions count as unseen: the owner trained on everything in the
    members' folder.

    Args:
        records: of a set made by `imageset.join` with the keys 'members', 'nonmembers' and, optionally,
            'reference'.
        data, split, seed: as in `draw_split`; of split, the learning groups' sizes are read.

    Raises:
        UserError: a person or a picture on both sides or in the reference too, too few impressions, an empty
            side.
    """
    sides = {side: _on_side(records, side) for side in ('members', 'nonmembers', 'reference')}
    _refuse_shared(records, sides)
    drawn = _draw_pictures(records, data, seed, ~sides['reference'], given=True)
    people = {}
    for group in ('members', 'nonmembers'):
        people[group] = _shuffled(_subjects(records, drawn, sides[group]), seed, group)
        if not people[group]:
            raise UserError(f'no finger of the {group} has {data.impressions} different impressions',
                            'use a smaller --data.impressions, or give more pictures')
    return _complete(records, drawn, split, people, [], data, seed, given=True)


def _complete(records: pd.DataFrame, drawn: _Drawn, split: SplitConfig, people: dict[str, list[str]],
              rest: list[str], data: DataConfig, seed: int, given: bool = False) -> Split:
    """Give out the learning groups, from the rest of the set and else from the reference side."""
    people = {group: people.get(group, []) for group in GROUPS}
    others = _shuffled(_subjects(records, drawn, _on_side(records, 'reference')), seed, 'reference side')
    missing: list[str] = []
    borrowed: list[str] = []
    for groups in _LEARNING:
        need = getattr(split, groups[0].removesuffix('_in'))
        source = rest if len(rest) >= need * len(groups) else others
        if not need:
            continue
        if len(source) < need * len(groups):
            missing += groups
            continue
        if source is others:
            borrowed += groups
        for group in groups:
            people[group] = source[:need]
            del source[:need]
    used = {identity for group in GROUPS for subject in people[group] for identity in drawn.fingers[subject]}
    result = Split(people, {subject: drawn.fingers[subject] for group in GROUPS for subject in people[group]},
                   {i: rows for i, rows in drawn.trained.items() if i in used},
                   {i: rows for i, rows in drawn.unseen.items() if i in used}, data.impressions,
                   drawn.unseen_impressions, drawn.altered, drawn.left_out, drawn.repeats, drawn.short,
                   missing, borrowed, not given, seed)
    check_disjoint(result, records)
    return result


def check_disjoint(split: Split, records: pd.DataFrame) -> None:
    """Assert that no person is in two groups and no picture, by its pixels, stands twice in the split.

    Raises:
        AssertionError: the split breaks the rule; what an attack learns from would share people with its
            targets.
    """
    people = [subject for group in GROUPS for subject in split.people[group]]
    assert len(people) == len(set(people)), 'a person is in two groups'
    rows = [row for drawn in (split.trained, split.unseen) for each in drawn.values() for row in each]
    assert records['image_id'].iloc[rows].is_unique, 'a picture stands twice in the split'
    owners = dict(zip(records['identity'], records['subject'], strict=True))
    assert all(owners[i] == subject for subject, each in split.fingers.items() for i in each), 'stray'


def generator(seed: int, *what: str) -> np.random.Generator:
    """A generator for one purpose, so that no draw hangs on how many others there are."""
    return np.random.default_rng([seed, *hashlib.sha256('\0'.join(what).encode()).digest()[:8]])


def _on_side(records: pd.DataFrame, side: str) -> np.ndarray:
    if 'side' not in records:
        return np.zeros(len(records), dtype=bool)
    return (records['side'] == side).to_numpy()


def _subjects(records: pd.DataFrame, drawn: _Drawn, where: np.ndarray) -> list[str]:
    """People with a finger that can be used, sorted: the order of files on a disk must not matter."""
    return sorted(set(records['subject'][where]) & set(drawn.fingers))


def _shuffled(subjects: list[str], seed: int, purpose: str) -> list[str]:
    return [subjects[n] for n in generator(seed, purpose).permutation(len(subjects))]


def _smaller(people: int, split: SplitConfig) -> str:
    """Flags with which that many people would do."""
    if people < 2:
        return 'give a set of more people'
    half = people // 2
    sizes = sorted({max(1, size * half // max(split.sizes)) for size in split.sizes})
    return (f'give a set of more people, or use --split.sizes {" ".join(map(str, sizes))} '
            f'--split.headline {sizes[-1]} --split.nonmembers {half}')


def _draw_pictures(records: pd.DataFrame, data: DataConfig, seed: int, home: np.ndarray,
                   given: bool = False) -> _Drawn:
    """Draw k training and u unseen pictures within every finger, whoever it belongs to.

    Membership that was given leaves no unseen impressions: a member's other pictures were trained on as well.
    """
    k, asked = data.impressions, data.query_impressions
    several, again, altered = picture_kinds(records)
    fit = ~several & ~again
    real = by_identity(records, fit & ~altered)
    usable = {identity: rows for identity, rows in real.items() if len(rows) >= k}
    at_home = set(records['identity'][home])
    if not any(identity in at_home for identity in usable):
        most = max((len(rows) for identity, rows in real.items() if identity in at_home), default=0)
        raise UserError(f'no finger has {k} different impressions (--data.impressions); the most is {most}',
                        f'use --data.impressions {most}' if most else 'give a set with other pictures')
    drawn = {i: [rows[n] for n in generator(seed, 'impressions', i).permutation(len(rows))]
             for i, rows in usable.items()}
    spare = {i: rows[k:] for i, rows in drawn.items()}
    u = _most_pictures([len(rows) for i, rows in spare.items() if i in at_home], 0 if given else asked)
    use_altered = not u and asked > 0 and bool((fit & altered).any())
    if use_altered:
        spare, u = _altered_rows(records, fit & altered, usable, at_home, asked)
    subjects = dict(zip(records['identity'], records['subject'], strict=True))
    fingers: dict[str, list[str]] = {}
    for identity in sorted(usable):
        fingers.setdefault(subjects[identity], []).append(identity)
    return _Drawn({i: rows[:k] for i, rows in drawn.items()},
                  {i: rows[:u] for i, rows in spare.items() if u and len(rows) >= u}, fingers, u,
                  use_altered and u > 0, int((several & ~altered).sum()), int((again & ~altered).sum()),
                  records['identity'].nunique() - len(usable))


def picture_kinds(records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks: pixels under several identities, pixels that the identity has already, altered pictures."""
    several = records['image_id'].isin(duplicates(records)).to_numpy()
    again = records.duplicated(['identity', 'image_id']).to_numpy() & ~several
    altered = np.zeros(len(records), dtype=bool)
    if 'altered' in records and not records['altered'].all():  # altered ones alone are a set like any other
        altered = records['altered'].to_numpy(dtype=bool)
    return several, again, altered


def unseen_available(records: pd.DataFrame, data: DataConfig) -> int:
    """Unseen impressions a finger that a split drawn from these records would have, altered pictures apart.

    0: the IIA contrast needs altered versions (`imageset.with_altered`, before the split), and there is no
    memorisation contrast.
    """
    several, again, altered = picture_kinds(records)
    real = by_identity(records, ~several & ~again & ~altered & ~_on_side(records, 'reference'))
    k = data.impressions
    spare = [len(rows) - k for rows in real.values() if len(rows) >= k]
    return _most_pictures(spare, data.query_impressions)


def by_identity(records: pd.DataFrame, where: np.ndarray) -> dict[str, list[int]]:
    """Identity -> its rows where the mask holds, by content: the order of files on a disk must not matter."""
    rows = np.flatnonzero(where)
    rows = rows[np.argsort(records['image_id'].to_numpy(dtype=str)[rows], kind='stable')]
    groups: dict[str, list[int]] = {}
    for identity, row in zip(records['identity'].iloc[rows], rows.tolist(), strict=True):
        groups.setdefault(identity, []).append(row)
    return groups


def _most_pictures(available: Sequence[int], asked: int) -> int:
    """Unseen pictures a finger, 0 to `asked`: the number with which most pictures can be asked about in all.

    Every finger in a query has equally many pictures, so fingers with fewer than this number stay out of the
    unseen ones (they still train and are asked about in the MIA contrast). The smallest number that any
    finger has would let one poor finger decide for the whole set, and the number asked would leave a set of
    k + 1 impressions without IIA. A number that fewer than half of the fingers reach does not speak of the
    set: 0 then. It hangs on the set alone, not on who is a member, and so does which fingers stay out.
    """
    reach = [sum(count >= u for count in available) for u in range(asked + 1)]
    common = [u for u in range(asked + 1) if 2 * reach[u] >= len(available)]
    return max(common, key=lambda u: (u * reach[u], -u))


def _altered_rows(records: pd.DataFrame, where: np.ndarray, usable: dict[str, list[int]],
                  at_home: set[str], asked: int) -> tuple[dict[str, list[int]], int]:
    """Altered pictures of the usable fingers, the same alterations (impression names) for every finger.

    The alterations that most fingers have come first; of these, as many as `_most_pictures` finds best.
    """
    names = records['impression'].to_numpy()
    table = {identity: {names[row]: row for row in rows}
             for identity, rows in by_identity(records, where).items() if identity in usable}
    held = pd.Series([name for i, kinds in table.items() if i in at_home for name in kinds]).value_counts()
    first = sorted(held.index, key=lambda name: (-held[name], name))[:asked]

    def depth(kinds: dict[str, int]) -> int:
        return next((n for n, name in enumerate(first) if name not in kinds), len(first))

    u = _most_pictures([depth(table.get(i, {})) for i in usable if i in at_home], len(first))
    return {i: [kinds[name] for name in first[:u]] for i, kinds in table.items() if depth(kinds) >= u}, u


def _refuse_shared(records: pd.DataFrame, sides: dict[str, np.ndarray]) -> None:
    """Refuse a person or a picture that lies in two folders: who it belongs to is then anybody's guess."""
    for (one, left), (other, right) in itertools.combinations(sides.items(), 2):
        for column, what, mend in (
                ('subject', 'people', 'a person is in one folder; different people have different names'),
                ('image_id', 'pictures', 'remove them from one folder, with that person\'s other pictures')):
            shared = sorted(set(records[column][left]) & set(records[column][right]))
            if shared:
                key = 'path' if column == 'image_id' else 'subject'
                where = (records[column] == shared[0]).to_numpy()
                first = ' and '.join(records.loc[side & where, key].iloc[0] for side in (left, right))
                raise UserError(f'the same {what} on both sides, {one} and {other}: {len(shared):,}, '
                                f'e.g. {first}', mend)


def _first(split: Split, group: str, people: int | None) -> list[str]:
    subjects = split.people[group]
    if people is not None and not 0 < people <= len(subjects):
        raise ValueError(f'{people} people asked of the {len(subjects)} in group {group}')
    return subjects[:people]


def training_rows(split: Split, group: str, people: int | None = None) -> np.ndarray:
    """Rows to train on: the drawn impressions of each finger of the first `people` of a group (None: of all).

    Returns:
        (n,) int64; fewer people give a prefix.
    """
    subjects = _first(split, group, people)
    identities = [identity for subject in subjects for identity in split.fingers[subject]]
    return np.array(_rows(split.trained, identities), dtype=np.int64)


def query(split: Split, records: pd.DataFrame, contrast: str, positives: str = 'members',
          negatives: str = 'nonmembers', people: int | None = None,
          negative_people: int | None = None, pictures: int = 0) -> pd.DataFrame:
    """The pictures that an attack is asked about, with what is to be told about them.

    Contrasts: 'mia', trained pictures against unseen people; 'iia', unseen impressions of trained people
    against unseen
    people; 'memorisation', trained against unseen impressions of the same fingers. Each side has the same
    number of pictures a finger, drawn by the same rule; in the memorisation contrast the smaller of k and u.

    Args:
        split: the split.
        records: the records it was drawn from.
        contrast: 'mia', 'iia' or 'memorisation'.
        positives: group that the victim was trained on.
        negatives: group of unseen people; not read in the memorisation contrast.
        people: number of trained people, the first of the group; None: all.
        negative_people: number of unseen people; None: all.
        pictures: query pictures, half of them on each side: whole people and whole fingers first, so that both
            sides stay alike in pictures a finger. Where a side has fewer, both have as many as that one (the
            MIA's are promised by `check_queries`). 0: all that there are.

    Returns:
        One row a picture: row (in the set), image_id, subject, identity, is_member (this picture was trained
            on),
        is_member_identity, is_member_subject, altered, contrast. Which of these is to be told in a contrast,
            `fpray.metrics.membership.LABELS` says.

    Raises:
        UserError: a group is empty, or there are no unseen impressions.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f'unknown contrast {contrast!r}, known: {", ".join(CONTRASTS)}')
    for group in [positives] if contrast == 'memorisation' else [positives, negatives]:
        if not split.people[group]:
            raise UserError(f'the split has no people in group {group}',
                            'give a set of more people, or --data.reference')
    if contrast == 'memorisation' and split.altered:
        raise UserError('no contrast memorisation: the unseen pictures are altered ones, and the alteration '
                        'would tell the sides apart', 'use a set with more impressions')
    if contrast != 'mia' and not split.unseen_impressions:
        raise UserError(f'no unseen impression for the contrast {contrast}',
                        'use a smaller --data.impressions, or altered versions')
    identities = [i for s in _first(split, positives, people) for i in split.fingers[s]]
    if contrast == 'memorisation':
        number = min(split.impressions, split.unseen_impressions)
        identities = [i for i in identities if i in split.unseen]
        sides = [(_rows(split.trained, identities, number), True, True),
                 (_rows(split.unseen, identities, number), False, True)]
    else:
        others = [i for s in _first(split, negatives, negative_people) for i in split.fingers[s]]
        source = split.trained if contrast == 'mia' else split.unseen
        sides = [(_rows(source, identities), contrast == 'mia', True), (_rows(source, others), False, False)]
    most = min(len(rows) for rows, _, _ in sides)
    parts = []
    for drawn, picture, person in sides:
        rows = drawn[:min(pictures // 2, most)] if pictures else drawn
        part = records.iloc[rows][['image_id', 'subject', 'identity']].reset_index(drop=True)
        part.insert(0, 'row', rows)
        parts.append(part.assign(is_member=picture, is_member_identity=person, is_member_subject=person,
                                 altered=split.altered and contrast == 'iia', contrast=contrast))
    return pd.concat(parts, ignore_index=True)


def check_queries(split: Split, people: int, pictures: int) -> None:
    """Refuse more query pictures of the MIA contrast than the two sides can give in equal halves.

    Args:
        split: the split.
        people: members asked about, the first ones.
        pictures: as in `query`.

    Raises:
        UserError: a side has too few pictures.
    """
    have = {group: len(training_rows(split, group, number))
            for group, number in (('members', people), ('nonmembers', None))}
    least = min(have, key=lambda group: have[group])
    if pictures // 2 > have[least]:
        raise UserError(f'--query.pictures {pictures:,} for {people:,} people: {pictures // 2:,} must be of {least}, '
                        f'who have {have[least]:,} drawn', f'ask about at most {2 * have[least]:,}, or give more people')


def real_rows(split: Split, people: int, pictures: int) -> np.ndarray:
    """Rows of a reference of real pictures: everything drawn of the first non-members, whole people first.

    Altered versions are no real pictures and are left out.

    Args:
        split: the split.
        people: non-members to take the pictures from, the first ones.
        pictures: how many to take.

    Returns:
        (pictures,) int64.

    Raises:
        UserError: these people have fewer.
    """
    identities = [i for subject in split.people['nonmembers'][:people] for i in split.fingers[subject]]
    unseen = {} if split.altered else split.unseen
    rows = [row for i in identities for row in (*split.trained[i], *unseen.get(i, ()))]
    there = min(people, len(split.people['nonmembers']))
    if there < people or len(rows) < pictures:
        raise UserError(f'--query.real {people} {pictures}: the first {there} non-members have {len(rows):,} pictures',
                        f'use --query.real {there} {min(pictures, len(rows))}, or give a larger set')
    return np.array(rows[:pictures], dtype=np.int64)


def _rows(drawn: dict[str, list[int]], identities: list[str], number: int | None = None) -> list[int]:
    return [row for identity in identities for row in drawn.get(identity, ())[:number]]
