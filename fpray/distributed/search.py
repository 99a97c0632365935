"""Search of a training's settings: Optuna proposes, Ray Tune runs the trials side by side.

`rounds` (default) is reproducible: a round of trials runs to the rung, the worse part is pruned there, the rest goes
on from its checkpoints to the full budget, and Optuna is told in the order of trial numbers, so that no result
depends on who finished first. `async` prunes and proposes on arrival (ASHA) and is not reproducible.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ray import PlacementGroupID, tune
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from fpray.distributed.plan import Reporter
from fpray.errors import UserError
from fpray.store import CURVES, Context, canonical_json, download, write_atomically

if TYPE_CHECKING:  # a trial's worker starts faster without
    import optuna

FAILURES = 3  # killed workers of one trial before the search gives up


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`, both included; `log`: uniform in its logarithm."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def distribution(self) -> optuna.distributions.BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, self.log, self.step)


@dataclass(frozen=True)
class Float:
    """A number from `low` to `high`; `log`: uniform in its logarithm."""

    low: float
    high: float
    log: bool = False

    def distribution(self) -> optuna.distributions.BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, self.log)


@dataclass(frozen=True)
class Choice:
    """One of several plain values."""

    options: tuple[Any, ...]

    def distribution(self) -> optuna.distributions.BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.options)


Space = Mapping[str, Int | Float | Choice]


@dataclass(frozen=True)
class SearchConfig:
    """How a search runs; part of a stage's configuration.

    Raises:
        UserError: a value out of its range.
    """

    trials: int = 6
    """Trials in all."""
    rounds: int = 2
    """Rounds that the trials are divided into; the first one's are drawn at random."""
    rung: float = 0.5
    """Share of a trial's images at which the worse part of its round is pruned; 1: none is."""
    keep: float = 0.5
    """Share of a round that goes on after the rung, at least one trial."""
    mode: Literal['rounds', 'async'] = 'rounds'
    """rounds: reproducible; async: pruned on arrival (ASHA), faster on a large cluster, not reproducible."""
    seed: int = 0
    """Seed of the proposals."""
    maximise: bool = False
    """Whether larger values are better."""

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= self.trials:
            raise UserError(f'search.rounds {self.rounds} for {self.trials} trials',
                            'give at least one trial a round')
        if not (0 < self.rung <= 1 and 0 < self.keep <= 1):
            raise UserError(f'search.rung {self.rung}, search.keep {self.keep}', 'give shares above 0 and at most 1')
        if self.mode not in ('rounds', 'async'):
            raise UserError(f'search.mode: unknown choice {self.mode!r}', 'choose one of rounds, async')


@dataclass(frozen=True)
class Outcome:
    """What a trial returns: the value that is searched for, the images it saw, and numbers for the table."""

    value: float
    images: int
    extra: Mapping[str, float] = field(default_factory=dict)


# (the trial's context, its parameters, images until which to train) -> outcome. The context is the stage's with a
# scratch folder and an `out` of the trial's own. Called again with a larger budget if the trial survives its rung,
# and after a kill: it goes on from its checkpoint (`train.fit` does).
RunTrial = Callable[[Context, dict[str, Any], int], Outcome]


@dataclass(frozen=True)
class Trial:
    """A row of the table of trials.

    Attributes:
        number: from 0, in the order in which they were proposed.
        params: by name.
        value: at the end; of a pruned trial, at the rung; None where it is no finite number.
        images: seen.
        state: 'complete', 'pruned' or 'failed' (no finite value).
        seconds: of training.
        extra: whatever else the trial reported.
    """

    number: int
    params: dict[str, Any]
    value: float | None
    images: int
    state: str
    seconds: float
    extra: dict[str, float]


@dataclass(frozen=True)
class SearchResult:
    """All trials, the best complete one, the folder of its results, and whether a rerun gives the same."""

    trials: list[Trial]
    best: Trial
    folder: Path
    reproducible: bool

    def save(self, out: Path) -> None:
        """Writes trials.json, trials.parquet and each trial's curves (trials/NUMBER/curves.jsonl)."""
        rows = [vars(t) for t in self.trials]
        text = {'reproducible': self.reproducible, 'best': self.best.number, 'trials': rows}
        (out / 'trials.json').write_text(json.dumps(text, indent=2) + '\n')
        flat = [{**{k: v for k, v in row.items() if k not in ('params', 'extra')},
                 **{f'params.{k}': v for k, v in row['params'].items()},
                 **{f'extra.{k}': v for k, v in row['extra'].items()}} for row in rows]
        import pandas as pd

        pd.DataFrame(flat).to_parquet(out / 'trials.parquet', index=False)
        for trial in self.trials:
            for curves in sorted((_folder(self.folder.parents[2], trial.number) / 'out').rglob(CURVES))[:1]:
                target = out / 'trials' / f'{trial.number:03d}'
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(curves, target / CURVES)


