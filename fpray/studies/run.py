"""Runs an audit from its configuration to its report, and prints it before it runs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fpray import __version__
from fpray.attacks.black_box import CallableGenerator
from fpray.data.images import contact_sheet, save_png
from fpray.data.imageset import ImageSet
from fpray.data.splits import training_rows
from fpray.distributed.cluster import connect, cpus, in_job, require_absolute
from fpray.distributed.plan import describe, run_plan
from fpray.errors import UserError
from fpray.metrics.membership import LABELS
from fpray.models.config import estimate, parameters, scorer_memory
from fpray.reports.html import render, write_figures
from fpray.reports.results import write_results
from fpray.store import Event, Store
from fpray.studies.audit import Plan, plan
from fpray.studies.config import (
    AuditConfig,
    ReportSettings,
    Settings,
    desk,
    for_pictures,
    with_absolute_paths,
)
from fpray.studies.steps import foreseen, queries
from fpray.tracking import Tracker

TITLE = 'What does this fingerprint generator give away about the people it was trained on?'
MOST_ACTORS = 8
SHEET = 24  # highest-scored queries that are shown


@dataclass(frozen=True)
class Outcome:
    """Where an audit's results are, and what it says."""

    verdict: str
    summary: list[str]
    report: Path
    results: Path
    ui: str
    """Command that opens MLflow's pages on this run; '' where nothing was recorded."""


def prepare(config: AuditConfig, settings: Settings) -> tuple[Plan, Settings]:
    """Makes paths absolute, gives the store its place and lays the plan; runs nothing, writes only an index of files.

    Raises:
        UserError: a relative path inside a submitted job, a missing folder, an impossible configuration.
    """
    where = {'--data.root': config.data.root, '--data.members': config.data.members,
             '--data.nonmembers': config.data.nonmembers, '--data.reference': config.data.reference,
             '--victim.samples': config.victim.samples, '--store': settings.store}
    for flag, path in where.items():
        require_absolute(path, flag)
    store = settings.store or (str(Path.home() / 'fpray-runs') if in_job() else 'runs')
    settings = replace(settings, store=store if '://' in store else os.path.abspath(store))
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fpray' / 'fingerprints'
    return plan(with_absolute_paths(config), settings, str(cache)), settings


def dry_run(laid: Plan, settings: Settings) -> str:
    """The plan in words: configuration, stages with their keys and whether they are done, people, queries, networks.

    Raises:
        UserError: the names of the pictures alone show that the set cannot be divided as asked.
    """
    config, rows = laid.config, describe([laid.numbers], Store(settings.store))
    stages = [f'  {"done" if row["done"] else "to do":5}  {row["key"]}  {row["name"]}' for row in rows]
    return '\n'.join([
        'configuration', json.dumps(asdict(config), indent=1), '', f'seed {laid.seed}, store {settings.store}', '',
        f'stages ({sum(row["done"] for row in rows)} of {len(rows)} done)', *stages, '', *_people_lines(laid), '',
        'networks', *_network_lines(config)])


def _people_lines(laid: Plan) -> list[str]:
    """Who is in which group and what is asked about, from names alone."""
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
    if config.query.real[0] and not config.owner:
        lines.append('  real images of Table 4.1: {1:,} pictures of {0:,} people'.format(*config.query.real))
    return lines


def _sides(contrast: str, asked: Any) -> str:
    """'mia 72 pictures of 12 people against 288 of 48'."""
    label = asked[LABELS[contrast]].to_numpy(bool)
    inside, outside = (asked[side] for side in (label, ~label))
    return (f'{contrast} {len(inside):,} pictures of {inside["subject"].nunique():,} people against '
            f'{len(outside):,} of {outside["subject"].nunique():,}')


