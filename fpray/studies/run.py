"""Runs a study from its configuration to its report, and prints it before it runs.

What differs between studies is a value, `Study`.
"""

from __future__ import annotations

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

from fpray import __version__
from fpray.data.config import DataConfig
from fpray.distributed.cluster import connect, cpus, in_job, require_absolute
from fpray.distributed.plan import describe, run_plan
from fpray.errors import UserError
from fpray.reports.html import render, write_figures
from fpray.reports.results import write_results
from fpray.store import Event, Store
from fpray.studies.config import ReportSettings, Settings, paths_of, with_absolute_paths
from fpray.studies.plan import Plan
from fpray.tracking import Tracker

MOST_ACTORS = 8


@dataclass(frozen=True)
class Study:
    """What the runner must know of a study beside its configuration."""

    name: str
    """As in results.json, e.g. 'mia'."""
    title: str
    """The question, on top of the report."""
    script: str
    """The job that runs it, for "how to rerun"."""
    paths: tuple[str, ...]
    """Fields of the configuration that name folders or files beside those of the people, e.g. 'victim.samples'."""
    plan: Callable[[Any, str | None], Plan]
    """Lays a configuration out; see `fpray.studies.audit.plan`."""
    people: Callable[[Plan], list[str]]
    """Lines of a dry run about who is in which group, and what is asked."""
    networks: Callable[[Any], list[str]]
    """Lines of a dry run about parameters and memory."""
    settings: Callable[[Any], dict[str, Any]]
    """What the stages are told of the configuration that no key holds."""
    environment: Callable[[Plan, Store], dict[str, Any]]
    """Of the results' section 'environment': what only this study knows, e.g. how fast queries were scored."""
    sheets: Callable[[Plan, Store, Path, bool], dict[str, Path]]
    """Contact sheets by the report's keys, written into an empty folder; people's only if the last argument allows."""


@dataclass(frozen=True)
class Outcome:
    """Where an audit's results are, and what it says."""

    verdict: str
    summary: list[str]
    report: Path
    results: Path
    ui: str
    """Command that opens MLflow's pages on this run; '' where nothing was recorded."""


def prepare(study: Study, config: Any, settings: Settings) -> tuple[Plan, Settings]:
    """Makes paths absolute, gives the store its place and lays the plan; runs nothing, writes only an index of files.

    Raises:
        UserError: a relative path inside a submitted job, a missing folder, an impossible configuration.
    """
    for flag, path in {**paths_of(config, study.paths), '--store': settings.store}.items():
        require_absolute(path, flag)
    store = settings.store or (str(Path.home() / 'fpray-runs') if in_job() else 'runs')
    settings = replace(settings, store=store if '://' in store else os.path.abspath(store))
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fpray' / 'fingerprints'
    return study.plan(with_absolute_paths(config, study.paths), str(cache)), settings


def dry_run(study: Study, laid: Plan, settings: Settings) -> str:
    """The plan in words: configuration, stages with their keys and whether they are done, people, queries, networks.

    Raises:
        UserError: the names of the pictures alone show that the set cannot be divided as asked.
    """
    config, rows = laid.config, describe([laid.numbers], Store(settings.store))
    stages = [f'  {"done" if row["done"] else "to do":5}  {row["key"]}  {row["name"]}' for row in rows]
    return '\n'.join([
        'configuration', json.dumps(asdict(config), indent=1), '', f'seed {laid.seed}, store {settings.store}', '',
        f'stages ({sum(row["done"] for row in rows)} of {len(rows)} done)', *stages, '', *study.people(laid), '',
        'networks', *study.networks(config)])


def memory_words(size: int, image: tuple[int, int]) -> str:
    """'about 12 MiB a worker beside the libraries\' 300, at 64 x 64 px'."""
    return f'about {size / 2**20:,.0f} MiB a worker beside the libraries\' 300, at {image[0]} x {image[1]} px'


