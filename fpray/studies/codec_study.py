"""The study of a learned codec: what the runner must know of it, and three lines of Python for an owner's own."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fpray.attacks.codec_box import CallableCodec, CodecBox
from fpray.data.config import DataConfig
from fpray.data.imageset import read_folder
from fpray.errors import UserError
from fpray.models.config import codec_parameters
from fpray.store import Store
from fpray.studies.codec import plan, targets
from fpray.studies.codec_config import PRIMARY, CodecAuditConfig, desk
from fpray.studies.codec_steps import OWN_SIDES, answered
from fpray.studies.config import Settings
from fpray.studies.plan import Plan
from fpray.studies.run import Outcome, Study, check_call, run
from fpray.studies.shown import asked, people_lines, sheets_of_people

BLOCK = 256  # pictures that a callable is asked about at a time


def networks(config: CodecAuditConfig) -> list[str]:
    """How many codecs are trained, and their size."""
    goals = [goal for goal in targets(config) if goal.people is not None]
    codec, defences = config.codec.codec, ', '.join(config.defences.names)
    return [f'  {len(goals)} codecs to audit and {config.shadow.count} shadows of the {codec.family} family, '
            f'n {codec.n}, m {codec.m}: {codec_parameters(codec):,} parameters each',
            f'  primary lambda {config.victim.primary:g}; defences: {"none" if config.owner else defences or "none"}']


def sheets(laid: Plan, store: Store, folder: Path, people_too: bool) -> dict[str, Path]:
    """The same pictures at each lambda, which are people's, and what the chosen twin makes."""
    stages = {stage.name: stage for stage in laid.stages}
    found = sheets_of_people(laid, store, folder, PRIMARY) if people_too else {}
    if people_too:
        found |= {f'rd/{path.stem}': path for path in sorted(store.folder(stages['rate-distortion']).glob('rd-*.png'))}
    if 'choice/0' in stages:
        found['grid/twin'] = store.folder(stages['choice/0']) / 'grid.png'
    return found


CODEC = Study(
    'codec', 'What does this learned codec give away about the people it was trained on?', 'jobs/codec_audit.py',
    ('victim.decompressed', 'victim.compressed'), plan, people_lines, networks, asked, lambda laid, store: {}, sheets)


def audit_codec(compress: Callable[[Any], Any], members: str, nonmembers: str, *, lmbda: float, store: str = 'runs',
                config: CodecAuditConfig | None = None, **data: Any) -> Outcome:
    """Audits any codec that can be called: `audit_codec(compress, 'members/', 'others/', lmbda=0.01, layout='fvc')`.

    Args:
        compress: compress(images) -> (sizes in bits (n,), reconstructions); see `fpray.attacks.codec_box.CallableCodec`.
            It never leaves this process.
        members, nonmembers: folders of pictures that it was and was not trained on.
        lmbda: what the codec weighs the MSE on the 0-255 scale with, bits a pixel; 0.01 where it has none of its own.
        store: folder for the results.
        config: the rest of the configuration; the preset desk where it is not given.
        data: fields of the data's configuration, e.g. layout, reference.

    Raises:
        UserError: the codec or the folders do not fit.
    """
    base = config or desk()
    check_call(store, data)
    named = replace(base.data, members=members, nonmembers=nonmembers, **data)
    own = replace(base, data=named, victim=replace(base.victim, decompressed='answers.npz', primary=lmbda))
    answers = ask(CallableCodec(compress), own.data, Path(store).absolute() / 'answers')
    try:
        return run(CODEC, replace(own, victim=replace(own.victim, decompressed=str(answers))), Settings(store=store))
    except UserError:
        answers.unlink()
        raise


def ask(box: CodecBox, data: DataConfig, into: Path) -> Path:
    """A codec's answers about every picture of an owner's folders, measured and kept under what they are of (.npz).

    Raises:
        UserError: the pictures or the answers do not fit.
    """
    names, columns = [], []
    with tempfile.TemporaryDirectory(prefix='fpray-') as scratch:
        for side in OWN_SIDES:
            if not (folder := getattr(data, side)):
                continue
            everyone = read_folder(folder, data, Path(scratch, side))
            for first in range(0, len(everyone), BLOCK):
                pixels = np.asarray(everyone.pixels[first:first + BLOCK])
                columns.append(answered(pixels, box.compress(pixels)))
            names += everyone.records['image_id'].tolist()
    table = np.concatenate(columns)
    path = into / f'{hashlib.sha256(table.tobytes()).hexdigest()[:16]}.npz'
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=into, suffix='.npz', delete=False) as whole:
        np.savez(whole, image_id=np.array(names, dtype=str), columns=table)
    Path(whole.name).replace(path)
    return path
