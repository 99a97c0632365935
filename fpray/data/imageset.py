"""A set of pictures with their records, and how a folder becomes one.

Pixels are uint8 and may lie in a memory-mapped file; every fault of a whole set is one clear line, said
before a file stays behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from fpray.data import images, load_layout
from fpray.data.config import DataConfig
from fpray.data.layouts import Place
from fpray.errors import UserError

COLUMNS = ('image_id', 'subject', 'identity', 'impression', 'position', 'pattern', 'path', 'altered',
           'file_bytes', 'file_format', 'width', 'height')
_WORKERS = min(8, os.cpu_count() or 1)
_WINDOW = 256  # pictures decoded ahead: bounds the memory, whatever the size of the set
_RACY_NS = 100_000_000  # a file changed this shortly before its hash may change again in a tick of its clock


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures and whose they are.

    Attributes:
        pixels: (N, C, H, W) uint8, C = 1 or 3; may be a memory map.
        records: N rows in the order of `pixels`: image_id, subject, identity, impression, position, pattern
            (synthetic class or ''), path (relative, or 'synthetic'); sets read from a folder also altered (an
            artificial alteration of another picture), file_bytes, file_format, width and height (px, before
            resizing).
        meta: name, layout, synthetic, subject_known (False: the identity stands for the person), skipped (a
            list of {path, why}), ignored (number of files that are no pictures), and more as the maker sees
            fit. JSON values.
    """

    pixels: np.ndarray
    records: pd.DataFrame
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.records)

    def select(self, rows: np.ndarray) -> ImageSet:
        """The pictures of these rows, in this order, copied into memory; the records get a fresh index."""
        rows = np.asarray(rows, dtype=np.int64)
        records = self.records.iloc[rows].reset_index(drop=True)
        return ImageSet(np.asarray(self.pixels[rows]), records, self.meta)

    def save(self, folder: Path | str) -> None:
        """Write pixels.npy, records.parquet and, last, meta.json. Pixels read from there stay as they are."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / 'pixels.npy'
        if not self._are_from(target):
            draft = target.with_suffix('.part')
            with open(draft, 'wb') as file:
                np.save(file, self.pixels)
            os.replace(draft, target)  # never over a file that `pixels` itself may be mapped from
        self.records.to_parquet(folder / 'records.parquet', index=False)
        (folder / 'meta.json').write_text(json.dumps(self.meta, indent=1, sort_keys=True))

    def _are_from(self, target: Path) -> bool:
        source = getattr(self.pixels, 'filename', None)
        return (source is not None and target.exists() and os.path.samefile(source, target)
                and np.load(target, mmap_mode='r').shape == self.pixels.shape)

    @classmethod
    def load(cls, folder: Path | str) -> ImageSet:
        """Read a saved set; its pixels are memory-mapped, read-only.

        Raises:
            UserError: the folder holds no saved set.
        """
        folder = Path(folder)
        if not (folder / 'meta.json').is_file():
            raise UserError(f'{folder} holds no saved set of pictures')
        return cls(np.load(folder / 'pixels.npy', mmap_mode='r'), pd.read_parquet(folder / 'records.parquet'),
                   json.loads((folder / 'meta.json').read_text()))


@dataclass(frozen=True)
class Found:
    """What lies in a folder, before a picture is opened.

    Attributes:
        root: the folder.
        places: relative path -> whose picture; sorted by path.
        misfits: relative paths of pictures whose name does not fit the layout.
        ignored: number of files that are no pictures.
    """

    root: Path
    places: dict[str, Place]
    misfits: list[str]
    ignored: int


@dataclass(frozen=True)
class Decoded:
    """One decoded picture. `picture` is None where it cannot be used; `fault` says why, if it is the file's.

    Width and height are px before fitting; `colour`: the channels differ; `three_channels`: in the file.
    """

    path: str
    place: Place
    picture: np.ndarray | None = None
    fault: UserError | None = None
    image_id: str = ''
    width: int = 0
    height: int = 0
    colour: bool = False
    three_channels: bool = False
    file_bytes: int = 0


def find(root: Path | str, layout: Callable[[PurePosixPath], Place | None]) -> Found:
    """List the pictures under a folder and read their paths; hidden files and folders count as no pictures.

    Raises:
        UserError: the folder is missing, a file, not readable or without a picture.
    """
    root = Path(root)
    pictures, ignored = _walk(root)
    if not pictures:
        other = f'{ignored:,} other files' if ignored else 'it is empty'
        raise UserError(f'no picture found in {root} ({other})',
                        f'pictures end in {", ".join(sorted(images.EXTENSIONS))}')
    read = {path: layout(PurePosixPath(path)) for path in sorted(pictures)}
    return Found(root, {path: place for path, place in read.items() if place is not None},
                 [path for path, place in read.items() if place is None], ignored)


def _walk(root: Path) -> tuple[dict[str, os.stat_result], int]:
    """Relative path -> stat of every picture under root; the number of other files. Links are followed."""
    if not root.exists():
        raise UserError(f'the folder {root} is missing', 'give an existing folder of pictures')
    if not root.is_dir():
        raise UserError(f'{root} is a file, not a folder', 'give the folder that holds the pictures')
    pictures: dict[str, os.stat_result] = {}
    ignored, seen, waiting = 0, set(), [(str(root), '')]
    while waiting:
        folder, prefix = waiting.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link back to a folder above
            continue
        seen.add((status.st_dev, status.st_ino))
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except PermissionError:
            raise UserError(f'the folder {folder} may not be read', 'change its permissions') from None
        for entry in entries:
            hidden = entry.name.startswith('.')
            if entry.is_dir():
                if not hidden:
                    waiting.append((entry.path, f'{prefix}{entry.name}/'))
            elif not hidden and os.path.splitext(entry.name)[1].lower() in images.EXTENSIONS:
                pictures[prefix + entry.name] = _stat(entry, prefix)
            else:
                ignored += 1
    return pictures, ignored


def _stat(entry: os.DirEntry[str], prefix: str) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        raise UserError(f'{prefix}{entry.name} is a broken link', 'mend or remove it') from None


def decode_all(found: Found, resize: str = 'none', size: int = 0) -> Iterator[Decoded]:
    """Decode the pictures of a listing in its order, several at once, a bounded number ahead.

    With a resize rule, pictures come fitted, and one that cannot be fitted has neither `picture` nor `fault`
    (the size is the fault of the set, not of the file).
    """
    def one(item: tuple[str, Place]) -> Decoded:
        path, place = item
        try:
            picture = images.decode(found.root / path, path)
            file_bytes = (found.root / path).stat().st_size
        except UserError as fault:
            return Decoded(path, place, fault=fault)
        except OSError as fault:
            unread = UserError(f'{path} cannot be read ({fault.strerror})', 'mend or remove it')
            return Decoded(path, place, fault=unread)
        channels, height, width = picture.shape
        try:
            fitted = images.fit(picture, resize, size)
        except UserError:
            fitted = None
        return Decoded(path, place, fitted, None, images.image_id(picture), width, height,
                       not images.is_gray(picture), channels == 3, file_bytes)

    items = list(found.places.items())
    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(items), _WINDOW):
            yield from pool.map(one, items[start:start + _WINDOW])


def read_folder(root: Path | str, config: DataConfig, into: Path | None = None,
                progress: Callable[[int, int], None] | None = None) -> ImageSet:
    """Read a folder of pictures by its layout.

    Args:
        root: the folder.
        config: layout, pattern, resize, size and skip_bad are read from it.
        into: folder for the set, written as by `ImageSet.save`; the pixels are then a memory map and never
            all in memory. None: everything in memory.
        progress: called with (pictures done, pictures in all).

    Returns:
        The set, rows sorted by path. Gray scans that were saved as RGB come as one channel, if the whole set
        is gray.

    Raises:
        UserError: a missing or empty folder, a name that does not fit, an unreadable picture (unless
            skip_bad), several sizes without a rule, gray mixed with colour, pictures all identical, one
            impression twice.
    """
    return _read(_fitting(root, config), config, config.layout, into, progress)


def list_folder(root: Path | str, config: DataConfig) -> pd.DataFrame:
    """What a folder's names alone say, no picture opened: subject, identity, impression, position, altered, path.

    Raises:
        UserError: a missing or empty folder, a name that does not fit.
    """
    return pd.DataFrame([(place.subject, place.identity, place.impression, place.position, place.altered, path)
                         for path, place in _fitting(root, config).places.items()],
                        columns=['subject', 'identity', 'impression', 'position', 'altered', 'path'])


def knows_persons(root: Path | str, config: DataConfig) -> bool:
    """Whether a folder's names tell persons apart, not fingers alone; no picture is opened.

    Raises:
        UserError: as `list_folder`.
    """
    return all(place.subject_known for place in _fitting(root, config).places.values())


def _fitting(root: Path | str, config: DataConfig) -> Found:
    """A folder's listing, where every name fits the layout."""
    found = find(root, load_layout(config.layout, config.pattern))
    if found.misfits:
        more = f' (and {len(found.misfits) - 1:,} more)' if len(found.misfits) > 1 else ''
        raise UserError(f'the name of picture {found.misfits[0]!r}{more} does not fit layout {config.layout}',
                        'rename or remove it, or choose another --data.layout')
    return found


