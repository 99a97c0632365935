"""The trainings of an audit as small values that travel to workers: the scoring network, victims and shadows.

Each builds its networks and opens its pictures where it runs, and comes with an observer that measures along the way
and writes the training's results. Data go as the place where they lie (`fpray.store.locate`), never inside the value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fpray.data.images import contact_sheet, save_png
from fpray.data.imageset import ImageSet
from fpray.data.splits import Split, training_rows
from fpray.distributed.train import Trainable
from fpray.metrics.generative import inception_score
from fpray.models.config import ScorerConfig
from fpray.models.scorer import Scorer, build_scorer
from fpray.store import Place, locate
from fpray.training.adversarial import GanLearner, sample
from fpray.training.classifier import ClassifierLearner, accuracy, predict
from fpray.training.config import ClassifierConfig, GanConfig, LoopConfig, MatchingConfig, MeasureConfig
from fpray.training.loop import Pictures, derive
from fpray.training.matching import Matcher, measure, other_rules

GRID = 24  # pictures of a sample grid
SHADOW, TRACE, QUALITY = 'shadow.json', 'trace.json', 'scorer.json'


def save_network(network: nn.Module, config: Any, folder: Path, name: str) -> None:
    """A network as NAME.json (its configuration) and NAME.pt (its state, which torch reads with weights_only)."""
    save_state(_cpu(network), config, folder, name)


def save_state(state: dict[str, torch.Tensor], config: Any, folder: Path, name: str) -> None:
    """As `save_network`, from a state dict."""
    (folder / f'{name}.json').write_text(json.dumps(asdict(config), indent=1) + '\n')
    torch.save(state, folder / f'{name}.pt')


def load_scorer(folder: Path) -> Scorer:
    """The scoring network that a scorer stage wrote, in eval mode on the CPU."""
    scorer = build_scorer(ScorerConfig(**json.loads((folder / 'network.json').read_text())), read=False)
    scorer.load_state_dict(torch.load(folder / 'network.pt', map_location='cpu', weights_only=True))
    return scorer.eval()


def read_split(folder: Path) -> Split:
    """The split that a split stage wrote."""
    return Split.from_json((folder / 'split.json').read_text())


@dataclass(frozen=True, eq=False)
class ScorerTask:
    """Trains the scoring network; `labels` are the arrays of `steps.class_labels`, two numbers a picture and small."""

    pictures: Place
    labels: Mapping[str, np.ndarray]
    config: ClassifierConfig
    loop: LoopConfig
    classes: tuple[str, ...]
    kind: str
    seed: int

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """See `fpray.distributed.train.Task`."""
        known, pixels = self.labels, ImageSet.load(locate(self.pictures)).pixels
        learner = ClassifierLearner(self.config, self.loop, self.seed, device=torch.device(device))
        return Trainable(learner, Pictures(pixels, known['rows'], known['classes']), ScorerWatch(self, learner, pixels))


class Patient:
    """An observer that waits for the end: it never stops a training and has nothing to remember."""

    def __call__(self, progress: Any) -> bool:
        """Never stops."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up: checked, so that a state of another observer does not pass."""
        if state:
            raise ValueError(f'{type(self).__name__} has no state, got {sorted(state)}')


class ScorerWatch(Patient):
    """Writes the scoring network at the end, with its accuracy on pictures that it never saw."""

    def __init__(self, task: ScorerTask, learner: ClassifierLearner, pixels: np.ndarray) -> None:
        self.task, self.learner, self.pixels = task, learner, pixels

    def finish(self, out: Path) -> None:
        """network.json, network.pt, scorer.json."""
        task, known = self.task, self.task.labels
        save_network(self.learner.scorer, task.config.scorer, out, 'network')
        held = known['held_rows']
        right = accuracy(self.learner.scorer, self.pixels[held], known['held_classes'],
                         threads=task.loop.threads) if len(held) else None
        (out / QUALITY).write_text(json.dumps({'kind': task.kind, 'classes': list(task.classes), 'accuracy': right,
                                               'held_out': len(held), 'chance': 1 / len(task.classes)}))


@dataclass(frozen=True)
class VictimTask:
    """Trains a GAN on the drawn impressions of the first `people` of a group of the split."""

    pictures: Place
    split: Place
    scorer: Place
    group: str
    people: int
    gan: GanConfig
    loop: LoopConfig
    measure: MeasureConfig
    seed: int

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """See `fpray.distributed.train.Task`."""
        split = read_split(locate(self.split))
        scorer = load_scorer(locate(self.scorer))
        identity = scorer.to(device).requires_grad_(False) if self.gan.identity else None
        learner = GanLearner(self.gan, self.loop, self.seed, identity=identity, device=torch.device(device))
        data = Pictures(ImageSet.load(locate(self.pictures)).pixels, training_rows(split, self.group, self.people))
        return Trainable(learner, data, GanWatch(learner, scorer, self.measure, self.loop.threads, self.seed))


