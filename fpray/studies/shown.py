"""What the membership studies print and show of their people: a dry run's lines, and contact sheets of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.data.images import contact_sheet, save_png
from fpray.data.imageset import ImageSet
from fpray.data.splits import training_rows
from fpray.metrics.membership import LABELS
from fpray.store import Store
from fpray.studies.plan import Plan
from fpray.studies.steps import foreseen, queries

SHEET = 24  # pictures of a sheet; of the queries the highest-scored


def asked(config: Any) -> dict[str, Any]:
    """What the stages are told of the queries, which no key holds."""
    return {'query': None if config.owner else config.query}


def people_lines(laid: Plan) -> list[str]:
    """Lines of a dry run: who is in which group and what is asked about, from names alone."""
    config = laid.config
    records, split = foreseen(config, laid.folders, laid.seed)
    made, originals = not laid.folders, records[~records['altered']]
    lines = ['people a group' + ('' if made else ', by names alone: copies and unreadable files are known after reading'),
             f'  {"to draw" if made else "the folders hold"}: {len(originals):,} pictures, '
             f'{originals["subject"].nunique():,} people, {originals["identity"].nunique():,} fingers'
             + (f', {config.data.size} x {config.data.size} px' if made else '')]
    for group, people in split.people.items():
        source = ' (other people)' if group in split.borrowed else ''
        lines.append(f'  {group}: {len(people):,} people, {len(training_rows(split, group)):,} pictures{source}')
        if group in split.missing:
            lines[-1] = f'  {group}: from {"other people, too few" if config.data.reference else "the stand-in"}'
    lines += ['', 'training pictures and query sets, trained or known people against the others']
    for size in [None] if config.owner else config.split.sizes:
        who = f'{size or len(split.people["members"]):,} people'
        asked = queries(split, records, 'members', 'nonmembers', size, config.asked(size or 0))
        lines.append(f'  {who}: {len(training_rows(split, "members", size)):,} pictures to train on; '
                     + '; '.join(_sides(contrast, asked[asked['contrast'] == contrast])
                                 for contrast in asked['contrast'].unique()))
    return lines


def _sides(contrast: str, asked: Any) -> str:
    """'mia 72 pictures of 12 people against 288 of 48'."""
    label = asked[LABELS[contrast]].to_numpy(bool)
    inside, outside = (asked[side] for side in (label, ~label))
    return (f'{contrast} {len(inside):,} pictures of {inside["subject"].nunique():,} people against '
            f'{len(outside):,} of {outside["subject"].nunique():,}')


def sheets_of_people(laid: Plan, store: Store, folder: Path, attack: str) -> dict[str, Path]:
    """Pictures of the set, and the highest-scored queries with the members marked (Fig. 5.2)."""
    stages = {stage.name: stage for stage in laid.stages}
    everyone = ImageSet.load(store.folder(stages['pictures']))
    headline = laid.numbers.config['headline']
    scores = pd.read_parquet(store.folder(stages[f'attack/{headline}']) / 'scores.parquet')
    found = {'grid/real': folder / 'set.png'}
    step = max(1, len(everyone) // SHEET)
    save_png(contact_sheet(np.asarray(everyone.pixels[::step][:SHEET]), 8), found['grid/real'])
    for contrast in ('mia', 'iia'):
        mine = scores[(scores['attack'] == attack) & (scores['replicate'] == '') & (scores['contrast'] == contrast)]
        top = mine.sort_values(['score', 'image_id'], ascending=[False, True]).head(SHEET)
        if len(top):
            found[f'top/{contrast}'] = folder / f'top-{contrast}.png'
            save_png(contact_sheet(np.asarray(everyone.pixels[top['row'].to_numpy()]), 8,
                                   marked=top[LABELS[contrast]].to_numpy(bool)), found[f'top/{contrast}'])
    return found