def read_samples(root: Path | str, config: DataConfig, into: Path | None = None,
                 progress: Callable[[int, int], None] | None = None) -> ImageSet:
    """Read a folder of generated pictures, which have names of any kind and belong to nobody.

    As `read_folder`, but every picture is a subject of its own, named by its path, and meta's layout is
    'samples'.
    """
    def anyone(path: PurePosixPath) -> Place:
        return Place(str(path), str(path), '1', subject_known=False)

    return _read(find(root, anyone), config, 'samples', into, progress)


@dataclass
class _Tally:
    """What a pass over the pictures learns about the set."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    subject_known: bool = True
    one_channel: int = 0
    colour: int = 0

    def add(self, item: Decoded) -> None:
        place = item.place
        self.sizes[item.width, item.height] += 1
        self.one_channel += not item.three_channels
        self.colour += item.colour
        self.subject_known &= place.subject_known
        kind = os.path.splitext(item.path)[1].lower()
        self.rows.append(dict(zip(COLUMNS, (
            item.image_id, place.subject, place.identity, place.impression, place.position, '', item.path,
            place.altered, item.file_bytes, {'.jpg': 'jpeg', '.tif': 'tiff'}.get(kind, kind[1:]), item.width,
            item.height), strict=True)))


def _read(found: Found, config: DataConfig, layout: str, into: Path | None,
          progress: Callable[[int, int], None] | None) -> ImageSet:
    made = into is not None and not into.exists()
    store = _Pixels(None if into is None else into / 'pixels.npy', len(found.places))
    tally = _Tally()
    try:
        for done, item in enumerate(decode_all(found, config.resize, config.size), 1):
            if item.fault is not None:
                if not config.skip_bad:
                    raise item.fault
                tally.skipped.append({'path': item.path, 'why': item.fault.what})
            else:
                tally.add(item)
                if item.picture is not None and (config.resize != 'none' or len(tally.sizes) == 1):
                    store.append(item.picture, item.colour)
            if progress is not None:
                progress(done, len(found.places))
        _check_whole(tally, found, config)
        records = _records(tally.rows)
        pixels = store.finish()
    except BaseException:
        store.discard()
        if made and into is not None:
            with contextlib.suppress(OSError):
                into.rmdir()
        raise
    result = ImageSet(pixels, records, {
        'name': found.root.resolve().name, 'layout': layout, 'synthetic': False,
        'subject_known': tally.subject_known, 'skipped': tally.skipped, 'ignored': found.ignored,
        'resize': config.resize, 'sizes': {size_name(size): n for size, n in tally.sizes.most_common()}})
    if into is not None:
        result.save(into)
    return result


def size_name(size: tuple[int, int]) -> str:
    """'96 x 103' for (width, height)."""
    return f'{size[0]} x {size[1]}'


def _check_whole(tally: _Tally, found: Found, config: DataConfig) -> None:
    if not tally.rows:
        raise UserError(f'no readable picture in {found.root}: {len(tally.skipped):,} skipped, '
                        f'the first because {tally.skipped[0]["why"]}')
    _check_sizes(tally.sizes, config)
    if tally.colour and tally.one_channel:
        raise UserError(f'gray and colour pictures mixed: {tally.one_channel:,} gray, '
                        f'{len(tally.rows) - tally.one_channel:,} in colour', 'convert all to one of them')
    if len(tally.rows) > 1 and len({row['image_id'] for row in tally.rows}) == 1:
        raise UserError(f'all {len(tally.rows):,} pictures are identical, pixel for pixel',
                        'give different pictures')


def _check_sizes(sizes: Counter[tuple[int, int]], config: DataConfig) -> None:
    if config.resize == 'none' and len(sizes) > 1:
        listed = [f'{number:,} of {size_name(size)}' for size, number in sizes.most_common(3)]
        more = f' and {len(sizes) - 3:,} more sizes' if len(sizes) > 3 else ''
        raise UserError(f'several sizes: {", ".join(listed)}{more}', 'choose --data.resize crop|pad|scale with --data.size')
    if config.resize in ('none', 'scale'):
        return
    crop = config.resize == 'crop'
    sides = {size: min(size) if crop else max(size) for size in sizes}
    unfit = {size for size, side in sides.items() if (side < config.size if crop else side > config.size)}
    if unfit:
        worst = (min if crop else max)(unfit, key=lambda size: sides[size])
        number = sum(sizes[size] for size in unfit)
        raise UserError(f'{number:,} of {sizes.total():,} pictures are {"smaller" if crop else "larger"} '
                        f'than --data.size {config.size}, e.g. {size_name(worst)} px',
                        f'use --data.size {sides[worst]} or --data.resize {"pad" if crop else "crop"}')


def _records(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table of records. If impressions of a finger have equal names, all get their folder's name too."""
    records = pd.DataFrame(rows, columns=list(COLUMNS))
    if records.duplicated(['identity', 'impression']).any():
        folders = records['path'].map(lambda path: str(PurePosixPath(path).parent))
        records['impression'] = folders + '/' + records['impression']
        twice = records[records.duplicated(['identity', 'impression'], keep=False)]
        if len(twice):
            first, second = twice.sort_values(['identity', 'impression', 'path'])['path'].iloc[:2]
            raise UserError(f'{first} and {second} are the same impression of the same identity',
                            'keep one of them, e.g. by moving one file format to another folder')
    return records


