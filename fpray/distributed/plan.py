"""Stages on a cluster: what is done is taken from the store, the rest runs side by side as Ray tasks."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from tqdm import tqdm

from fpray.distributed import gauges
from fpray.errors import UserError
from fpray.store import Event, Leases, Stage, Store

RETRIES = 3  # of a stage whose worker was killed
LINE_S = 5.0  # between two lines of progress where the output is no terminal
LOOK_S = 0.5  # between two looks at the board
SEAT = 'seat'  # what cluster.yaml's workers offer and its head does not: places for stages that take no CPU
SLIVER = 0.001  # of a seat, or of a CPU where no machine offers seats; the least that Ray counts is 0.0001
GRACE_S = 5.0  # for running stages to tidy up when another one failed
KILL_S = 5.0  # for those that did not to be gone


class StageError(RuntimeError):
    """A stage failed by no fault of the user: the message names it, the cause holds its traceback."""


class Board:
    """An actor: running stages write there how far they are, and the driver reads it."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, int | None], tuple[int, int, str]] = {}
        self.metrics: list[tuple[str, int | None, int, dict[str, float]]] = []

    def report(self, name: str, trial: int | None, done: int, total: int, text: str) -> None:
        self.at[name, trial] = (done, total, text)

    def log(self, name: str, trial: int | None, step: int, values: dict[str, float]) -> None:
        self.metrics.append((name, trial, step, values))

    def drain(self) -> tuple[dict[str, tuple[int, int, str]], list[tuple[str, int | None, int, dict[str, float]]]]:
        """Each stage's (done, total, text), what its trials did added up; and the metrics since the last call."""
        own = {name: at for (name, trial), at in self.at.items() if trial is None}
        for (name, trial), (done, total, text) in self.at.items():
            if trial is not None:
                before = own.get(name, (0, total, text))
                own[name] = (before[0] + done, before[1], before[2] or text)
        metrics, self.metrics = self.metrics, []
        return own, metrics


class Reporter:
    """A stage's line to the board: call it with (done, total, text) as often as you like. Travels to workers."""

    def __init__(self, board: Any, name: str, trial: int | None = None) -> None:
        self.board, self.name, self.trial, self._last = board, name, trial, 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= LOOK_S or done >= total:
            self._last = now
            self.board.report.remote(self.name, self.trial, int(done), int(total), text)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.board.log.remote(self.name, self.trial, int(step), {k: float(v) for k, v in values.items()})

    def of_trial(self, number: int) -> Reporter:
        """The line of one trial of this stage's search."""
        return Reporter(self.board, self.name, number)


def order(stages: Sequence[Stage]) -> list[Stage]:
    """The stages and their inputs, each after its inputs, otherwise in the given order; one stage a key.

    Raises:
        ValueError: a stage is its own input.
    """
    found: dict[str, Stage] = {}
    above: list[int] = []

    def visit(stage: Stage) -> None:
        if id(stage) in above:
            raise ValueError(f'{stage.name} is its own input')
        above.append(id(stage))
        for one in stage.inputs.values():
            visit(one)
        found.setdefault(stage.key, stage)
        above.pop()

    for stage in stages:
        visit(stage)
    return list(found.values())


def describe(stages: Sequence[Stage], store: Store) -> list[dict[str, Any]]:
    """What `run_plan` would do, for --dry-run: a row a stage with 'name', 'key' and 'done'; runs nothing."""
    return [{'name': s.name, 'key': s.key, 'done': store.has(s)} for s in order(stages)]


