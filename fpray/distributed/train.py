"""Training a task: in this process for one worker, by Ray Train for several; the same loop, the same numbers.

The loop (`fpray.training.loop.train`) knows neither Ray nor a file system. Here it gets the callback that shows its
progress, writes checkpoints and lets an observer stop it, and here it is taken up again after a kill.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import fsspec
import ray

from fpray.distributed import gauges
from fpray.errors import UserError
from fpray.store import Context, write_curves

if TYPE_CHECKING:
    from fpray.training.config import LoopConfig
    from fpray.training.loop import Batches, Learner, Progress

log = logging.getLogger(__name__)

CHECKPOINT = 'checkpoint.pt'
CHECKPOINT_S = 20.0  # between checkpoints in this process; settings['checkpoint_seconds'] overrides
CHECKPOINTS = 10  # of a whole training under Ray Train; settings['checkpoint_images'] overrides
FAILURES = 3  # killed workers that Ray Train replaces before it gives up


class Observer(Protocol):
    """Watches a training from its first rank: measures, keeps snapshots, decides when it has seen enough."""

    def __call__(self, progress: Progress) -> bool | Mapping[str, float] | None:
        """Called after each of the loop's progress reports. True, or an entry 'stop' that is true, ends the training
        at this or the next snapshot; other entries of a mapping are metrics of the curves."""

    def state_dict(self) -> dict[str, Any]:
        """All that it must remember after a kill: tensors and plain values only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state."""

    def finish(self, out: Path) -> None:
        """Writes the training's results into an empty folder; called once the training is at its end."""


@dataclass
class Trainable:
    """What a task builds on each worker. On ranks above 0 the observer is never called."""

    learner: Learner
    data: Batches
    observer: Observer


class Task(Protocol):
    """A training as a small value that travels to the workers; data go by reference (paths), never inside it."""

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """Makes networks and opens data on the worker `rank` of `world`, for the device 'cpu' or 'cuda:0'."""


@dataclass(frozen=True)
class Fitted:
    """images_seen: where the training ended; stopped: by its observer; metrics: the last row of its curves."""

    images_seen: int
    stopped: bool
    metrics: dict[str, float]


def fit(task: Task, loop: LoopConfig, seed: int, context: Context, *, name: str = '',
        trainer: bool | None = None) -> Fitted:
    """Trains a task to its end or takes it up where a kill left it; the end is the same bit for bit on one CPU worker.

    The observer's results and `curves.jsonl` (losses and metrics by images seen) are written to `context.out`.

    Args:
        task: what to train.
        loop: how long and how; `workers` above 1 means Ray Train.
        seed: of batches and noise.
        context: the stage's; settings 'checkpoint_seconds' (in this process), 'checkpoint_images' (under Ray Train).
        name: of this training, where a stage has several; its folder under `context.out` and the scratch folder.
        trainer: True takes Ray Train for one worker too.

    Raises:
        UserError: raised by the task.
        ray.train.TrainingFailedError: workers failed more than three times.
    """
    here = context.within(name) if name else context
    by_trainer = trainer or (trainer is None and loop.workers > 1)
    fitted = (_fit_by_trainer if by_trainer else _fit_here)(task, loop, seed, here)
    context.device = here.device
    return fitted


