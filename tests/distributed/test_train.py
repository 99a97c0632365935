"""Trainings end with the same numbers in one process, under Ray Train, in pieces and after kills."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fpray.distributed import train as train_module
from fpray.distributed.train import Fitted, Trainable, fit, load_state, save_state
from fpray.store import Context
from fpray.training.config import LoopConfig
from fpray.training.loop import Pictures
from fpray.training.parallel import average_gradients

LOOP = LoopConfig(images=240, batch=8, snapshot_every=80, report_every=16, device='cpu')


class Line:
    """A linear fit with Adam and noise: small, but with all that a GAN's resume needs (weights, moments, noise)."""

    device = torch.device('cpu')

    def __init__(self, rank, world):
        self.rank, self.world = rank, world
        torch.manual_seed(3)
        self.net = torch.nn.Linear(16, 1)
        self.adam = torch.optim.Adam(self.net.parameters(), 1e-2)

    def step(self, batch, noise):
        x = batch.flatten(1)
        whole = torch.randn(self.world * len(x), 16, generator=noise)
        x = x + 0.1 * whole[self.rank * len(x):(self.rank + 1) * len(x)]
        loss = (self.net(x) - x.mean(1, keepdim=True)).square().mean()
        self.adam.zero_grad()
        loss.backward()
        average_gradients(self.net.parameters())
        self.adam.step()
        return {'fit': loss.detach()}

    def state_dict(self):
        return {'net': self.net.state_dict(), 'adam': self.adam.state_dict()}

    def load_state_dict(self, state):
        self.net.load_state_dict(state['net'])
        self.adam.load_state_dict(state['adam'])


class Watch:
    """Counts its calls, kills its process once at an image, stops at an image."""

    def __init__(self, learner, task):
        self.learner, self.task, self.calls = learner, task, 0

    def __call__(self, progress):
        self.calls += 1
        if self.task.mark:
            with open(self.task.mark + '.seen', 'a') as f:
                f.write(f'{progress.images_seen}\n')
        if self.task.die_at == progress.images_seen and not os.path.exists(self.task.mark):
            Path(self.task.mark).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.task.seconds)
        return {'calls': self.calls, 'stop': progress.images_seen >= self.task.stop_at > 0}

    def state_dict(self):
        return {'calls': self.calls}

    def load_state_dict(self, state):
        self.calls = state['calls']

    def finish(self, out):
        np.save(out / 'weights.npy', self.learner.net.weight.detach().numpy())


@dataclass(frozen=True)
class LineTask:
    mark: str = ''
    die_at: int = 0
    stop_at: int = 0
    seconds: float = 0

    def build(self, rank, world, device):
        learner = Line(rank, world)
        pixels = np.random.default_rng(1).integers(0, 256, (50, 1, 4, 4), dtype=np.uint8)
        return Trainable(learner, Pictures(pixels), Watch(learner, self))