def run_plan(stages: Sequence[Stage], store: Store, settings: Mapping[str, Any] | None = None, *,
             on_event: Callable[[Event], None] | None = None, show: bool = True) -> None:
    """Brings every stage into the store: what is there is not run again, independent stages run side by side.

    Call it again after a kill, of a worker, of the driver or of the machine, with the same store: it goes on. Needs a
    connected Ray (`cluster.connect`). Only what a stage still to do needs is run of the inputs that are not listed.

    Args:
        stages: in the order of their priority.
        store: reachable under the same root from every machine of the cluster.
        settings: handed to each stage's Context; no number depends on them. 'cpus': how many CPUs' worth of stages
            run side by side, by default as many as the cluster has now; an autoscaling one needs it to grow.
        on_event: told what happens, in this process (e.g. `tracking.Tracker.on_event`).
        show: progress bars on a terminal, otherwise a line every five seconds.

    Raises:
        UserError: a stage raised it; the same one.
        StageError: a stage failed otherwise, or its worker was killed more than three times.
    """
    with Leases(store) as leases:
        run = _Run(stages, store, dict(settings or {}), leases, on_event or (lambda event: None), show)
        try:
            run.to_the_end()
        finally:
            run.cancel()


@ray.remote
def _execute(stage: Stage, store: Store, settings: dict[str, Any], board: Any) -> UserError | None:
    """One stage in a worker; a user's error comes back as a value, so that it arrives as it was raised."""
    line = Reporter(board, stage.name)
    line(0, 0, '')
    try:
        if not store.has(stage):  # published by a worker that was killed right after
            store.execute(stage, line, line.log, settings)
    except UserError as error:
        return error
    return None


def seat() -> dict[str, Any]:
    """Ray's options for a stage that takes no CPU, so that it never lands on a head that carries no work.

    It asks for a seat where a machine offers one. Where none does and one has no CPU, as a head whose workers are still
    to be started, it asks for a sliver of a CPU, which makes an autoscaling cluster start a worker. Elsewhere, as on one
    machine, it asks for nothing: a sliver would keep a whole CPU from its children.
    """
    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    if any(SEAT in offered for offered in machines):
        return {'num_cpus': 0, 'resources': {SEAT: SLIVER}}
    return {'num_cpus': 0 if all(offered.get('CPU') for offered in machines) else SLIVER}