def search(space: Space, run_trial: RunTrial, config: SearchConfig, budget: int, context: Context, *,
           cpus: float = 1, gpus: float = 0) -> SearchResult:
    """Searches for the parameters with the best value. Taken up again after a kill: nothing is trained twice.

    Call it in a stage that asks for 0 CPUs; the trials ask for their own.

    Args:
        space: what may vary.
        run_trial: a function of a module; see `RunTrial`.
        config: how many trials, and how they lose.
        budget: images of a complete trial.
        context: the stage's; trials live in its scratch folder.
        cpus, gpus: that one trial takes.

    Raises:
        UserError: raised by a trial, or no trial ended with a finite value.
        RuntimeError: a trial failed more than three times.
    """
    runner = _Runner(run_trial, config, budget, context, {'cpu': cpus, 'gpu': gpus})
    distributions = {name: what.distribution() for name, what in space.items()}
    trials = runner.in_rounds(distributions) if config.mode == 'rounds' else runner.by_arrival(distributions)
    complete = [t for t in trials if t.state == 'complete']
    if not complete:
        raise UserError(f'{context.name}: none of {len(trials)} trials ended with a finite value',
                        'narrow the search space, e.g. to smaller learning rates')
    best = min(complete, key=lambda t: (_loss(t.value, config.maximise), t.number))
    return SearchResult(trials, best, _folder(context.scratch, best.number) / 'out', config.mode == 'rounds')


def _loss(value: float | None, maximise: bool) -> float:
    if value is None or not math.isfinite(value):
        return math.inf
    return -value if maximise else value


def _folder(scratch: Path, number: int) -> Path:
    return scratch / 'trials' / f'{number:03d}'