class _Pixels:
    """Pictures appended one by one, (C, H, W) each, to a .npy file that is then memory-mapped, or in memory.

    Gray pictures saved as RGB are kept as one channel until the first picture in colour.
    """

    def __init__(self, path: Path | None, most: int) -> None:
        self.path, self.most, self.number = path, most, 0
        self.array: np.ndarray | None = None

    def append(self, picture: np.ndarray, colour: bool) -> None:
        if self.array is None:
            self.array = self._new((3 if colour else 1, *picture.shape[1:]))
        if colour and self.array.shape[1] == 1:
            gray = self.array[:self.number]
            self.array = self._new((3, *picture.shape[1:]))  # the old file stays open until `gray` goes
            self.array[:self.number] = gray
        self.array[self.number] = picture[:self.array.shape[1]]
        self.number += 1

    def _new(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.path is None:
            return np.empty((self.most, *shape), np.uint8)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        return np.lib.format.open_memmap(self.path, mode='w+', dtype=np.uint8, shape=(self.most, *shape))

    def finish(self) -> np.ndarray:
        assert self.array is not None, 'checked before: at least one picture was read'
        if self.path is None:
            return self.array[:self.number]
        shape = (self.number, *self.array.shape[1:])
        self.array.flush()  # type: ignore[attr-defined]
        self.array = None
        if self.number < self.most:
            _shorten(self.path, shape)
        return np.load(self.path, mmap_mode='r')

    def discard(self) -> None:
        self.array = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _shorten(path: Path, shape: tuple[int, ...]) -> None:
    """Cut a .npy file of uint8 to fewer rows, in place: the format reserves room in the header for that."""
    with open(path, 'r+b') as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, {'descr': '|u1', 'fortran_order': False, 'shape': shape})
        assert file.tell() == start, 'a header of another length would shift the pixels'
        file.truncate(start + int(np.prod(shape)))


