"""What the studies of embeddings begin with: the set of pictures, and its people dealt into groups."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.data.augment import augmented, lengthened
from fpray.data.config import GROUPS, AugmentConfig, DataConfig, GroupsConfig
from fpray.data.groups import Groups, deal
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet, knows_persons, list_folder, read_folder, with_altered
from fpray.data.splits import unseen_available
from fpray.errors import UserError
from fpray.store import Context, Stage
from fpray.studies.embedding_config import REFERENCES, augmentation
from fpray.studies.plan import COORDINATOR, Plan
from fpray.studies.steps import derive_seed, numbered, stand_in, with_foreseen_versions


@dataclass(frozen=True)
class SetConfig:
    """What the set of pictures depends on; a folder by the fingerprint of what it holds, never by its path."""

    data: DataConfig
    augment: AugmentConfig
    folder: str
    """Fingerprint of --data.root; '' is the stand-in."""
    people: int
    """People of the stand-in; 0 for a folder, which has those that it has."""
    seed: int


def add_set(laid: Plan) -> tuple[Stage, Stage]:
    """The stages 'pictures' and 'people' of a study with `data`, `augment` and `groups`.

    Raises:
        UserError: the names of the pictures alone show that the set cannot be divided as asked.
    """
    if 'root' in laid.folders:
        foreseen(laid)
    folder = laid.prints.get('root', '')
    people = 0 if folder else total(laid.config.groups)
    pictures = laid.add('pictures', read_or_draw, SetConfig(
        laid.data, augmentation(laid.data, laid.config.augment), folder, people, derive_seed(laid.seed, 'pictures')),
        {}, 30, COORDINATOR)
    return pictures, laid.add('people', dealt, {'data': laid.data, 'groups': laid.config.groups,
                                                'seed': derive_seed(laid.seed, 'groups')}, {'pictures': pictures}, 0.1)


def touches(data: DataConfig, augment: AugmentConfig) -> int:
    """Pictures of each finger of the stand-in: as few as give an identity its pictures."""
    fingers = data.fingers if augment.level == 'person' else 1
    return math.ceil((data.impressions + data.query_impressions) / fingers)


def total(groups: GroupsConfig) -> int:
    """People of all groups together."""
    return sum(getattr(groups, group) for group in GROUPS)


def read_or_draw(context: Context) -> None:
    """The set whole: the folder read or the stand-in drawn, and every picture augmented if so asked; where a folder has too
    few impressions an identity and nothing augments it, altered versions are appended.

    Settings: groups, how many people each group asks for, if these are to be found before the set is kept.
    """
    config: SetConfig = context.config
    data, augment = config.data, config.augment
    if config.folder:
        found = read_folder(context.settings['folders']['root'], data, context.scratch / 'set',
                            lambda done, all_: context.progress(done, all_, 'pictures'))
    else:
        found = stand_in(config.seed, config.people, data.fingers, touches(data, augment), (data.size, data.size), data.ppi,
                         context)
    found = replace(found, records=identified(found.records, augment.level, bool(found.meta['subject_known'])),
                    meta={**found.meta, 'level': augment.level})
    if augment.times > 1:
        found = augmented(found, augment.times, config.seed, augment.kinds, augment.strength, context.scratch / 'augmented',
                          lambda done, all_: context.progress(done, all_, 'versions'))
    elif config.folder and data.query_impressions and not unseen_available(found.records, data):
        found = with_altered(found, data.impressions, data.query_impressions, config.seed, into=context.scratch / 'altered')
    if groups := context.settings.get('groups'):
        deal(found.records, data, groups, config.seed)  # a set that cannot be dealt is refused before it is kept
    found.save(context.out)


def identified(records: pd.DataFrame, level: str, known: bool) -> pd.DataFrame:
    """Records whose identities are fingers, as they were read, or persons.

    Raises:
        UserError: persons where the layout knows none.
    """
    if level == 'finger':
        return records
    if not known:
        raise UserError('--augment.level person: the layout knows no persons', 'choose finger, or a layout that knows them')
    return records.assign(identity=records['subject'])


def dealt(context: Context) -> None:
    """groups.json: who trains which network, whose vectors are stolen."""
    config = context.config
    records = ImageSet.load(context.inputs['pictures']).records
    (context.out / 'groups.json').write_text(deal(records, config['data'], config['groups'], config['seed']).to_json())


def read_groups(folder: Path) -> Groups:
    """The groups that `dealt` wrote."""
    return Groups.from_json((folder / 'groups.json').read_text())


def no_copies(pixels: np.ndarray, everyone: ImageSet, groups: Groups) -> np.ndarray:
    """(n,) bool: which (n, C, H, W) pictures from elsewhere are no copy of one that another group than the attacker's has.

    A folder may hold the very pictures of victims under other names; an attack that learnt from them would look stronger.
    """
    people = [subject for group in GROUPS if group != 'attacker' for subject in groups.people[group]]
    rows = np.flatnonzero(everyone.records['subject'].isin(people))  # those that nobody drew too
    theirs = {image_id(everyone.pixels[row]) for row in rows}
    return np.array([image_id(picture) not in theirs for picture in pixels], bool)


def foretold(laid: Plan) -> pd.DataFrame:
    """The records of `read_or_draw` as far as names alone foretell them, each path standing for a content."""
    data, augment, root = laid.data, augmentation(laid.data, laid.config.augment), laid.folders.get('root')
    if root:
        records = list_folder(root, data)
    else:
        records = numbered(total(laid.config.groups), replace(
            data, impressions=touches(data, augment), query_impressions=0))
    known = not root or augment.level == 'finger' or knows_persons(root, data)
    records = identified(records.assign(image_id=records['path']), augment.level, known)
    if augment.times > 1:
        longer, version = lengthened(records, augment.times)
        return longer.assign(image_id=longer['origin'] + pd.Series([f'#{t}' if t else '' for t in version]))
    if root and data.query_impressions and not unseen_available(records, data):
        return with_foreseen_versions(records, data.query_impressions)
    return records


def foreseen(laid: Plan) -> Groups:
    """How the people are divided, as far as names alone foretell it.

    Raises:
        UserError: not even the names give enough people or impressions.
    """
    return deal(foretold(laid), laid.data, laid.config.groups, derive_seed(laid.seed, 'groups'))


def people_lines(laid: Plan) -> list[str]:
    """Lines of a dry run: how many people and pictures each group has, from names alone.

    Raises:
        UserError: not even the names give enough people or impressions.
    """
    groups = foreseen(laid)
    note = ', by names alone: copies and unreadable files are known after reading' if 'root' in laid.folders else ''
    return [f'people a group{note}', *(f'  {group}: {len(people):,} people, {len(groups.of(group)):,} identities, '
                                       f'{len(groups.pictures(group)):,} pictures'
                                       for group, people in groups.people.items())]


def described(everyone: ImageSet, groups: Groups) -> dict[str, Any]:
    """Of a study's results: the set, and how its people are divided."""
    records, meta = everyone.records, everyone.meta
    original = records[~records['altered'].astype(bool)] if 'altered' in records else records
    divided = {group: {'people': len(people), 'identities': len(groups.of(group)), 'images': len(groups.pictures(group))}
               for group, people in groups.people.items() if people}
    return {'name': meta['name'], 'layout': meta['layout'], 'synthetic': bool(meta['synthetic']),
            'label': 'synthetic stand-in' if meta['synthetic'] else meta['name'],
            'subject_known': bool(meta['subject_known']), 'n_people': int(original['subject'].nunique()),
            'n_identities': int(original['identity'].nunique()), 'n_images': len(original),
            'image_size': [int(side) for side in everyone.pixels.shape[2:]],
            'duplicates_left_out': groups.left_out, 'ignored': int(meta.get('ignored', 0)),
            'skipped': list(meta.get('skipped', [])), 'altered_for_iia': groups.altered, 'groups': divided}


def altered_references(everyone: ImageSet, groups: Groups) -> bool:
    """Whether templates of victims are held against altered versions, of themselves or of others."""
    rows = groups.references('victims', REFERENCES)
    return 'altered' in everyone.records and bool(everyone.records['altered'].to_numpy(bool)[rows].any())


def copies_notice(copies: int) -> str:
    """What a reader must know of a folder of the attacker's that shows the set's own pictures (`no_copies`)."""
    return f'{copies} pictures of the attacker\'s folder left out: they are copies of pictures of other groups'


def group_notices(everyone: ImageSet, groups: Groups) -> list[str]:
    """What a reader must know of the set and its division."""
    found = []
    if everyone.meta.get('level') == 'person':
        found.append('an identity is a person: its pictures, and so another impression, may show other fingers')
    if times := everyone.meta.get('augmented', {}).get('times', 0):
        found.append(f'every picture stands in {times} versions: itself and {times - 1} alterations of it')
    if not everyone.meta['subject_known']:
        found.append('the layout knows no persons: a finger stands for its person in every interval')
    if groups.left_out:
        found.append(f'{groups.left_out} pictures left out: the same pixels stand under several identities')
    if groups.short:
        found.append(f'{groups.short} identities left out for want of pictures')
    return found