def context(folder, **settings):
    for name in ('out', 'scratch'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context('toy', 'a' * 20, {}, {}, folder / 'out', folder / 'scratch', settings=settings)


def result(folder):
    return np.load(folder / 'out' / 'weights.npy'), (folder / 'out' / 'curves.jsonl').read_text()


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp('unbroken')
    fitted = fit(LineTask(), LOOP, 5, context(folder))
    assert (fitted.images_seen, fitted.stopped) == (240, False)
    return result(folder)


def test_pieces_end_as_the_whole(tmp_path, unbroken):
    """A training taken up at a third and at two thirds, as a search's trial is, ends bit for bit as one in one go."""
    here = context(tmp_path, checkpoint_seconds=0)
    for images in (80, 160, 240):
        fitted = fit(LineTask(), LoopConfig(**{**vars(LOOP), 'images': images}), 5, here)
        assert fitted.images_seen == images
    weights, curves = result(tmp_path)
    assert (weights == unbroken[0]).all() and curves == unbroken[1]


def test_a_finished_training_returns_at_once(tmp_path, unbroken, monkeypatch):
    fit(LineTask(), LOOP, 5, context(tmp_path))
    (tmp_path / 'out' / 'weights.npy').unlink()
    monkeypatch.setattr(Line, 'step', lambda *_: pytest.fail('trained again'))
    fit(LineTask(), LOOP, 5, context(tmp_path))
    assert (result(tmp_path)[0] == unbroken[0]).all()


def test_an_observer_ends_a_training_at_a_snapshot_and_for_good(tmp_path):
    here = context(tmp_path)
    assert fit(LineTask(stop_at=96), LOOP, 5, here) == fit(LineTask(stop_at=96), LOOP, 5, here)
    assert fit(LineTask(stop_at=96), LOOP, 5, here) == Fitted(160, True, {**fitted_row(tmp_path, 160)})


def fitted_row(folder, step):
    rows = [json.loads(line) for line in (folder / 'out' / 'curves.jsonl').read_text().splitlines()]
    return next(row for row in rows if row['step'] == step)


def test_checkpoints_hold_plain_values_and_damage_is_no_end(tmp_path):
    path = tmp_path / 'checkpoint.pt'
    with pytest.raises(TypeError, match='plain values'):
        save_state(path, {'bad': Path('x')})
    assert not path.exists()
    save_state(path, {'good': torch.ones(3), 'n': 2})
    assert load_state(path)['n'] == 2
    path.write_bytes(path.read_bytes()[:100])
    assert load_state(path) is None and not path.exists()


def seen(mark):
    return [int(line) for line in Path(f'{mark}.seen').read_text().split()]


def test_ray_train_gives_the_same_bits_and_survives_a_killed_worker(ray, tmp_path, unbroken):
    mark = tmp_path / 'mark'
    task = LineTask(mark=str(mark), die_at=144, seconds=0.2)  # the controller looks every 0.2 s
    fitted = fit(task, LOOP, 5, context(tmp_path, checkpoint_images=80), trainer=True)
    assert int(mark.read_text()) != os.getpid()
    assert fitted.images_seen == 240 and seen(mark).count(16) == 1 and seen(mark).count(112) == 2
    weights, curves = result(tmp_path)
    assert (weights == unbroken[0]).all() and curves == unbroken[1]


@pytest.mark.slow
def test_ray_train_goes_on_after_a_killed_driver(ray, tmp_path, unbroken):
    """What called the trainer is killed; the next call takes up the controller's snapshot."""
    @ray.remote(num_cpus=0)
    class Driver:
        def run(self, task, here):
            fit(task, LOOP, 5, here, trainer=True)

    mark, here = tmp_path / 'mark', context(tmp_path, checkpoint_images=32)
    task = LineTask(mark=str(mark), seconds=0.3)
    driver = Driver.remote()
    driver.run.remote(task, here)
    end = time.monotonic() + 100
    while not (os.path.exists(f'{mark}.seen') and 144 in seen(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    ray.kill(driver)
    time.sleep(2)
    before = len(seen(mark))
    fit(task, LOOP, 5, here, trainer=True)
    assert seen(mark)[before] > 64
    weights, curves = result(tmp_path)
    assert (weights == unbroken[0]).all() and curves == unbroken[1]


@pytest.mark.slow
def test_two_workers_train_as_one(ray, tmp_path, unbroken):
    fit(LineTask(), LoopConfig(**{**vars(LOOP), 'workers': 2}), 5, context(tmp_path))
    np.testing.assert_allclose(result(tmp_path)[0], unbroken[0], atol=1e-6)


def test_an_unreadable_snapshot_is_moved_aside(tmp_path):
    run = tmp_path / 'run'
    (run / 'checkpoint_1').mkdir(parents=True)
    snapshot = run / 'checkpoint_manager_snapshot.json'
    snapshot.write_text('{"checkpoint_results": [{"checkpoint_dir_name": "checkpoint_1"}]}')
    train_module._set_aside_if_unreadable(str(run))
    assert snapshot.exists()
    for damage in ('{"checkpoint_res', '{"checkpoint_results": [{"checkpoint_dir_name": "checkpoint_2"}]}'):
        run.mkdir(exist_ok=True)
        snapshot.write_text(damage)
        train_module._set_aside_if_unreadable(f'file://{run}')
        assert not run.exists()
    assert len(list(tmp_path.glob('run.unreadable-*'))) == 2
