"""MLflow as a record: a run a study, below it a run a stage, below that a run a search trial. The only room that
knows it.

The store is the truth. If MLflow is away, the study goes on with one warning, and `backfill` records it later from
the store.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fpray.store import CURVES, Event, Stage, Store, canonical, git_commit, parse_curves

log = logging.getLogger(__name__)

EXPERIMENT = 'fpray'
PARAM_CHARACTERS, PARAMS_A_BATCH, METRICS_A_BATCH = 500, 100, 1000
# A study must not wait long for a server that is away: MLflow's own defaults are 120 s, seven times over.
PATIENCE = {'MLFLOW_HTTP_REQUEST_TIMEOUT': '10', 'MLFLOW_HTTP_REQUEST_MAX_RETRIES': '1'}
SILENCE = {'MLFLOW_DISABLE_TELEMETRY': 'true'}  # an audit tells nobody that it runs
FLUSH_S = 2.0  # between two messages of live metrics
PARENT = 'mlflow.parentRunId'
NOTE = 'mlflow.note.content'  # MLflow's pages show it as the run's description
VIEW = '?workflowType=machine_learning'  # else MLflow 3 opens as for language models: traces, no list of runs


def default_uri(store: Store) -> str:
    """MLFLOW_TRACKING_URI, or a SQLite file under the store (under its cache folder where the store is a bucket)."""
    told = os.environ.get('MLFLOW_TRACKING_URI')
    return told or f'sqlite:///{(store.cache if store.remote else Path(store.root)) / "mlflow.db"}'


def flatten(config: Any, prefix: str = '') -> dict[str, str]:
    """A configuration as MLflow's parameters: dotted names, values of at most 500 characters.

    Lists of plain values stay one parameter, so that two runs' difference shows as one line.
    """
    value = canonical(config) if not prefix else config
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in flatten(inner, f'{prefix}.{name}').items()}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    name = re.sub(r'[^\w\-./: ]', '_', prefix.lstrip('.')) or 'config'
    return {name: text if len(text) <= PARAM_CHARACTERS else text[:PARAM_CHARACTERS - 1] + '…'}


class Tracker:
    """Records one study. No method raises because MLflow is away or full: it warns once and the study goes on.

    Nothing is written before a stage has something to show, so that a fault in the user's input leaves no trace. As a
    context manager it closes the study's run, as failed where an exception passes.
    """

    def __init__(self, store: Store, *, study: str, name: str, config: Any, tags: Mapping[str, str],
                 uri: str = '', enabled: bool = True) -> None:
        """Takes what `open` takes."""
        self.store, self.uri, self.away = store, uri or default_uri(store), '' if enabled else 'switched off'
        self.study, self.name, self.config, self.tags = study, name, config, dict(tags)
        self.run_id = self.experiment_id = ''
        self._client: Any = None
        self._runs: dict[tuple[str, int | None], str] = {}  # by stage key and trial
        self._open_runs: set[str] = set()
        self._told: dict[str, set[tuple[str, int]]] = {}  # by run, the metrics and steps that it has
        self._pending: dict[str, list[Any]] = {}
        self._flushed = time.monotonic()

    @classmethod
    def open(cls, store: Store | str | Path, *, study: str, name: str, config: Any, tags: Mapping[str, str],
             uri: str = '', enabled: bool = True) -> Tracker:
        """A tracker of one study; it goes on in the run that a killed driver left unfinished.

        Args:
            store: where the results are, and by default MLflow's own file.
            study: kind of study; MLflow's experiment is 'fpray/STUDY'.
            name: of this run, for people.
            config: the whole configuration, as parameters of the study's run.
            tags: of the study's run. 'key' says which runs are one study.
            uri: MLflow's address; default: `default_uri`.
            enabled: False records nothing.
        """
        own = store if isinstance(store, Store) else Store(store)
        return cls(own, study=study, name=name, config=config, tags=tags, uri=uri, enabled=enabled)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._client is not None:
            self._guard(lambda: self._close('FAILED' if issubclass(kind, Exception) else 'KILLED'))

    def _connect(self) -> None:
        for name, value in {**PATIENCE, **SILENCE}.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger('mlflow').setLevel(logging.WARNING)  # else it tells each table that it makes
        if self.uri.startswith('sqlite:///'):
            Path(self.uri.removeprefix('sqlite:///')).parent.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=self.uri)
        experiment = f'{EXPERIMENT}/{self.study}'
        found = self._client.get_experiment_by_name(experiment)
        self.experiment_id = found.experiment_id if found else self._client.create_experiment(
            experiment, artifact_location=self._artifacts())
        key = {'fpray.study': self.tags.get('key', self.name)}
        self.run_id = self._run(self.name, key, parent=None, unfinished=True)
        code = git_commit()  # a change of the code, too, is what changed between two runs
        for tag, value in {**({'git': code} if code else {}), **self.tags}.items():
            self._client.set_tag(self.run_id, f'fpray.{tag}', value)
        self._params(self.run_id, self.config)

    def _artifacts(self) -> str | None:
        """Artifacts lie in the store, unless a server has a place of its own."""
        if not self.uri.startswith('sqlite:'):
            return None
        return f'{self.store.root}/mlflow' if self.store.remote else (Path(self.store.root) / 'mlflow').as_uri()

    # What a study calls

    def on_event(self, event: Event) -> None:
        """Records what happens to a stage; give it to `distributed.plan.run_plan`."""
        if self._client is not None or event.kind in ('hit', 'metrics', 'done'):
            self._guard(lambda: self._on_event(event))

    def _on_event(self, event: Event) -> None:
        run = self._stage_run(event.stage)
        if event.kind == 'metrics':
            if event.trial is not None:
                run = self._trial_run(event.stage.key, event.trial)
            self._metrics(run, [{'step': event.step, **event.values}])
        elif event.kind in ('hit', 'done'):
            self._record(event.stage.key, run)
            self._client.set_tag(run, 'fpray.cached', str(event.kind == 'hit').lower())
        elif event.kind == 'failed':
            self._client.set_tag(run, 'fpray.error', event.text[:PARAM_CHARACTERS])
            self._end(run, 'FAILED')

    def finish(self, metrics: Mapping[str, float] | None = None, folder: Path | None = None, note: str = '') -> None:
        """Closes the study's run with its final numbers, as artifacts what lies in a folder (the report), and as its
        description a note (the verdict)."""
        def close() -> None:
            self._metrics(self.run_id, [{'step': 0, **(metrics or {})}])
            if folder is not None:
                self._client.log_artifacts(self.run_id, str(folder))
            if note:
                self._client.set_tag(self.run_id, NOTE, note)
            self._close('FINISHED')

        self._guard(close)

    def _close(self, status: str) -> None:
        for run in self._open_runs - {self.run_id}:
            self._end(run, 'KILLED')
        self._end(self.run_id, status)

    def ui_command(self) -> str:
        """The command that opens MLflow's UI on this study; '' where it was not recorded."""
        return ui_command(self.uri, self.experiment_id, self.run_id) if self.run_id else ''

    # Beneath

    def _guard(self, do: Callable[[], None]) -> None:
        """MLflow's faults, of whatever kind, are no faults of the study."""
        if self.away:
            return
        try:
            if self._client is None:
                self._connect()
            do()
        except Exception as error:
            self.away = ' '.join(str(error).split())[:200] or type(error).__name__
            log.warning('MLflow at %s is away (%s): the study goes on and can be recorded later from the store',
                        self.uri, self.away)

    def _run(self, name: str, tags: Mapping[str, str], parent: str | None, unfinished: bool = False) -> str:
        """The run with these tags, made if there is none."""
        wanted = {**tags, **({PARENT: parent} if parent else {})}
        query = ' and '.join(f"tags.`{tag}` = '{value}'" for tag, value in wanted.items())
        query += " and attributes.status != 'FINISHED'" if unfinished else ''
        found = self._client.search_runs([self.experiment_id], query, max_results=1)
        run = found[0] if found else self._client.create_run(self.experiment_id, run_name=name, tags=wanted)
        identity = str(run.info.run_id)
        if found:
            self._client.update_run(identity, status='RUNNING')
        self._told[identity] = {(metric, at.step) for metric in run.data.metrics
                                for at in self._client.get_metric_history(identity, metric)}
        self._open_runs.add(identity)
        return identity

    def _stage_run(self, stage: Stage) -> str:
        at = (stage.key, None)
        if at not in self._runs:
            self._runs[at] = self._run(stage.name, {'fpray.key': stage.key}, self.run_id)
            self._params(self._runs[at], stage.config)
        return self._runs[at]

    def _trial_run(self, key: str, trial: int) -> str:
        at = (key, trial)
        if at not in self._runs:
            tags = {'fpray.key': key, 'fpray.trial': str(trial)}
            self._runs[at] = self._run(f'trial {trial}', tags, self._runs[key, None])
        return self._runs[at]

    def _record(self, key: str, run: str) -> None:
        """All that the store knows of a finished stage."""
        manifest = self.store.manifest(key)
        for tag in ('device', 'git', 'seed', 'fingerprint'):
            if manifest.get(tag) is not None:
                self._client.set_tag(run, f'fpray.{tag}', str(manifest[tag]))
        self._metrics(run, [{'step': 0, 'seconds': manifest['seconds']}])
        curves = [name for name in manifest['files'] if name == CURVES or name.endswith(f'/{CURVES}')]
        for name in curves:
            if not name.startswith('trials/'):
                prefix = name.removesuffix(CURVES)
                rows = parse_curves(self.store.read_text(key, name) or '')
                self._metrics(run, [{k if k == 'step' else prefix + k: v for k, v in row.items()} for row in rows])
        if 'trials.json' in manifest['files']:
            self._trials(key)
        self._end(run, 'FINISHED')

    def _trials(self, key: str) -> None:
        for row in json.loads(self.store.read_text(key, 'trials.json') or '{}').get('trials', []):
            run = self._trial_run(key, row['number'])
            self._params(run, row['params'])
            curves = self.store.read_text(key, f'trials/{row["number"]:03d}/{CURVES}')
            self._metrics(run, parse_curves(curves or ''))
            values = {'value': row['value'], 'seconds': row['seconds'], **row['extra']}
            self._metrics(run, [{'step': row['images'], **{k: v for k, v in values.items() if v is not None}}])
            self._client.set_tag(run, 'fpray.state', row['state'])
            self._end(run, 'FINISHED')

    def _params(self, run: str, config: Any) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(run).data.params  # a parameter is written once
        new = [Param(k, v) for k, v in flatten(config).items() if k not in known]
        for i in range(0, len(new), PARAMS_A_BATCH):
            self._client.log_batch(run, params=new[i:i + PARAMS_A_BATCH])

    def _metrics(self, run: str, rows: Iterable[Mapping[str, float]]) -> None:
        """Keeps what the run has not yet until there is enough for a message; `step` is images seen. No NaN: no
        curve has a place for it."""
        from mlflow.entities import Metric

        told, now = self._told[run], int(time.time() * 1000)
        waiting = self._pending.setdefault(run, [])
        for row in rows:
            for name, value in row.items():
                at = (re.sub(r'[^\w\-./: ]', '_', name), int(row['step']))
                if name != 'step' and at not in told and math.isfinite(value):
                    told.add(at)
                    waiting.append(Metric(at[0], float(value), now, at[1]))
        if time.monotonic() - self._flushed > FLUSH_S or len(waiting) >= METRICS_A_BATCH:
            self._flush()

    def _flush(self) -> None:
        for run, waiting in self._pending.items():
            for i in range(0, len(waiting), METRICS_A_BATCH):
                self._client.log_batch(run, metrics=waiting[i:i + METRICS_A_BATCH])
        self._pending.clear()
        self._flushed = time.monotonic()

    def _end(self, run: str, status: str) -> None:
        self._flush()
        self._client.set_terminated(run, status)
        self._open_runs.discard(run)