class _Run:
    """The state of one plan while it runs."""

    def __init__(self, stages: Sequence[Stage], store: Store, settings: dict[str, Any], leases: Leases,
                 on_event: Callable[[Event], None], show: bool) -> None:
        self.store, self.settings, self.leases, self.on_event = store, settings, leases, on_event
        self.stages = order(stages)
        self.done = {s.key for s in self.stages if store.has(s)}
        needed = self._needed(stages)
        self.stages = [s for s in self.stages if s.key in needed]
        self.waiting = [s for s in self.stages if s.key not in self.done]
        self.running: dict[Any, Stage] = {}
        self.started: dict[str, float] = {}
        self.display = Display(self.stages, self.done, show)
        self.board: Any = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote() if self.waiting else None
        for stage in self.stages:
            if stage.key in self.done:
                on_event(Event('hit', stage))

    def _needed(self, stages: Sequence[Stage]) -> set[str]:
        needed, queue = set(), list(stages)
        while queue:
            stage = queue.pop()
            if stage.key not in needed:
                needed.add(stage.key)
                queue += stage.inputs.values() if stage.key not in self.done else ()
        return needed

    def to_the_end(self) -> None:
        while self.waiting or self.running:
            self._launch()
            ready, _ = ray.wait(list(self.running), timeout=LOOK_S) if self.running else ([], [])
            if not self.running:
                time.sleep(LOOK_S)  # another driver holds all that could run
            self._read_board()
            for reference in ready:
                self._collect(reference)
        if self.board is not None:
            self._read_board()
        self.display.close()

    def _launch(self) -> None:
        for stage in list(self.waiting):
            if not all(s.key in self.done for s in stage.inputs.values()) or not self._has_room(stage):
                continue
            if self.leases.take(stage.key) and not self.store.has(stage):
                self.waiting.remove(stage)
                asked = stage.resources
                if not any(node['Resources'].get('CPU', 0) >= asked.cpus and node['Resources'].get('GPU', 0) >= asked.gpus
                           for node in ray.nodes() if node['Alive']):
                    self.display.note(f'{stage.name} asks for {asked.cpus:g} CPUs and {asked.gpus:g} GPUs, which no machine '
                                      'has: waiting for the cluster to grow')
                room = {'num_cpus': asked.cpus} if asked.cpus or asked.gpus else seat()
                task = _execute.options(name=stage.name, num_gpus=asked.gpus, max_retries=RETRIES, **room)
                self.running[task.remote(stage, self.store, self.settings, self.board)] = stage
                self.started[stage.key] = time.monotonic()
                self.on_event(Event('start', stage))
            elif self.store.has(stage):  # another driver made it meanwhile
                self.waiting.remove(stage)
                self.leases.release(stage.key)
                self._finish(stage, Event('hit', stage))
            else:
                self.display.note(f'{stage.name} is held by another driver; waiting for it')

    def _has_room(self, stage: Stage) -> bool:
        """Whether its CPUs are free: stages that wait for each other's workers would only hold memory."""
        limit = float(self.settings.get('cpus') or ray.cluster_resources().get('CPU', 1))
        taken = sum(s.resources.cpus + s.resources.children for s in self.running.values())
        return not self.running or taken + stage.resources.cpus + stage.resources.children <= limit

    def _collect(self, reference: Any) -> None:
        stage = self.running.pop(reference)
        seconds = time.monotonic() - self.started[stage.key]
        try:
            error = ray.get(reference)
        except ray.exceptions.RayError as failure:
            error = StageError(f'stage {stage.name} failed: {_reason(failure)}')
            error.__cause__ = failure
        self.leases.release(stage.key)
        if error is not None:
            self.on_event(Event('failed', stage, seconds, text=str(error)))
            raise error
        self._finish(stage, Event('done', stage, self.store.manifest(stage)['seconds']))

    def _finish(self, stage: Stage, event: Event) -> None:
        self.done.add(stage.key)
        self.on_event(event)
        self.display.finished(stage, event.seconds)
        gauges.emit('fpray_stages_done', len(self.done))

    def _read_board(self) -> None:
        try:
            at, metrics = ray.get(self.board.drain.remote(), timeout=30)
        except ray.exceptions.RayError:  # its machine is gone; Ray starts it anew elsewhere
            return
        by_name = {s.name: s for s in self.stages}  # a stage's last words may come after its end
        for name, trial, step, values in metrics:
            if name in by_name:
                self.on_event(Event('metrics', by_name[name], step=step, values=values, trial=trial))
        self.display.show({s.name: at.get(s.name) for s in self.running.values()})

    def cancel(self) -> None:
        """Ends what still runs, first asking; scratch folders stay, so that the next run goes on from there."""
        left = list(self.running)
        for force in (False, True):
            killed = [self.running[reference] for reference in left] if force else []
            for reference in left:
                ray.cancel(reference, force=force)
            if left:
                _, left = ray.wait(left, num_returns=len(left), timeout=KILL_S if force else GRACE_S)
        for stage in killed:  # one that was killed could not tidy up
            self.store.sweep(stage)
        self.display.close()


def _reason(error: BaseException) -> str:
    cause = getattr(error, 'cause', None) or error
    if isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.NodeDiedError):
        return f'its worker was killed {RETRIES + 1} times'
    text = textwrap.shorten(str(cause), 500, placeholder=' ...')  # the whole lies in the cause
    return f'{type(cause).__name__}: {text}' if text else type(cause).__name__


@dataclass
class Pace:
    """How fast a stage counts: a mean over its last 20 seconds or so."""

    since: float
    done: int
    rate: float = 0.0

    def update(self, done: int, now: float) -> None:
        if done < self.done:  # went back to its last checkpoint
            self.since, self.done = now, done
        elif now - self.since >= 2 and done > self.done:
            fresh = (done - self.done) / (now - self.since)
            self.rate = fresh if not self.rate else 0.8 * self.rate + 0.2 * fresh
            self.since, self.done = now, done


