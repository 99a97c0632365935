"""Groups of people for studies of embeddings: whose pictures train which network, whose vectors are stolen.

As in `splits`, people are dealt at random, groups share no person and no picture, and the pictures of an identity are drawn
at random within it by one rule for everybody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from fpray.data.config import GROUPS, DataConfig, GroupsConfig
from fpray.data.splits import by_identity, generator, picture_kinds
from fpray.errors import UserError


@dataclass(frozen=True)
class Groups:
    """The division of a set's people and the pictures drawn of each identity.

    Attributes:
        people: group -> subjects in drawn order.
        identities: subject -> identities (fingers, faces) that are used.
        rows: identity -> rows of the set in drawn order, unaltered pictures first; the first is the template. In an
            augmented set the versions of each drawn picture follow, picture by picture.
        altered: some of the rows are altered versions of other ones.
        left_out: pictures left out because the same pixels stand under several identities.
        repeats: pictures left out because the same identity has the same pixels already.
        short: identities left out for want of pictures.
        seed: of all draws.
    """

    people: dict[str, list[str]]
    identities: dict[str, list[str]]
    rows: dict[str, list[int]]
    altered: bool
    left_out: int
    repeats: int
    short: int
    seed: int

    def to_json(self) -> str:
        """The groups as JSON text; `from_json` gives equal groups back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Groups:
        """The groups that `to_json` wrote."""
        return cls(**json.loads(text))

    def of(self, group: str) -> list[str]:
        """The identities of a group, person by person."""
        return [identity for subject in self.people[group] for identity in self.identities[subject]]

    def pictures(self, group: str, first: int = 0, end: int | None = None) -> np.ndarray:
        """(n,) int64: rows of a group, of each identity those from `first` to `end` in its drawn order."""
        return np.array([row for identity in self.of(group) for row in self.rows[identity][first:end]], dtype=np.int64)

    def templates(self, group: str = 'victims') -> np.ndarray:
        """(identities,) int64: the picture of each identity whose vector is enrolled, and stolen from victims."""
        return self.pictures(group, 0, 1)

    def references(self, group: str = 'victims', count: int = 2) -> np.ndarray:
        """Rows of other impressions, `count` an identity: what a template is compared with."""
        return self.pictures(group, 1, 1 + count)

    def others(self, group: str = 'victims', count: int = 2) -> np.ndarray:
        """Rows that are neither template nor reference: what an attacker holds who has other pictures of its victims."""
        return self.pictures(group, 1 + count)


def places(known: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n,) where each of `rows` stands in `known`, which holds each row once, in any order.

    Raises:
        KeyError: `known` lacks one.
    """
    if not len(known) and len(rows):
        raise KeyError(f'{len(rows)} rows are not among none')
    order = np.argsort(known)
    at = np.asarray(order[np.searchsorted(known, rows, sorter=order).clip(max=len(known) - 1)])
    if not np.array_equal(known[at], rows):
        raise KeyError(f'{int((known[at] != rows).sum())} of {len(rows)} rows are not among these {len(known)}')
    return at


def labels_of(records: pd.DataFrame, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Class numbers (n,) int64 of the identities in these rows, and the identities in the order of their numbers."""
    names, codes = np.unique(records['identity'].to_numpy(dtype=str)[rows], return_inverse=True)
    return codes.astype(np.int64), names.tolist()