class _Recorder:
    """The first rank's view of a training: asks the observer, keeps the curves, tells who watches."""

    def __init__(self, trainable: Trainable, name: str, progress: Callable[[int, int, str], None],
                 metrics: Callable[[int, Mapping[str, float]], None]) -> None:
        self.trainable, self.progress, self.metrics = trainable, progress, metrics
        trial = getattr(progress, 'trial', None)
        self.tags = {'stage': name, 'trial': '' if trial is None else trial}
        self.seen, self.wants_stop, self.stopped = 0, False, False
        self.curves: list[dict[str, float]] = []

    def __call__(self, p: Progress) -> bool:
        """Takes one report of the loop; True ends the training."""
        answer = self.trainable.observer(p)
        measured = dict(answer) if isinstance(answer, Mapping) else {}
        self.wants_stop |= bool(measured.pop('stop', False) if isinstance(answer, Mapping) else answer)
        row = {k: float(v) for k, v in {**p.losses, **measured}.items()}
        self.curves.append({'step': p.images_seen, **row})
        self.metrics(p.images_seen, row)
        self._gauges(p, measured)
        self.seen = p.images_seen
        self.progress(p.images_seen, p.total, 'images')
        self.stopped = self.wants_stop and (p.snapshot or p.last)
        return self.stopped

    def _gauges(self, p: Progress, measured: Mapping[str, float]) -> None:
        gauges.emit('fpray_images_seen', p.images_seen, **self.tags)
        gauges.emit('fpray_images_per_second', p.images_per_s, **self.tags)
        for name, value in p.losses.items():
            gauges.emit('fpray_loss', value, loss=name, **self.tags)
        for name, value in measured.items():
            if f'fpray_{name}' in ('fpray_inception_score', 'fpray_frechet_distance'):
                gauges.emit(f'fpray_{name}', value, **self.tags)

    def state(self) -> dict[str, Any]:
        return {'images_seen': self.seen, 'wants_stop': self.wants_stop, 'stopped': self.stopped,
                'curves': self.curves, 'learner': self.trainable.learner.state_dict(),
                'observer': self.trainable.observer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.seen, self.wants_stop, self.stopped = state['images_seen'], state['wants_stop'], state['stopped']
        self.curves = list(state['curves'])
        self.trainable.observer.load_state_dict(state['observer'])

    def finish(self, out: Path) -> Fitted:
        self.trainable.observer.finish(out)
        write_curves(out, self.curves)
        return Fitted(self.seen, self.stopped, dict(self.curves[-1]) if self.curves else {})


# In this process

def _fit_here(task: Task, loop: LoopConfig, seed: int, context: Context) -> Fitted:
    from fpray.training.loop import pick_device, train

    trainable = task.build(0, 1, str(pick_device(loop.device)))
    recorder = _Recorder(trainable, context.name, context.progress, context.log)
    path = context.scratch / CHECKPOINT
    state = load_state(path)
    if state is not None:
        trainable.learner.load_state_dict(state['learner'])
        recorder.load(state)
    interval = float(context.settings.get('checkpoint_seconds', CHECKPOINT_S))
    saved = time.monotonic()

    def on_progress(p: Progress) -> bool:
        nonlocal saved
        stop = recorder(p)
        if stop or p.last or time.monotonic() - saved >= interval:
            save_state(path, recorder.state())
            context.keep(path)
            saved = time.monotonic()
        return stop

    if recorder.seen < loop.images and not recorder.stopped:
        train(loop, trainable.learner, trainable.data, seed, start=recorder.seen, on_progress=on_progress)
    return recorder.finish(context.out)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint whole or not at all.

    Raises:
        TypeError: it holds something else than tensors and plain values, so that no one could safely load it.
    """
    import torch

    first = not path.exists()
    temporary = path.with_name(f'.{path.name}.new')
    torch.save(state, temporary)
    if first:  # later ones have the same form
        try:
            torch.load(temporary, weights_only=True)
        except Exception as error:
            raise TypeError(f'a checkpoint may hold tensors and plain values only: {error}') from error
    os.replace(temporary, path)


def load_state(path: Path) -> dict[str, Any] | None:
    """A checkpoint, on the CPU; None where there is none. One that cannot be read is moved aside."""
    import torch

    if not path.exists():
        return None
    try:
        return dict(torch.load(path, map_location='cpu', weights_only=True))
    except Exception as error:  # torch names no exception for a damaged file
        log.warning('%s cannot be read (%s): the training starts again', path, error)
        os.replace(path, path.with_name(f'{path.name}.unreadable'))
        return None


# By Ray Train

def _fit_by_trainer(task: Task, loop: LoopConfig, seed: int, context: Context) -> Fitted:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    storage, name = context.scratch_uri or str(context.scratch), context.key
    _set_aside_if_unreadable(f'{storage}/{name}')
    gpu = loop.device == 'cuda' or (loop.device == 'auto' and ray.cluster_resources().get('GPU', 0) >= loop.workers)
    every = int(context.settings.get('checkpoint_images', max(loop.batch, loop.images // CHECKPOINTS)))
    trainer = TorchTrainer(
        _worker,
        train_loop_config={'task': task, 'loop': loop, 'seed': seed, 'every': every, 'name': context.name,
                           'progress': context.progress, 'metrics': context.log},
        torch_config=TorchConfig(backend='nccl' if gpu else 'gloo'),
        scaling_config=ScalingConfig(num_workers=loop.workers, use_gpu=gpu,
                                     resources_per_worker={'CPU': 1, **({'GPU': 1} if gpu else {})}),
        run_config=RunConfig(name=name, storage_path=storage, failure_config=FailureConfig(max_failures=FAILURES),
                             checkpoint_config=CheckpointConfig(num_to_keep=2)))
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        for cause in getattr(error, 'worker_failures', {}).values():
            if isinstance(cause, UserError):
                raise cause from error
        raise
    assert result.checkpoint is not None  # the last report of the first rank has one
    with result.checkpoint.as_directory() as folder:
        shutil.copytree(Path(folder) / 'out', context.out, dirs_exist_ok=True)
        end = json.loads((Path(folder) / 'fitted.json').read_text())
    if gpu:
        context.device = f'{loop.workers} GPU'
    return Fitted(**end)


def _worker(config: dict[str, Any]) -> None:
    """One rank of Ray Train. All ranks report at the same images, the first one alone with a checkpoint."""
    import ray.train.torch

    from fpray.training.loop import train

    ranks = ray.train.get_context()
    rank, world, loop = ranks.get_world_rank(), ranks.get_world_size(), config['loop']
    trainable: Trainable = config['task'].build(rank, world, str(ray.train.torch.get_device()))
    recorder = _Recorder(trainable, config['name'], config['progress'], config['metrics'])
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            state = load_state(Path(folder) / CHECKPOINT)
        if state is not None:
            trainable.learner.load_state_dict(state['learner'])
            recorder.load(state)
    every, reported = config['every'], recorder.seen

    def on_progress(p: Progress) -> bool:
        nonlocal reported
        stop = recorder(p) if rank == 0 else False  # the loop stops all ranks where the first one wants to
        recorder.seen = p.images_seen
        if not p.last and p.images_seen // every > reported // every:
            _report(recorder, rank, finish=False)
            reported = p.images_seen
        return stop

    if recorder.seen < loop.images and not recorder.stopped:
        train(loop, trainable.learner, trainable.data, config['seed'], start=recorder.seen,
              on_progress=on_progress, rank=rank, world=world)
    _report(recorder, rank, finish=True)


def _report(recorder: _Recorder, rank: int, finish: bool) -> None:
    metrics = {'images_seen': recorder.seen}
    if rank > 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory(prefix='fpray-') as name:
        folder = Path(name)
        save_state(folder / CHECKPOINT, recorder.state())
        if finish:  # the results travel in the last checkpoint: this worker may run on another machine
            (folder / 'out').mkdir()
            fitted = recorder.finish(folder / 'out')
            (folder / 'fitted.json').write_text(json.dumps(vars(fitted)))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _set_aside_if_unreadable(run: str) -> None:
    """Moves a run of Ray Train aside whose controller was killed while it wrote its snapshot (in place)."""
    fs, path = fsspec.core.url_to_fs(run)
    fs.invalidate_cache()
    snapshot = f'{path}/checkpoint_manager_snapshot.json'
    if not fs.exists(snapshot):
        return
    try:
        state = json.loads(fs.cat_file(snapshot))
        if all(fs.exists(f'{path}/{result["checkpoint_dir_name"]}') for result in state['checkpoint_results']):
            return
        reason = 'a checkpoint that it names is gone'
    except (ValueError, KeyError, TypeError) as error:
        reason = repr(error)
    log.warning('the snapshot of %s cannot be used (%s): the training starts again', run, reason)
    fs.mv(path, f'{path}.unreadable-{time.time_ns()}', recursive=True)