class Display:
    """Progress for a person: bars on a terminal, otherwise (a job's log is none) a line every few seconds."""

    def __init__(self, stages: Sequence[Stage], done: set[str], show: bool) -> None:
        self.on, self.bars = show and bool(stages), sys.stderr.isatty() and sys.stdout.isatty()
        self.weights = {s.name: s.weight for s in stages}
        self.todo = {s.name for s in stages if s.key not in done}
        self.total, self.n = sum(self.weights.values()) or 1.0, len(stages)
        self.begin, self.last, self.before = time.monotonic(), 0.0, self._share({})
        self.paces: dict[str, Pace] = {}
        self.drawn: dict[str, Any] = {}
        self.notes: set[str] = set()
        if self.on and len(self.todo) < self.n:
            self._print(f'{self.n - len(self.todo)} of {self.n} stages were done before')

    def _print(self, text: str) -> None:
        if self.on and self.bars:
            tqdm.write(text)
        elif self.on:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Says something once."""
        if text not in self.notes:
            self.notes.add(text)
            self._print(text)

    def finished(self, stage: Stage, seconds: float) -> None:
        self.todo.discard(stage.name)
        if bar := self.drawn.pop(stage.name, None):
            bar.close()
        self._print(f'{stage.name} done in {duration(seconds)} ({self.n - len(self.todo)}/{self.n} stages)')

    def _share(self, at: Mapping[str, tuple[int, int, str] | None]) -> float:
        parts = (w * (min(1.0, p[0] / p[1]) if (p := at.get(n)) and p[1] else 0.0) if n in self.todo else w
                 for n, w in self.weights.items())
        return sum(parts) / self.total

    def show(self, at: Mapping[str, tuple[int, int, str] | None]) -> None:
        """Takes each running stage's (done, total, text), None for one that waits for a free place."""
        now = time.monotonic()
        for name, p in at.items():
            if p is not None:
                self.paces.setdefault(name, Pace(now, p[0])).update(p[0], now)
        if not self.on or (not self.bars and now - self.last < LINE_S):
            return
        self.last = now
        if self.bars:
            self._draw(at)
        else:
            print(self.line(at, now), flush=True)

    def line(self, at: Mapping[str, tuple[int, int, str] | None], now: float) -> str:
        """E.g. `[ 43 %] 12/29 stages, victim/20: 12,800/48,000 images, 340 images/s; about 4 min left`."""
        share = self._share(at)
        runs = [self._of_stage(name, p) for name, p in at.items() if p is not None]
        if not runs:
            runs = [f'{len(at)} waiting for a free place' if at else 'waiting for another driver']
        more = f' and {len(runs) - 3} more' if len(runs) > 3 else ''
        gain = share - self.before
        left = f'; about {duration((now - self.begin) * (1 - share) / gain)} left' if gain > 0.01 else ''
        return f'[{100 * share:3.0f} %] {self.n - len(self.todo)}/{self.n} stages, {"; ".join(runs[:3])}{more}{left}'

    def _of_stage(self, name: str, p: tuple[int, int, str]) -> str:
        done, total, text = p
        if not total:
            return f'{name}: {text}' if text else name
        rate = self.paces[name].rate if name in self.paces else 0.0
        speed = f', {rate:,.0f} {text}/s' if rate >= 1 and ' ' not in text else ''
        return f'{name}: {done:,}/{total:,} {text}{speed}'.rstrip()

    def _draw(self, at: Mapping[str, tuple[int, int, str] | None]) -> None:
        if 'all' not in self.drawn:
            self.drawn['all'] = tqdm(total=100, desc='all stages', bar_format='{desc} {percentage:3.0f} %|{bar}| {postfix}')
        top = self.drawn['all']
        top.n = round(100 * self._share(at), 1)
        top.set_postfix_str(f'{self.n - len(self.todo)}/{self.n} stages, {duration(time.monotonic() - self.begin)}')
        for name, p in at.items():
            if p is None or not p[1]:
                continue
            bar = self.drawn.get(name)
            if bar is None:
                bar = self.drawn[name] = tqdm(total=p[1], desc=f'  {name}', unit=f' {p[2]}', leave=False)
            bar.total, bar.n = p[1], p[0]
            bar.refresh()

    def close(self) -> None:
        for bar in self.drawn.values():
            bar.close()
        self.drawn.clear()


def duration(seconds: float) -> str:
    """A time as people say it: '8 s', '4 min', '2.5 h'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'