def deal(records: pd.DataFrame, data: DataConfig, sizes: GroupsConfig, seed: int) -> Groups:
    """Deal a set's people into groups and draw the pictures of each identity.

    Args:
        records: as in `ImageSet.records`; the deal depends on their contents, not on their order.
        data: impressions + query_impressions pictures an identity are drawn, two at least; in an augmented set (column
            origin) pictures as they were taken, each with all its versions.
        sizes: people a group.
        seed: at least 0.

    Raises:
        UserError: too few people, or too few pictures an identity.
    """
    several, again, altered = picture_kinds(records)
    fit, augmented = ~several & ~again, 'origin' in records
    wanted = max(1 if augmented else 2, data.impressions + data.query_impressions)
    rows = {identity: _drawn(identity, real, fake, seed, wanted) for identity, (real, fake) in _both(
        records, fit & ~altered if augmented else fit, altered).items()}
    usable = {identity: found for identity, found in rows.items() if len(found) >= wanted}
    if augmented:
        usable = _with_versions(usable, records, fit & altered)
    if not usable:
        most = max((len(found) for found in rows.values()), default=0)
        raise UserError(f'no identity has {wanted} different pictures (--data.impressions {data.impressions} and '
                        f'--data.query-impressions {data.query_impressions}); the most is {most}', 'ask for fewer')
    owner = dict(zip(records['identity'], records['subject'], strict=True))
    identities: dict[str, list[str]] = {}
    for identity in sorted(usable):
        identities.setdefault(owner[identity], []).append(identity)
    people = _dealt(sorted(identities), {group: getattr(sizes, group) for group in GROUPS}, seed)
    used = {subject for each in people.values() for subject in each}
    kept = {subject: found for subject, found in identities.items() if subject in used}
    chosen = {identity: usable[identity] for found in kept.values() for identity in found}
    drawn = np.array([row for each in chosen.values() for row in each])
    return Groups(people, kept, chosen, bool(altered[drawn].any()), int((several & ~altered).sum()),
                  int((again & ~altered).sum()), len(rows) - len(usable), seed)


def held_apart(rows: Sequence[int], origins: np.ndarray | None, count: int) -> tuple[list[int], list[int]]:
    """(learned, held): an identity's rows in drawn order, the last `count` pictures apart from the others.

    Args:
        rows: as in `Groups.rows`.
        origins: of every row of an augmented set the image_id of its original: the pictures that are held go with all their
            versions, unless the identity has no others; None: the set is not augmented.
        count: at least 1.
    """
    if origins is not None and len(order := list(dict.fromkeys(origins[list(rows)]))) > count:
        away = set(order[-count:])
        return [row for row in rows if origins[row] not in away], [row for row in rows if origins[row] in away]
    return list(rows[:-count]), list(rows[-count:])


def _with_versions(drawn: Mapping[str, list[int]], records: pd.DataFrame, versions: np.ndarray) -> dict[str, list[int]]:
    """Identity -> the pictures that were drawn, then the versions of each."""
    at = np.flatnonzero(versions)
    found: dict[tuple[str, str], list[int]] = {}
    for row, *home in zip(at.tolist(), records['identity'].iloc[at], records['origin'].iloc[at], strict=True):
        found.setdefault((home[0], home[1]), []).append(row)
    ids = records['image_id'].to_numpy(dtype=str)
    return {identity: [*rows, *(version for row in rows for version in found.get((identity, ids[row]), []))]
            for identity, rows in drawn.items()}


def _both(records: pd.DataFrame, fit: np.ndarray, altered: np.ndarray) -> dict[str, tuple[list[int], list[int]]]:
    """Identity -> its rows as they were taken, and its altered ones; identities without the former are left out."""
    real, fake = by_identity(records, fit & ~altered), by_identity(records, fit & altered)
    return {identity: (rows, fake.get(identity, [])) for identity, rows in real.items()}


def _drawn(identity: str, real: list[int], fake: list[int], seed: int, wanted: int) -> list[int]:
    mixed = [real[n] for n in generator(seed, 'impressions', identity).permutation(len(real))]
    return [*mixed, *fake][:wanted]


def _dealt(subjects: list[str], sizes: Mapping[str, int], seed: int) -> dict[str, list[str]]:
    """Group -> people, dealt at random; the victims first, so that another size of a later group leaves them alone."""
    need = sum(sizes.values())
    if len(subjects) < need:
        flags = ' '.join(f'--groups.{group} {size * len(subjects) // need}' for group, size in sizes.items() if size)
        raise UserError(f'{len(subjects):,} people can be used, {need:,} are asked for', f'give more, or use {flags}')
    mixed = [subjects[n] for n in generator(seed, 'people').permutation(len(subjects))]
    people: dict[str, list[str]] = {}
    for group in reversed(GROUPS):
        people[group], mixed = mixed[:sizes[group]], mixed[sizes[group]:]
    return {group: people[group] for group in GROUPS}