def _network_lines(config: AuditConfig) -> list[str]:
    """Parameters and memory of each network."""
    known = config.data.resize != 'none' or not (config.data.root or config.owner)
    side, lines = (config.data.size, config.data.size), []
    for name, gan, loop in (('victim', config.victim.gan, config.victim.loop),
                            ('shadow, before the search', config.shadow.gan, config.shadow.loop)):
        if gan.generator.family == 'scaled' and known:
            gan = for_pictures(gan, side, 1)
        found = estimate(gan.generator, gan.discriminator, loop.batch // loop.workers, bool(gan.ema))
        lines.append(f'  {name}: generator {found.generator:,} parameters, discriminator {found.discriminator:,}, '
                     f'{_memory(found.memory_bytes, gan.generator.image)}')
    scorer = config.scorer.network.scorer
    scorer = replace(scorer, image=side) if known and scorer.backbone == 'cnn' else scorer
    memory = _memory(scorer_memory(scorer, config.scorer.loop.batch // config.scorer.loop.workers), scorer.image)
    return [*lines, f'  scoring network: {parameters(scorer):,} parameters with {scorer.classes} classes, {memory}']


def _memory(size: int, image: tuple[int, int]) -> str:
    return f'about {size / 2**20:,.0f} MiB a worker beside the libraries\' 300, at {image[0]} x {image[1]} px'


def run_audit(config: AuditConfig, settings: Settings, report: ReportSettings | None = None, *, preset: str = '',
              command: Sequence[str] = (), ray_address: str = '', show: bool = True) -> Outcome:
    """Runs an audit to its report; what the store holds already is not run again.

    Args:
        config: what the numbers depend on.
        settings: where and how; no number depends on them.
        report: what the report shows.
        preset: its name, for the report.
        command: how it was called, for the report's "how to rerun".
        ray_address: of a running Ray; '' finds one or starts a local one.
        show: progress.

    Raises:
        UserError: the user can mend it; one line.
    """
    start, report = time.monotonic(), report or ReportSettings()
    laid, settings = prepare(config, settings)
    _check_early(laid, settings)
    connect({'address': ray_address} if ray_address else None)
    store = Store(settings.store)
    seconds: dict[str, tuple[float, bool]] = {}
    with Tracker.open(settings.store, enabled=settings.mlflow, study='mia', name=f'mia {preset} {laid.hash[:8]}'.strip(),
                      config=asdict(laid.config), tags={'key': laid.hash, 'preset': preset}) as tracker:
        run_plan([laid.numbers], store, stage_settings(laid, settings), show=show,
                 on_event=_both(tracker.on_event, _timer(seconds)))
        folder = Path(settings.store if '://' not in settings.store else store.cache) / 'reports' / laid.hash
        results = write_report(laid, store, folder, report, preset, command, time.monotonic() - start, seconds)
        tracker.finish(_metrics(results), folder)
        ui = tracker.ui_command()
    return Outcome(results['verdict'], results['summary'], folder / 'report.html', folder / 'results.json', ui)


def stage_settings(laid: Plan, settings: Settings) -> dict[str, Any]:
    """What the stages are told beside their configuration."""
    actors = settings.actors or min(MOST_ACTORS, cpus())
    return {'folders': laid.folders, 'actors': actors, 'checkpoint_seconds': settings.checkpoint_seconds,
            'cpus': settings.cpus, 'draws': laid.config.victim.draws,
            'query': None if laid.config.owner else laid.config.query}


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
    if '://' in store or (unknown := set(data) - {each.name for each in fields(base.data)}):
        raise UserError(f'store {store} is an address' if '://' in store else f'unknown field {sorted(unknown)[0]}',
                        'give a folder, and fields of the data\'s configuration')
    own = replace(base, data=replace(base.data, members=members, nonmembers=nonmembers, **data),
                  victim=replace(base.victim, samples='samples.npy'))
    drawn = CallableGenerator(sample).sample(base.victim.draws, 0)
    path = Path(store).absolute() / 'samples' / f'{hashlib.sha256(drawn.tobytes()).hexdigest()[:16]}.npy'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, drawn)
    try:
        return run_audit(replace(own, victim=replace(own.victim, samples=str(path))), Settings(store=store))
    except UserError:
        path.unlink()
        raise


def _check_early(laid: Plan, settings: Settings) -> None:
    """Faults that need no Ray to be seen: the store must be a folder that can be made."""
    if '://' in settings.store:
        return
    path = Path(settings.store)
    while not path.exists():
        path = path.parent
    if not path.is_dir() or not os.access(path, os.W_OK):
        raise UserError(f'--store {settings.store}: {path} is no folder that can be written', 'name another folder')


def _both(*each: Callable[[Event], None]) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        for one in each:
            one(event)
    return tell


def _timer(seconds: dict[str, tuple[float, bool]]) -> Callable[[Event], None]:
    def note(event: Event) -> None:
        if event.kind in ('done', 'hit'):
            seconds[event.stage.key] = (event.seconds, event.kind == 'hit')
    return note


def write_report(laid: Plan, store: Store, folder: Path, report: ReportSettings, preset: str, command: Sequence[str],
                 wall_s: float, seconds: Mapping[str, tuple[float, bool]]) -> dict[str, Any]:
    """results.json, report.html, config.json and figures/ in a folder, from what the store holds; computes nothing new."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(asdict(laid.config), indent=1) + '\n')
    body = json.loads((store.folder(laid.numbers) / 'numbers.json').read_text())
    stages = [{'name': row['name'], 'key': row['key'], 'seconds': seconds.get(row['key'], (0.0, True))[0],
               'cached': seconds.get(row['key'], (0.0, True))[1]} for row in describe([laid.numbers], store)]
    manifest = store.manifest(laid.numbers)
    results = write_results({
        'schema_version': 1, 'title': TITLE, 'study': 'mia', 'preset': preset, 'seed': laid.seed,
        'config': asdict(laid.config), 'config_hash': laid.hash, 'fpray_version': __version__,
        'created': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), **body,
        'rerun': {'command': shlex.join(command) or 'python jobs/mia_sweep.py --config config.json',
                  'config_path': str(folder / 'config.json')},
        'timing': {'wall_s': wall_s, 'stages': stages},
        'environment': {'packages': manifest['packages'], 'python': manifest['python'], 'git': manifest['git'],
                        'device': manifest['device'], 'platform': platform.platform(), 'cpus': os.cpu_count(),
                        'scoring': _throughput(laid, store)},
    }, folder / 'results.json')
    images = report_images(laid, store, folder / 'images', report.show_images or results['data']['synthetic'])
    (folder / 'report.html').write_text(render(results, images, report.show_images), encoding='utf-8')
    write_figures(results, folder / 'figures')
    return results


def _throughput(laid: Plan, store: Store) -> dict[str, Any]:
    """How fast the headline's queries were scored: pictures, discriminators, actors, pictures a second."""
    attack = next(s for s in laid.stages if s.name == f'attack/{laid.numbers.config["headline"]}')
    return dict(json.loads(store.read_text(attack, 'throughput.json') or '{}'))


def report_images(laid: Plan, store: Store, folder: Path, people_too: bool) -> dict[str, Path]:
    """Contact sheets by the report's keys; those that show people only where asked for, or where nobody is real."""
    shutil.rmtree(folder, ignore_errors=True)  # pictures of people that an earlier run was asked for do not stay
    folder.mkdir(parents=True)
    stages = {stage.name: stage for stage in laid.stages}
    found = {}
    for name, stage in stages.items():
        grid = store.folder(stage) / 'grid.png'
        if name.split('/')[0] in ('victim', 'shadow') and grid.exists():
            found[f'grid/{name}'] = grid
        if name.startswith('samples/') and f'victim/{name.split("/")[1]}' not in stages:
            pixels = np.load(store.folder(stage) / 'samples.npy', mmap_mode='r')[:SHEET]
            save_png(contact_sheet(np.asarray(pixels), 8), folder / 'owner.png')
            found['grid/victim/owner'] = folder / 'owner.png'
    if people_too:
        found |= _sheets_of_people(laid, store, folder)
    return found


def _sheets_of_people(laid: Plan, store: Store, folder: Path) -> dict[str, Path]:
    """Pictures of the set, and the highest-scored queries with the members marked (Fig. 5.2)."""
    import pandas as pd

    stages = {stage.name: stage for stage in laid.stages}
    everyone = ImageSet.load(store.folder(stages['pictures']))
    headline = laid.numbers.config['headline']
    scores = pd.read_parquet(store.folder(stages[f'attack/{headline}']) / 'scores.parquet')
    found = {'grid/real': folder / 'set.png'}
    step = max(1, len(everyone) // SHEET)
    save_png(contact_sheet(np.asarray(everyone.pixels[::step][:SHEET]), 8), found['grid/real'])
    for contrast in ('mia', 'iia'):
        mine = scores[(scores['attack'] == 'shadow') & (scores['replicate'] == '') & (scores['contrast'] == contrast)]
        top = mine.sort_values(['score', 'image_id'], ascending=[False, True]).head(SHEET)
        if len(top):
            found[f'top/{contrast}'] = folder / f'top-{contrast}.png'
            save_png(contact_sheet(np.asarray(everyone.pixels[top['row'].to_numpy()]), 8,
                                   marked=top[LABELS[contrast]].to_numpy(bool)), found[f'top/{contrast}'])
    return found


def _metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers that MLflow's table of runs compares."""
    primary, controls = results['primary'], results['controls']
    rates = {'auc': primary['auc'], 'auc_minus_placebo': primary['minus_placebo'],
             **{name: control.get('auc') for name, control in controls.items()}}
    found = {name: rate['estimate'] for name, rate in rates.items() if rate and rate['estimate'] is not None}
    low, high = primary['auc']['interval']
    return found | {k: v for k, v in (('auc_low', low), ('auc_high', high)) if v is not None}