@dataclass(frozen=True)
class _Job:
    """One trial up to one budget: small, travels to Tune's worker."""

    number: int
    params: dict[str, Any]
    budget: int

    def file(self, folder: Path) -> Path:
        return folder / f'until-{self.budget}.json'

    def kept(self, folder: Path) -> dict[str, Any] | None:
        """Its result from before a kill, if that was of the same parameters."""
        path = self.file(folder)
        kept = dict(json.loads(path.read_text())) if path.exists() else None
        return kept if kept and canonical_json(kept['params']) == canonical_json(self.params) else None

    def make_room(self, folder: Path) -> None:
        """Leaves a checkpoint of the same parameters in the trial's folder, and nothing else's."""
        mark, text = folder / 'params.json', canonical_json(self.params)
        if folder.exists() and not (mark.exists() and mark.read_text() == text):
            shutil.rmtree(folder)
        shutil.rmtree(folder / 'out', ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(mark, text)


def _do(job: _Job, run_trial: RunTrial, context: Context) -> dict[str, Any]:
    """Runs a job in Tune's worker and keeps its result in the trial's scratch folder."""
    context = context.here()
    folder = _folder(context.scratch, job.number)
    name = folder.relative_to(context.scratch).as_posix()
    if context.scratch_uri:
        download(f'{context.scratch_uri}/{name}', folder)
    if (kept := job.kept(folder)) is not None:
        return kept
    job.make_room(folder)
    own = context.within(name, out=folder / 'out')
    if isinstance(context.progress, Reporter):
        own.progress = line = context.progress.of_trial(job.number)
        own.log = line.log
    start = time.monotonic()
    outcome = run_trial(own, dict(job.params), job.budget)
    kept = {'number': job.number, 'params': job.params, 'budget': job.budget, 'images': int(outcome.images),
            'value': float(outcome.value) if math.isfinite(outcome.value) else None,
            'seconds': round(time.monotonic() - start, 3),
            'extra': {k: float(v) for k, v in outcome.extra.items()}}
    own.keep(*(p for p in own.out.rglob('*') if p.is_file()))
    write_atomically(job.file(folder), json.dumps(kept))
    own.keep(job.file(folder))
    return kept


class _Rounds:
    """The rounds without Ray: hands out jobs, takes their results in any order, always ends with the same table."""

    def __init__(self, space: Mapping[str, Any], config: SearchConfig, budget: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        n, r = config.trials, config.rounds
        self.sizes = [n // r + (i < n % r) for i in range(r)]
        self.space, self.config, self.budget = space, config, budget
        self.rung = max(1, round(budget * config.rung))
        sampler = optuna.samplers.TPESampler(seed=config.seed, n_startup_trials=self.sizes[0])
        self.study = optuna.create_study(direction='maximize' if config.maximise else 'minimize', sampler=sampler)
        self.asked: list[optuna.Trial] = []  # of this round
        self.queue: list[_Job] = []
        self.out: set[tuple[int, int]] = set()  # handed out and not yet back
        self.results: dict[tuple[int, int], dict[str, Any]] = {}  # by number and budget
        self._open_round()

    def next(self) -> _Job | None:
        """The next job, None while those that are out must come back first."""
        if not self.queue:
            return None
        job = self.queue.pop(0)
        self.out.add((job.number, job.budget))
        return job

    def take(self, job: _Job, result: dict[str, Any]) -> None:
        """Takes a job's result; the last one of a step opens the next step."""
        self.out.discard((job.number, job.budget))
        self.results[job.number, job.budget] = result
        while not self.done and not self.queue and not self.out:
            at_rung = not any((t.number, self.budget) in self.results for t in self.asked)
            if at_rung and self.rung < self.budget and (survivors := self._survivors()):
                self.queue = [_Job(t.number, dict(t.params), self.budget) for t in survivors]
            else:
                for trial in self.asked:
                    self._tell(trial)
                self._open_round()

    @property
    def done(self) -> bool:
        return not self.asked

    def _open_round(self) -> None:
        size = self.sizes.pop(0) if self.sizes else 0
        self.asked = [self.study.ask(dict(self.space)) for _ in range(size)]
        self.queue = [_Job(t.number, dict(t.params), self.rung) for t in self.asked]

    def _survivors(self) -> list[optuna.Trial]:
        finite = [t for t in self.asked if self.results[t.number, self.rung]['value'] is not None]
        losses = {t.number: _loss(self.results[t.number, self.rung]['value'], self.config.maximise) for t in finite}
        best_first = sorted(finite, key=lambda t: (losses[t.number], t.number))
        return sorted(best_first[:_kept(len(self.asked), self.config)], key=lambda t: t.number)

    def _tell(self, trial: optuna.Trial) -> None:
        from optuna.trial import TrialState

        row = _row(self.results, trial.number, self.budget)
        if row.value is None:
            self.study.tell(trial, state=TrialState.FAIL)
        elif row.state == 'pruned':
            trial.report(row.value, self.rung)
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, row.value)


def _kept(n: int, config: SearchConfig) -> int:
    return max(1, round(n * config.keep)) if config.rung < 1 else n


def _row(results: Mapping[tuple[int, int], dict[str, Any]], number: int, budget: int) -> Trial:
    parts = [results[at] for at in sorted(results) if at[0] == number]
    last = parts[-1]
    state = 'failed' if last['value'] is None else 'complete' if last['budget'] == budget else 'pruned'
    seconds = round(sum(part['seconds'] for part in parts), 3)
    return Trial(number, last['params'], last['value'], last['images'], state, seconds, last['extra'])


class _Proposals(Searcher):
    """Hands the rounds' jobs to Tune: one Tune trial is one job."""

    def __init__(self, rounds: _Rounds, scratch: Path) -> None:
        super().__init__(metric='loss', mode='min')
        self.rounds, self.scratch = rounds, scratch
        self.jobs: dict[str, _Job] = {}
        self.failed = False

    def skip_kept(self) -> None:
        """Takes the results from before a kill, as far as they go."""
        while self.rounds.queue:
            kept = [(job, job.kept(_folder(self.scratch, job.number))) for job in self.rounds.queue]
            self.rounds.queue = [job for job, result in kept if result is None]
            known = [(job, result) for job, result in kept if result is not None]
            for job, _ in known:
                self.rounds.out.add((job.number, job.budget))
            for job, result in known:
                self.rounds.take(job, result or {})
            if not known:
                return

    def suggest(self, trial_id: str) -> Any:
        """Tune asks for a configuration: None while it must wait, FINISHED at the end."""
        if self.failed or self.rounds.done:
            return Searcher.FINISHED
        job = self.rounds.next()
        if job is None:
            return None
        self.jobs[trial_id] = job
        return {'job': job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune says that a trial ended."""
        job = self.jobs.pop(trial_id)
        if error or result is None:
            self.failed = True
        else:
            self.rounds.take(job, _reported(result))
            self.skip_kept()

    def save(self, checkpoint_path: str) -> None:
        """Tune keeps its own record; what counts are the results in the trials' folders."""
        rows = [f'{number} {budget}' for number, budget in sorted(self.rounds.results)]
        Path(checkpoint_path).write_text('\n'.join(rows))


def _report(result: Mapping[str, Any], maximise: bool) -> None:
    """A job's result to Tune, in one piece: Tune flattens what is nested before a searcher sees it."""
    tune.report({'result': json.dumps(result), 'budget': result['budget'],
                 'loss': _loss(result['value'], maximise)})


def _reported(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(metrics['result']))


class _Runner:
    """Runs one search by Tune."""

    def __init__(self, run_trial: RunTrial, config: SearchConfig, budget: int, context: Context,
                 resources: dict[str, float]) -> None:
        self.run_trial, self.config, self.budget, self.context = run_trial, config, budget, context
        # Tune's placement groups outlive a killed stage and hold its CPUs while the job lives. An amount of memory
        # that only this stage asks for (1-2 MB) marks them, so that its next attempt can free them.
        self.resources = {**resources, 'memory': float(2**20 + int(context.key[:5], 16) % 2**20)}
        self.rung = max(1, round(budget * config.rung))
        images = config.trials * self.rung + _kept(config.trials, config) * (budget - self.rung)
        context.progress(0, images, 'images')  # at most; the trials themselves say how far they are

    def in_rounds(self, space: Mapping[str, Any]) -> list[Trial]:
        """Reproducible, see the module."""
        proposals = _Proposals(_Rounds(space, self.config, self.budget), self.context.scratch)
        proposals.skip_kept()
        if not proposals.rounds.done:
            self._free_left_behind()
            run_trial, context, maximise = self.run_trial, self.context, self.config.maximise

            def trial(given: dict[str, Any]) -> None:
                _report(_do(given['job'], run_trial, context), maximise)

            how = tune.TuneConfig(search_alg=proposals, num_samples=2 * self.config.trials, reuse_actors=True)
            _raise_errors(self._tuner(trial, how).fit())
            self._bring_back()
        results = proposals.rounds.results
        return [_row(results, number, self.budget) for number in range(self.config.trials)]

    def by_arrival(self, space: Mapping[str, Any]) -> list[Trial]:
        """ASHA: trials are proposed and pruned as results arrive."""
        run_trial, context, maximise = self.run_trial, self.context, self.config.maximise
        names, budgets = list(space), sorted({self.rung, self.budget})

        def trial(given: dict[str, Any]) -> None:
            for until in budgets:
                job = _Job(given['number'], {name: given[name] for name in names}, until)
                _report(_do(job, run_trial, context), maximise)

        self._free_left_behind()
        folder = f'{self._storage()}/async'
        if tune.Tuner.can_restore(folder):
            resources = tune.with_resources(trial, self.resources)
            tuner = tune.Tuner.restore(folder, resources, resume_unfinished=True, resume_errored=True)
        else:
            tuner = self._tuner(trial, self._asha(space))
        found = tuner.fit()
        _raise_errors(found)
        self._bring_back()
        results = {}
        for last in (_reported(found[i].metrics or {}) for i in range(len(found))):
            for until in budgets:
                job = _Job(last['number'], last['params'], until)
                if (kept := job.kept(_folder(context.scratch, job.number))) is not None:
                    results[job.number, until] = kept
        return [_row(results, number, self.budget) for number in sorted({number for number, _ in results})]

    def _asha(self, space: Mapping[str, Any]) -> tune.TuneConfig:
        from optuna.samplers import TPESampler
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        class Numbered(OptunaSearch):
            asked = 0

            def suggest(self, trial_id: str) -> dict[str, Any] | None:
                found = super().suggest(trial_id)
                if found is None:
                    return None
                self.asked += 1
                return {**found, 'number': self.asked - 1}

        sampler = TPESampler(seed=self.config.seed)
        factor = max(2, round(1 / self.config.keep))
        proposals = Numbered(space=dict(space), metric='loss', mode='min', sampler=sampler)
        scheduler = ASHAScheduler(time_attr='budget', metric='loss', mode='min', max_t=self.budget + 1,
                                  grace_period=self.rung, reduction_factor=factor)
        return tune.TuneConfig(search_alg=proposals, scheduler=scheduler, num_samples=self.config.trials)

    def _free_left_behind(self) -> None:
        for identity, group in placement_group_table().items():
            marked = any(bundle.get('memory') == self.resources['memory'] for bundle in group['bundles'].values())
            if marked and group['state'] != 'REMOVED':
                remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(identity)))

    def _bring_back(self) -> None:
        """Fetches the trials from the bucket: they ran anywhere, and what lies here may be of an earlier rung."""
        if self.context.scratch_uri:
            shutil.rmtree(self.context.scratch / 'trials', ignore_errors=True)
            download(f'{self.context.scratch_uri}/trials', self.context.scratch / 'trials')

    def _storage(self) -> str:
        return f'{self.context.scratch_uri or self.context.scratch}/tune'

    def _tuner(self, trial: Callable[[dict[str, Any]], None], how: tune.TuneConfig) -> tune.Tuner:
        run = tune.RunConfig(storage_path=self._storage(), name=self.config.mode, verbose=0,
                             failure_config=tune.FailureConfig(max_failures=FAILURES))
        return tune.Tuner(tune.with_resources(trial, self.resources), tune_config=how, run_config=run)


def _raise_errors(found: tune.ResultGrid) -> None:
    for error in found.errors:
        cause = getattr(error, 'cause', None) or error
        if isinstance(cause, UserError):
            raise cause
        raise RuntimeError(f'a trial failed {FAILURES + 1} times: {error}') from error