def run(study: Study, config: Any, settings: Settings, report: ReportSettings | None = None, *, preset: str = '',
        command: Sequence[str] = (), ray_address: str = '', show: bool = True) -> Outcome:
    """Runs a study to its report; what the store holds already is not run again.

    Args:
        study: which.
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
    laid, settings = prepare(study, config, settings)
    _check_early(laid, settings)
    connect({'address': ray_address} if ray_address else None)
    store = Store(settings.store)
    seconds: dict[str, tuple[float, bool]] = {}
    name = ' '.join(part for part in (study.name, preset, laid.hash[:8]) if part)
    with Tracker.open(settings.store, enabled=settings.mlflow, study=study.name, name=name, config=asdict(laid.config),
                      tags={'key': laid.hash, 'preset': preset}) as tracker:
        run_plan([laid.numbers], store, stage_settings(study, laid, settings), show=show,
                 on_event=_both(tracker.on_event, _timer(seconds)))
        folder = Path(settings.store if '://' not in settings.store else store.cache) / 'reports' / laid.hash
        results = write_report(study, laid, store, folder, report, preset, command, time.monotonic() - start, seconds)
        tracker.finish(_metrics(results), folder, ' '.join([results['verdict'], *results['summary']]))
        ui = tracker.ui_command()
    return Outcome(results['verdict'], results['summary'], folder / 'report.html', folder / 'results.json', ui)


def stage_settings(study: Study, laid: Plan, settings: Settings) -> dict[str, Any]:
    """What the stages are told beside their configuration."""
    actors = settings.actors or min(MOST_ACTORS, cpus())
    return {'folders': laid.folders, 'actors': actors, 'checkpoint_seconds': settings.checkpoint_seconds,
            'cpus': settings.cpus, **study.settings(laid.config)}


def check_call(store: str, data: Mapping[str, Any]) -> None:
    """Refuses a call from Python whose store is an address, or that names a field which the data do not have."""
    if '://' in store or (unknown := set(data) - {each.name for each in fields(DataConfig)}):
        raise UserError(f'store {store} is an address' if '://' in store else f'unknown field {sorted(unknown)[0]}',
                        'give a folder, and fields of the data\'s configuration')


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


def write_report(study: Study, laid: Plan, store: Store, folder: Path, report: ReportSettings, preset: str,
                 command: Sequence[str], wall_s: float, seconds: Mapping[str, tuple[float, bool]]) -> dict[str, Any]:
    """results.json, report.html, config.json and figures/ in a folder, from what the store holds; computes nothing new."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(asdict(laid.config), indent=1) + '\n')
    body = json.loads((store.folder(laid.numbers) / 'numbers.json').read_text())
    stages = [{'name': row['name'], 'key': row['key'], 'seconds': seconds.get(row['key'], (0.0, True))[0],
               'cached': seconds.get(row['key'], (0.0, True))[1]} for row in describe([laid.numbers], store)]
    manifest = store.manifest(laid.numbers)
    results = write_results({
        'schema_version': 1, 'title': study.title, 'study': study.name, 'preset': preset, 'seed': laid.seed,
        'config': asdict(laid.config), 'config_hash': laid.hash, 'fpray_version': __version__,
        'created': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), **body,
        'rerun': {'command': shlex.join(command) or f'python {study.script} --config config.json',
                  'config_path': str(folder / 'config.json')},
        'timing': {'wall_s': wall_s, 'stages': stages},
        'environment': {'packages': manifest['packages'], 'python': manifest['python'], 'git': manifest['git'],
                        'device': manifest['device'], 'platform': platform.platform(), 'cpus': os.cpu_count(),
                        **study.environment(laid, store)},
    }, folder / 'results.json')
    images = report_images(study, laid, store, folder / 'images', report.show_images or results['data']['synthetic'])
    (folder / 'report.html').write_text(render(results, images, report.show_images), encoding='utf-8')
    write_figures(results, folder / 'figures')
    return results


def report_images(study: Study, laid: Plan, store: Store, folder: Path, people_too: bool) -> dict[str, Path]:
    """Contact sheets by the report's keys; those that show people only where asked for, or where nobody is real."""
    shutil.rmtree(folder, ignore_errors=True)  # pictures of people that an earlier run was asked for do not stay
    folder.mkdir(parents=True)
    return study.sheets(laid, store, folder, people_too)


def _metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers that MLflow's table of runs compares."""
    primary, controls = results['primary'], results['controls']
    rates = {'auc': primary['auc'], 'auc_minus_placebo': primary['minus_placebo'],
             **{name: control.get('auc') for name, control in controls.items()},
             **{name: primary[name] for name in ('accuracy', 'tpr_at_fpr_1pct') if name in primary},
             **{f'acceptance_{name}': rate for name, rate in primary.get('acceptance', {}).items()}}
    found: dict[str, float] = {}
    for name, rate in rates.items():
        if rate and rate['estimate'] is not None:
            bounds = rate.get('interval') or (None, None)
            ends = {name: rate['estimate'], f'{name}_low': bounds[0], f'{name}_high': bounds[1]}
            found |= {end: value for end, value in ends.items() if value is not None}
    return found
