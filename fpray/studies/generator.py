"""The study of a fingerprint generator: what the runner must know of it, and three lines of Python for an owner's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fpray.attacks.black_box import CallableGenerator
from fpray.data.images import contact_sheet, save_png
from fpray.errors import UserError
from fpray.models.config import estimate, parameters, scorer_memory
from fpray.store import Store
from fpray.studies.audit import plan
from fpray.studies.config import AuditConfig, Settings, desk, for_pictures
from fpray.studies.plan import Plan
from fpray.studies.run import Outcome, Study, check_call, memory_words, run
from fpray.studies.shown import SHEET, asked, people_lines, sheets_of_people


def networks(config: AuditConfig) -> list[str]:
    """Parameters and memory of each network."""
    known = config.data.resize != 'none' or not (config.data.root or config.owner)
    side, lines = (config.data.size, config.data.size), []
    for name, gan, loop in (('victim', config.victim.gan, config.victim.loop),
                            ('shadow, before the search', config.shadow.gan, config.shadow.loop)):
        if gan.generator.family == 'scaled' and known:
            gan = for_pictures(gan, side, 1)
        found = estimate(gan.generator, gan.discriminator, loop.batch // loop.workers, bool(gan.ema))
        lines.append(f'  {name}: generator {found.generator:,} parameters, discriminator {found.discriminator:,}, '
                     f'{memory_words(found.memory_bytes, gan.generator.image)}')
    scorer = config.scorer.network.scorer
    scorer = replace(scorer, image=side) if known and scorer.backbone == 'cnn' else scorer
    memory = memory_words(scorer_memory(scorer, config.scorer.loop.batch // config.scorer.loop.workers), scorer.image)
    people, pictures = config.query.real
    if people and not config.owner:
        lines.append(f'  real images of Table 4.1: {pictures:,} pictures of {people:,} people')
    return [*lines, f'  scoring network: {parameters(scorer):,} parameters with {scorer.classes} classes, {memory}']


def throughput(laid: Plan, store: Store) -> dict[str, Any]:
    """How fast the headline's queries were scored: pictures, discriminators, actors, pictures a second."""
    attack = next(s for s in laid.stages if s.name == f'attack/{laid.numbers.config["headline"]}')
    return {'scoring': json.loads(store.read_text(attack, 'throughput.json') or '{}')}


def sheets(laid: Plan, store: Store, folder: Path, people_too: bool) -> dict[str, Path]:
    """What victims and shadows make, in which nobody is; and people's pictures where they may be shown."""
    stages = {stage.name: stage for stage in laid.stages}
    found = sheets_of_people(laid, store, folder, 'shadow') if people_too else {}
    for name, stage in stages.items():
        grid = store.folder(stage) / 'grid.png'
        if name.split('/')[0] in ('victim', 'shadow') and grid.exists():
            found[f'grid/{name}'] = grid
        if name.startswith('samples/') and f'victim/{name.split("/")[1]}' not in stages:
            pixels = np.load(store.folder(stage) / 'samples.npy', mmap_mode='r')[:SHEET]
            save_png(contact_sheet(np.asarray(pixels), 8), folder / 'owner.png')
            found['grid/victim/owner'] = folder / 'owner.png'
    return found


GENERATOR = Study(
    'mia', 'What does this fingerprint generator give away about the people it was trained on?', 'jobs/mia_sweep.py',
    ('victim.samples',), plan, people_lines, networks,
    lambda config: {'draws': config.victim.draws, **asked(config)}, throughput, sheets)


def audit_generator(sample: Callable[[int, int], Any], members: str, nonmembers: str, *, store: str = 'runs',
                    config: AuditConfig | None = None, **data: Any) -> Outcome:
    """Audits any generator that can be called: `audit_generator(sample, 'members/', 'others/', layout='fvc')`.

    Args:
        sample: sample(n, seed) -> n pictures, (n, C, H, W) or (n, H, W), uint8 or floats in [-1, 1] or [0, 1]; the
            same for the same n and seed. It never leaves this process.
        members, nonmembers: folders of pictures that it was and was not trained on.
        store: folder for the results.
        config: the rest of the configuration; the preset desk where it is not given.
        data: fields of the data's configuration, e.g. layout, resize, size, reference.

    Raises:
        UserError: the generator or the folders do not fit.
    """
    base = config or desk()
    check_call(store, data)
    own = replace(base, data=replace(base.data, members=members, nonmembers=nonmembers, **data),
                  victim=replace(base.victim, samples='samples.npy'))
    drawn = CallableGenerator(sample).sample(base.victim.draws, 0)
    path = Path(store).absolute() / 'samples' / f'{hashlib.sha256(drawn.tobytes()).hexdigest()[:16]}.npy'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, drawn)
    try:
        return run(GENERATOR, replace(own, victim=replace(own.victim, samples=str(path))), Settings(store=store))
    except UserError:
        path.unlink()
        raise
