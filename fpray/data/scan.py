"""`python -m fpray.data.scan FOLDER --layout L`: what a folder of pictures holds, and its faults."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from fpray.data import load_layout
from fpray.data.config import DataConfig
from fpray.data.imageset import decode_all, duplicates, find, size_name
from fpray.errors import EXIT_CODE, UserError


def scan(root: Path | str, config: DataConfig) -> dict[str, Any]:
    """Read every picture of a folder once and count.

    Args:
        root: the folder.
        config: layout and pattern are read from it.

    Returns:
        JSON values: folder, layout, subject_known, pictures, ignored (files that are no pictures), subjects,
        identities, impressions (min, median, max a finger), positions, sizes ('96 x 103' -> number, most
        common first), colour (pictures in colour), misfits (names that do not fit the layout), unreadable (a
        list of {path, why}), duplicates (a list of lists of paths: pixel-identical pictures under different
        identities), repeats (a list of lists of paths: pixel-identical pictures under one identity).

    Raises:
        UserError: a missing folder, no picture in it, or not one name that fits the layout.
    """
    found = find(root, load_layout(config.layout, config.pattern))
    if not found.places:
        raise UserError(f'no name fits the layout {config.layout}, e.g. {found.misfits[0]!r}',
                        'choose another --layout')
    read, unreadable = [], []
    for item in decode_all(found):
        if item.fault is None:
            place = item.place
            read.append((item.image_id, place.subject, place.identity, place.position, item.path, item.width,
                         item.height, item.colour))
        else:
            unreadable.append({'path': item.path, 'why': item.fault.what})
    records = pd.DataFrame(read, columns=['image_id', 'subject', 'identity', 'position', 'path', 'width',
                                          'height', 'colour'])
    several = set(duplicates(records))
    groups = [(key, group['path'].tolist()) for key, group in records.groupby('image_id', sort=False)
              if len(group) > 1]
    each = records.groupby('identity').size()
    sizes = Counter(zip(records['width'], records['height'], strict=True)).most_common()
    return {
        'folder': str(root), 'layout': config.layout,
        'subject_known': all(place.subject_known for place in found.places.values()),
        'pictures': len(records), 'ignored': found.ignored, 'subjects': int(records['subject'].nunique()),
        'identities': len(each),
        'impressions': dict(min=int(each.min()), median=float(each.median()), max=int(each.max()))
        if len(each) else None,
        'positions': {str(key): int(n) for key, n in records['position'].value_counts().items() if key},
        'sizes': {size_name(size): number for size, number in sizes}, 'colour': int(records['colour'].sum()),
        'misfits': found.misfits, 'unreadable': unreadable,
        'duplicates': [paths for key, paths in groups if key in several],
        'repeats': [paths for key, paths in groups if key not in several]}


def as_text(counts: dict[str, Any]) -> str:
    """The counts of `scan` as lines for a reader."""
    known = '' if counts['subject_known'] else ' (the layout knows none: the identity stands for the person)'
    lines = [f'{counts["folder"]}: {counts["pictures"]:,} pictures, {counts["subjects"]:,} people{known}, '
             f'{counts["identities"]:,} identities, layout {counts["layout"]}']
    if counts['impressions']:
        each = counts['impressions']
        lines.append(f'impressions an identity: {each["min"]} to {each["max"]}, median {each["median"]:g}')
    lines.append('sizes: ' + (', '.join(f'{n:,} of {size}' for size, n in counts['sizes'].items()) or 'none'))
    if counts['colour']:
        lines.append(f'in colour: {counts["colour"]:,}')
    if counts['ignored']:
        lines.append(f'other files, ignored: {counts["ignored"]:,}')
    lines += [f'unreadable: {bad["why"]}' for bad in counts['unreadable']]
    lines += [f'name does not fit: {path}' for path in counts['misfits']]
    lines += [f'one picture under several identities, left out of every split: {", ".join(paths)}'
              for paths in counts['duplicates']]
    lines += [f'one picture several times under one identity, used once: {", ".join(paths)}'
              for paths in counts['repeats']]
    faults = sum(len(counts[key]) for key in ('unreadable', 'misfits', 'duplicates', 'repeats'))
    return '\n'.join([*lines, f'{faults:,} faults' if faults else 'no faults'])


def main(arguments: list[str] | None = None) -> int:
    """Command line of the scan. Returns the exit code: 0, also with faults; 2 if there is nothing to scan."""
    parser = argparse.ArgumentParser(prog='python -m fpray.data.scan', description=__doc__.split(': ', 1)[1])
    parser.add_argument('folder', help='folder of pictures')
    parser.add_argument('--layout', default='folder',
                        help='casia-v5, fvc, socofing, polyu, orl, lfw, folder (one folder an identity) or pattern')
    parser.add_argument('--pattern', default='',
                        help='layout pattern: a regular expression over the relative path, with the named '
                             'groups subject, finger and impression')
    parser.add_argument('--json', action='store_true', help='print the counts as JSON')
    options = parser.parse_args(arguments)
    try:
        config = DataConfig(root=options.folder, layout=options.layout, pattern=options.pattern)
        counts = scan(options.folder, config)
    except UserError as fault:
        print(fault, file=sys.stderr)
        return EXIT_CODE
    print(json.dumps(counts, indent=1) if options.json else as_text(counts))
    return 0


if __name__ == '__main__':
    sys.exit(main())