@dataclass
class GanWatch:
    """Watches a victim: its Inception Score and a grid of its samples at every snapshot; saves both networks."""

    learner: GanLearner
    scorer: Scorer
    measure: MeasureConfig
    threads: int
    seed: int
    trace: list[dict[str, float]] = field(default_factory=list)

    def __call__(self, progress: Any) -> dict[str, float]:
        """Measures at snapshots; the fixed seed shows the same noise maturing."""
        if not progress.snapshot:
            return {}
        pixels = sample(self.learner.sampler, self.measure.samples, derive(self.seed, progress.images_seen),
                        self.measure.batch, self.threads)
        logits, _ = predict(self.scorer, pixels, self.measure.batch, self.threads)
        mean, std = inception_score(logits, self.measure.splits)
        self.trace.append({'images_seen': progress.images_seen, 'is_mean': mean, 'is_std': std})
        return {'inception_score': mean}

    def state_dict(self) -> dict[str, Any]:
        """The trace."""
        return {'trace': self.trace}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a trace."""
        self.trace = list(state['trace'])

    def finish(self, out: Path) -> None:
        """generator, discriminator (.json, .pt), trace.json, grid.png."""
        save_network(self.learner.sampler, self.learner.config.generator, out, 'generator')
        save_network(self.learner.discriminator, self.learner.config.discriminator, out, 'discriminator')
        (out / TRACE).write_text(json.dumps(self.trace))
        save_grid(self.learner, self.seed, self.threads, out / 'grid.png')


@dataclass(frozen=True)
class ShadowTask:
    """Trains a shadow on a victim's samples alone and stops it where its Inception Score stays at the victim's."""

    samples: Place
    scorer: Place
    gan: GanConfig
    loop: LoopConfig
    matching: MatchingConfig
    seed: int
    course: int = 0
    """Evaluations whose discriminator is kept, so that the attack's course can be drawn; 0: none."""

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """See `fpray.distributed.train.Task`."""
        pixels = np.load(locate(self.samples) / 'samples.npy', mmap_mode='r')
        scorer = load_scorer(locate(self.scorer))
        identity = scorer.to(device).requires_grad_(False) if self.gan.identity else None
        learner = GanLearner(self.gan, self.loop, self.seed, identity=identity, device=torch.device(device))
        return Trainable(learner, Pictures(pixels), ShadowWatch(self, learner, pixels, scorer))


class ShadowWatch:
    """A `Matcher` as a training's observer: it stops the shadow and writes its discriminator at the stopping point."""

    def __init__(self, task: ShadowTask, learner: GanLearner, pixels: np.ndarray, scorer: Scorer) -> None:
        self.task, self.learner = task, learner
        self.kept: dict[str, dict[str, torch.Tensor]] = {}
        target = measure(scorer, pixels, task.matching)
        self.matcher = Matcher(task.matching, target, scorer, task.seed, keep=self._keep, threads=task.loop.threads)
        evaluations = max(1, task.loop.images // max(task.loop.snapshot_every, task.matching.evaluate_every, 1))
        self.every = math.ceil(evaluations / task.course) if task.course else 0

    def __call__(self, progress: Any) -> dict[str, float]:
        """Evaluates at snapshots; 'stop' once the rule is met."""
        if not progress.snapshot:
            return {}
        before = len(self.matcher.trace)
        stop = self.matcher.observe(progress.images_seen, self.learner.sampler, self.learner.discriminator)
        if len(self.matcher.trace) == before:
            return {}
        latest = self.matcher.trace[-1]
        values = {'inception_score': latest.is_mean, 'frechet_distance': latest.frechet, 'gap': latest.gap}
        return {name: value for name, value in values.items() if math.isfinite(value)} | {'stop': float(stop)}

    def _keep(self, images_seen: int, state: dict[str, torch.Tensor]) -> None:
        finite = all(torch.isfinite(value).all() for value in state.values())  # a diverged one scores nothing
        if self.every and finite and len(self.matcher.trace) % self.every == 0:
            self.kept[str(images_seen)] = state

    def state_dict(self) -> dict[str, Any]:
        """The matcher's state and the discriminators kept so far."""
        return {'matcher': self.matcher.state_dict(), 'kept': self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state."""
        self.matcher.load_state_dict(state['matcher'])
        self.kept = dict(state['kept'])

    def finish(self, out: Path) -> None:
        """discriminator (.json, .pt) at the stopping point, course/ (the kept ones), shadow.json, grid.png."""
        matcher, config = self.matcher, self.learner.config.discriminator
        assert matcher.match is not None and matcher.state is not None, 'a training ends with a snapshot'
        save_state(matcher.state, config, out, 'discriminator')
        (out / 'course').mkdir(exist_ok=True)
        for images_seen, state in self.kept.items():
            save_state(state, config, out / 'course', images_seen)
        trace = [{name: value if math.isfinite(value) else None for name, value in asdict(e).items()}
                 for e in matcher.trace]
        (out / SHADOW).write_text(json.dumps({
            'stopped_at': matcher.match.images_seen, 'reached': matcher.match.reached,
            'gap': matcher.match.gap if math.isfinite(matcher.match.gap) else None, 'band': matcher.band,
            'target': {'is_mean': matcher.target.is_mean, 'is_std': matcher.target.is_std}, 'trace': trace,
            'rules': other_rules(matcher.trace, matcher.band)}))
        save_grid(self.learner, self.task.seed, self.task.loop.threads, out / 'grid.png')


def save_grid(learner: GanLearner, seed: int, threads: int, path: Path, columns: int = 8) -> None:
    """A contact sheet of samples. A generator that diverged draws none, and leaves none."""
    if all(torch.isfinite(value).all() for value in _cpu(learner.sampler).values()):
        save_png(contact_sheet(sample(learner.sampler, GRID, seed, threads=threads), columns), path)


def _cpu(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}


