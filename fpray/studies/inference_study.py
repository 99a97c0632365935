"""The study of model inference: what the runner must know of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fpray.data.images import contact_sheet, save_png
from fpray.data.imageset import ImageSet
from fpray.store import Store
from fpray.studies.groups import people_lines
from fpray.studies.inference import plan, pooled
from fpray.studies.inference_config import InferenceStudyConfig, candidates_of
from fpray.studies.plan import Plan
from fpray.studies.run import Study
from fpray.studies.shown import SHEET


def networks(config: InferenceStudyConfig) -> list[str]:
    """Lines of a dry run: what is trained and asked."""
    head = config.headline
    trained = f'{config.candidates.loop.images:,} pictures each' if config.groups.public else 'as they come'
    lines = [f'  length {length}: {", ".join(each.name for each in candidates_of(config, length))}'
             for length in config.lengths]
    twins = f', and a twin of each of length {head.length}' if config.twins else ''
    further = f', each trained further on {config.pool.further:,}' if config.pool.further else ''
    return [*lines, f'  {trained}{twins}; {config.adapt.loop.images:,} new to FT-5',
            f'  pool: {len(pooled(config))} networks x {config.pool.images} pictures{further}; '
            f'zoo: {config.zoo.networks:,} digit networks',
            f'  the cell that decides: length {head.length}, {head.condition}, {head.rung}']


def sheets(laid: Plan, store: Store, folder: Path, people_too: bool) -> dict[str, Path]:
    """Pictures of the set, and the attacker's through the other pipeline: all of them people's."""
    if not people_too:
        return {}
    stages = {stage.name: stage for stage in laid.stages}
    everyone = ImageSet.load(store.folder(stages['pictures']))
    step = max(1, len(everyone) // SHEET)
    found = {'grid/real': np.asarray(everyone.pixels[::step][:SHEET])}
    for name, stage in stages.items():
        if name.startswith('pipeline/'):
            found[f'grid/{name.removeprefix("pipeline/").lower()}'] = np.load(store.folder(stage) / 'reference.npy')[:SHEET]
    paths = {key: folder / f'{key.replace("/", "-")}.png' for key in found}
    for key, pixels in found.items():
        save_png(contact_sheet(pixels, 8), paths[key])
    return paths


INFERENCE = Study(
    'inference', 'Which network made this vector?', 'jobs/model_inference.py',
    ('attacker.other', 'attacker.folder', 'zoo.digits', 'zoo.mnist_net'), plan, people_lines, networks,
    lambda config: {'groups': config.groups},
    lambda laid, store: {}, sheets)