def duplicates(records: pd.DataFrame) -> list[str]:
    """Image ids that stand under more than one identity, sorted: such a picture is whose?"""
    pairs = records[['image_id', 'identity']].drop_duplicates()
    return sorted(pairs.loc[pairs.duplicated('image_id'), 'image_id'].unique())


def join(sets: dict[str, ImageSet], into: Path | None = None) -> ImageSet:
    """Put sets of one picture size behind each other; a column `side` in the records holds each set's key.

    Where a set under the key 'reference' is synthetic or knows no persons, its subjects and identities get
    the prefix 'reference:': finger numbers of unrelated folders (FVC) are no names. Meta is the first set's,
    with every set's under 'sides'.

    Args:
        sets: e.g. {'members': ..., 'nonmembers': ..., 'reference': ...}; rows keep this order.
        into: folder for the joined set, memory-mapped; None: in memory.

    Raises:
        UserError: the sets differ in picture size or in channels.
    """
    names, parts = list(sets), list(sets.values())
    for name, part in sets.items():
        if part.pixels.shape[1:] != parts[0].pixels.shape[1:]:
            raise UserError(f'pictures of two sizes: {_shape_name(parts[0])} in {names[0]}, '
                            f'{_shape_name(part)} in {name}',
                            'choose --data.resize crop|pad|scale with --data.size for both')
    records = []
    for name, part in sets.items():
        frame = part.records.assign(side=name, altered=part.records.get('altered', False))
        if name == 'reference' and (part.meta['synthetic'] or not part.meta['subject_known']):
            for column in ('subject', 'identity'):
                frame[column] = 'reference:' + frame[column]
        records.append(frame)
    store = _Pixels(None if into is None else into / 'pixels.npy', sum(map(len, parts)))
    for part in parts:
        for picture in part.pixels:
            store.append(picture, len(picture) == 3)
    joined = ImageSet(store.finish(), pd.concat(records, ignore_index=True), {
        **parts[0].meta, 'subject_known': all(part.meta['subject_known'] for part in parts),
        'synthetic': all(part.meta['synthetic'] for part in parts),
        'sides': {name: part.meta for name, part in sets.items()}})
    if into is not None:
        joined.save(into)
    return joined