def backfill(store: Store | str | Path, stages: Iterable[Stage], *, study: str, name: str, config: Any,
             tags: Mapping[str, str], uri: str = '', metrics: Mapping[str, float] | None = None,
             folder: Path | None = None, note: str = '') -> Tracker:
    """Records a study from the store alone, as if MLflow had never been away.

    Args:
        stages: of the study's plan; those that the store holds are recorded.
        metrics, folder, note: final numbers, report and verdict, as `Tracker.finish` takes them.
        store, study, name, config, tags, uri: as `Tracker.open` takes them.

    Returns:
        The closed tracker; its `away` says why, if MLflow is away still.
    """
    with Tracker.open(store, study=study, name=name, config=config, tags=tags, uri=uri) as tracker:
        for stage in stages:
            if tracker.store.has(stage):
                tracker.on_event(Event('hit', stage))
        tracker.finish(metrics, folder, note)
    return tracker


def ui_command(uri: str, experiment_id: str, run_id: str, port: int = 5000) -> str:
    """The command that opens MLflow's UI, and the page of one run; a server needs only the page."""
    page = f'#/experiments/{experiment_id}/runs/{run_id}{VIEW}'
    if uri.startswith(('http://', 'https://')):
        return f'{uri.rstrip("/")}/{page}'
    beside = Path(sys.executable).with_name('mlflow')
    program = str(beside) if beside.exists() else 'mlflow'
    command = shlex.join([program, 'ui', '--backend-store-uri', uri, '--port', str(port)])
    return f'{command}   # then open http://127.0.0.1:{port}/{page}'
