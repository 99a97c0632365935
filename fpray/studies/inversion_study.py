"""The study of an embedding's inversion: what the runner must know of it, and three lines of Python for an owner's own."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.attacks.embedding_box import CallableExtractor
from fpray.data.images import contact_sheet, image_id, save_png
from fpray.data.imageset import ImageSet
from fpray.distributed.cluster import connect
from fpray.distributed.plan import run_plan
from fpray.models.config import ReconstructorConfig, reconstructor_parameters
from fpray.store import Stage, Store
from fpray.studies.config import Settings
from fpray.studies.groups import people_lines
from fpray.studies.inversion import plan
from fpray.studies.inversion_config import PLACEBOS, InversionConfig, TargetConfig, desk
from fpray.studies.plan import Plan
from fpray.studies.run import Outcome, Study, check_call, prepare, run, stage_settings

SHOWN = 8  # victims whose reconstructions are shown
SHEET = 24


def networks(config: InversionConfig) -> list[str]:
    """Which networks are trained, and the reconstructors' size."""
    side = config.data.size
    extractor = config.candidates.recognition.extractor
    made = ReconstructorConfig(**{**vars(config.invert.training.reconstructor), 'length': extractor.length or 128,
                                  'image': (side, side)})
    target = config.target.kind if config.box else f'{config.target.network} at {config.target.rung}'
    return [f'  candidates: {", ".join(config.candidates.names)}, length {extractor.length or "their own"}',
            f'  target: {target}; the attacker {"is told" if config.target.model else "infers"} the network',
            f'  judge: {config.judge.recognition.extractor.name if config.judge.kind == "trained" else config.judge.kind}',
            f'  a reconstructor: {"a linear map, " if config.linear else ""}{reconstructor_parameters(made):,} parameters']


def sheets(laid: Plan, store: Store, folder: Path, people_too: bool) -> dict[str, Path]:
    """Pictures of the set, and originals beside reconstructions: one row a victim."""
    if not people_too:
        return {}
    stages = {stage.name: stage for stage in laid.stages}
    everyone = ImageSet.load(store.folder(stages.get('faces', stages['pictures'])))
    found = {'grid/real': folder / 'set.png'}
    step = max(1, len(everyone) // SHEET)
    save_png(contact_sheet(np.asarray(everyone.pixels[::step][:SHEET]), 8), found['grid/real'])
    for name, group, arms in picture_rows(laid.config, laid.numbers.config['arms']):
        found[f'rec/{name}'] = path = folder / f'rec-{name}.png'
        save_png(side_by_side(store.folder(stages[f'invert/{group}']), everyone, arms), path)
    return found


def picture_rows(config: InversionConfig, arms: Any) -> list[tuple[str, str, list[str]]]:
    """(name, group, arms) of the sheets: the attack and its baselines, the rungs, the conditions, the missed targets."""
    found = [('attack', 'headline', [
        arm.name for arm in arms['headline'] if arm.group == 'victims' and arm.name not in PLACEBOS[1:]])]
    if 'rungs' in arms:
        found.append(('adaptation', 'rungs', [arm.name for arm in arms['rungs'] if arm.how == 'network']))
    found.append(('attackers-data', 'conditions', [arm.name for arm in arms['conditions']][:3]))
    if 'pool' in arms:
        found.append(('missed-targets', 'pool', [arm.name for arm in arms['pool'] if 'Same-PreProc' in arm.name]))
    return found


def side_by_side(folder: Path, everyone: ImageSet, names: list[str]) -> np.ndarray:
    """A contact sheet: a victim a row, the original first, then its reconstruction by each arm."""
    probes = pd.read_parquet(folder / 'probes.parquet')
    order = list(dict.fromkeys(probes['arm']))
    columns: list[np.ndarray] = []
    for name in names:
        mine = probes[probes['arm'] == name].reset_index(drop=True)
        shown = mine.index[mine['number'] == 0][:SHOWN]
        pixels = np.load(folder / f'pixels-{order.index(name)}.npy', mmap_mode='r')
        if not columns:
            columns.append(np.asarray(everyone.pixels[mine['row'].to_numpy()[shown]]))
        columns.append(np.asarray(pixels[shown]))
    stacked = np.stack(columns, axis=1)
    return contact_sheet(stacked.reshape(-1, *stacked.shape[2:]), len(columns))


INVERSION = Study(
    'inversion', 'What did they look like, and does the picture get in?', 'jobs/embedding_inversion.py',
    ('target.templates', 'target.answers', 'target.replies', 'attacker.folder', 'attacker.other'), plan, people_lines,
    networks, lambda config: {'groups': config.groups}, lambda laid, store: {}, sheets)


def invert_extractor(embed: Callable[[Any], Any], folder: str, *, store: str = 'runs',
                     config: InversionConfig | None = None, show: bool = True, **data: Any) -> Outcome:
    """Inverts the vectors of any extractor that can be called: `invert_extractor(embed, 'pictures/', layout='orl')`.

    It is asked about the set's pictures, then about the reconstructions; between the two fpray trains on what it answered.

    Args:
        embed: embed(images) -> vectors; see `fpray.attacks.embedding_box.CallableExtractor`. It never leaves this process.
        folder: labelled pictures, of which some people are the victims and others the attacker's.
        store: folder for the results.
        config: the rest of the configuration; the preset desk where it is not given.
        show: progress.
        data: fields of the data's configuration, e.g. layout, resize.

    Raises:
        UserError: the extractor or the folder do not fit.
    """
    base = config or desk()
    check_call(store, data)
    box, where = CallableExtractor(embed), Path(store).absolute() / 'answers'
    settings = Settings(store=store)
    plain = replace(base, data=replace(base.data, root=folder, **data))
    everyone = ImageSet.load(_made(plain, settings, lambda laid: ['pictures', 'faces'], show)[-1][1])
    answers = keep(box, np.asarray(everyone.pixels), where)
    own = replace(plain, target=TargetConfig(kind='callable', answers=str(answers), model=base.target.model))
    made = _made(own, settings, lambda laid: [stage.name for stage in laid.stages if stage.family == 'invert'], show)
    parts = [np.load(folder / f'pixels-{number}.npy') for stage, folder in made
             for number, arm in enumerate(stage.config['arms']) if not arm.judged_alone]
    replies = keep(box, np.concatenate(parts), where)
    return run(INVERSION, replace(own, target=replace(own.target, replies=str(replies))), settings, show=show)


def _made(config: InversionConfig, settings: Settings, wanted: Callable[[Plan], list[str]],
          show: bool) -> list[tuple[Stage, Path]]:
    """Some stages, in the plan's order, with their folders; they are run if need be."""
    laid, settings = prepare(INVERSION, config, settings)
    names = set(wanted(laid))
    stages = [stage for stage in laid.stages if stage.name in names]
    connect(None)
    store = Store(settings.store)
    run_plan(stages, store, stage_settings(INVERSION, laid, settings), show=show)
    return [(stage, store.folder(stage)) for stage in stages]


def keep(box: CallableExtractor, pixels: np.ndarray, into: Path) -> Path:
    """An extractor's answers about pictures, kept under what they are (.npz).

    Raises:
        UserError: the answers do not fit.
    """
    vectors = box.embed(pixels)
    path = into / f'{hashlib.sha256(vectors.tobytes()).hexdigest()[:16]}.npz'
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=into, suffix='.npz', delete=False) as whole:
        np.savez(whole, image_id=np.array([image_id(picture) for picture in pixels], dtype=str), vectors=vectors)
    Path(whole.name).replace(path)
    return path