def _shape_name(images_: ImageSet) -> str:
    channels, height, width = images_.pixels.shape[1:]
    return f'{width} x {height} px {"gray" if channels == 1 else "colour"}'


def with_altered(original: ImageSet, impressions: int, copies: int, seed: int, strength: float = 1.0,
                 into: Path | None = None) -> ImageSet:
    """Append altered versions of every picture (`images.alter`), for a set without unseen impressions.

    Version j of a finger alters its picture number j (taken in turn), with a seed from (seed, picture): the
    same alteration and strength for everybody. The new rows have altered = True, the impression 'altered-j',
    an image_id of their own and the path of the picture they come from.

    Args:
        original: the set; rows that are altered already are not altered again.
        impressions: pictures a finger that are altered in turn, at most (the training impressions).
        copies: altered versions a finger.
        seed: at least 0.
        strength: as in `images.alter`.
        into: folder for the longer set, memory-mapped; None: in memory.
    """
    altered = original.records.get('altered', pd.Series(False, original.records.index)).astype(bool)
    records = original.records.assign(altered=altered)
    originals = np.flatnonzero(~altered)
    fresh: list[tuple[int, int, int]] = []  # row, number of the version, version of this very picture
    for rows in records.iloc[originals].groupby('identity').indices.values():
        chosen = originals[rows][:impressions]
        fresh += [(int(chosen[j % len(chosen)]), j + 1, j // len(chosen)) for j in range(copies)]
    store = _Pixels(None if into is None else into / 'pixels.npy', len(records) + len(fresh))
    for picture in original.pixels:
        store.append(picture, len(picture) == 3)
    ids = []
    for row, _, version in fresh:
        # the seed hangs on the picture, not on its owner: copies under two identities stay copies
        derived = hashlib.sha256(f'{seed}/{records["image_id"].iloc[row]}/{version}'.encode()).hexdigest()
        picture = images.alter(original.pixels[row:row + 1], int(derived[:15], 16), strength=strength)[0]
        ids.append(images.image_id(picture))
        store.append(picture, len(picture) == 3)
    added = records.iloc[[row for row, _, _ in fresh]].assign(
        altered=True, impression=[f'altered-{number}' for _, number, _ in fresh], image_id=ids)
    longer = ImageSet(store.finish(), pd.concat([records, added], ignore_index=True),
                      {**original.meta, 'altered': {'copies': copies, 'seed': seed, 'strength': strength}})
    if into is not None:
        longer.save(into)
    return longer


def fingerprint(root: Path | str, cache: Path | str | None = None) -> str:
    """Fingerprint of the pictures under a folder: sha256 over relative paths and contents, 64 hex digits.

    Args:
        root: the folder.
        cache: folder for an index (path, size, times -> hash of the file), so that a second call reads no
            picture.

    Raises:
        UserError: the folder is missing, a file or not readable.
    """
    root = Path(root)
    pictures, _ = _walk(root)
    index = None if cache is None else \
        Path(cache) / f'{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:20]}.json'
    known = _load_index(index)
    now = {path: [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for path, s in pictures.items()}
    stale = [path for path, stamp in now.items() if known.get(path, [''])[1:] != stamp]
    settled = time.time_ns() - _RACY_NS
    with ThreadPoolExecutor(_WORKERS) as pool:
        hashes = dict(zip(stale, pool.map(lambda path: _hash_file(root, path), stale), strict=True))
    hashes |= {path: known[path][0] for path in now if path not in hashes}
    if index is not None and (stale or len(known) != len(now)):
        _save_index(index, {path: [hashes[path], *stamp] for path, stamp in now.items()
                            if max(stamp[1:]) < settled})
    lines = '\n'.join(f'{hashes[path]} {path}' for path in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _hash_file(root: Path, path: str) -> str:
    try:
        return hashlib.sha256((root / path).read_bytes()).hexdigest()
    except OSError as fault:
        raise UserError(f'{path} cannot be read ({fault.strerror})', 'mend or remove it') from None


def _load_index(index: Path | None) -> dict[str, list[Any]]:
    """The index as it was left; a missing or broken one is an empty one, for it only saves time."""
    if index is None:
        return {}
    try:
        known = json.loads(index.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _save_index(index: Path, entries: dict[str, list[Any]]) -> None:
    index.parent.mkdir(parents=True, exist_ok=True)
    draft = index.with_name(f'{index.name}.{uuid4().hex[:8]}')  # two studies may index one folder at once
    draft.write_text(json.dumps(entries))
    os.replace(draft, index)
