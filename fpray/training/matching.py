"""When a shadow has come as far as the victim: the stopping rule (thesis, chapter 5) and the evaluations that it reads.

The shadow is stopped where its Inception Score stays at that of the victim's samples: `patience` evaluations in a row
within the standard deviation of the victim's splits, from as many samples. A first crossing alone is noise and comes
early. If that never happens, the evaluation that came closest counts. Beside it stands the Fréchet distance to the
victim's samples, which does not decide anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.metrics.generative import frechet_distance, inception_score
from fpray.models.gan import Discriminator, Generator
from fpray.models.scorer import Scorer
from fpray.training.adversarial import sample
from fpray.training.classifier import predict
from fpray.training.config import MatchingConfig
from fpray.training.loop import derive

State = dict[str, Tensor]
Keep = Callable[[int, State], None]


@dataclass(frozen=True)
class Target:
    """What the shadow is matched to, from the victim's samples alone."""

    is_mean: float
    """Inception Score, mean of the splits."""
    is_std: float
    """Standard deviation of the splits."""
    features: np.ndarray
    """(samples, d): the samples' features, for the Fréchet distance."""


@dataclass(frozen=True)
class Evaluation:
    """The shadow at one moment."""

    images_seen: int
    is_mean: float
    is_std: float
    frechet: float
    """To the victim's samples."""
    gap: float
    """|is_mean - the victim's|; infinite where the shadow's pictures were not finite."""


@dataclass(frozen=True)
class Match:
    """Where the shadow is stopped."""

    images_seen: int
    reached: bool
    """Whether the rule was met; if not, this is the closest evaluation."""
    gap: float


def measure(scorer: Scorer, pixels: np.ndarray, config: MatchingConfig) -> Target:
    """Inception Score and features of the victim's samples.

    Args:
        scorer: the scoring network.
        pixels: (N, C, H, W) uint8 samples of the victim; the first `config.samples` are used.
        config: numbers of samples and splits.

    Raises:
        UserError: fewer samples than the shadow's evaluations draw; the two counts must be equal.
    """
    if len(pixels) < config.samples:
        raise UserError(
            f'{len(pixels)} samples of the victim, matching.samples is {config.samples}',
            'draw as many or lower matching.samples',
        )
    logits, features = predict(scorer, pixels[: config.samples], config.batch)
    return Target(*inception_score(logits, config.splits), features)


def within(evaluation: Evaluation, band: float) -> bool:
    """Whether an evaluation's score is no further than `band` from the victim's."""
    return evaluation.gap <= band


def find_match(trace: list[Evaluation], band: float, patience: int) -> Match | None:
    """The stopping point of a trace of evaluations in order.

    Returns:
        The last of the first `patience` evaluations in a row within the band; else the closest one, the earliest of
        equals; None for no evaluation.
    """
    run = 0
    for evaluation in trace:
        run = run + 1 if within(evaluation, band) else 0
        if run == patience:
            return Match(evaluation.images_seen, True, evaluation.gap)
    if not trace:
        return None
    closest = min(trace, key=lambda evaluation: evaluation.gap)
    return Match(closest.images_seen, False, closest.gap)


def other_rules(trace: list[Evaluation], band: float) -> dict[str, int]:
    """Images seen where other rules would have stopped, to judge the matching rule by; empty for no evaluation.

    Returns:
        first: the first evaluation; first_crossing: the first within the band, absent if there is none; closest: the
        smallest gap; last; nearest_frechet: the smallest Fréchet distance.
    """
    if not trace:
        return {}
    rules = {
        'first': trace[0].images_seen,
        'closest': min(trace, key=lambda evaluation: evaluation.gap).images_seen,
        'last': trace[-1].images_seen,
        'nearest_frechet': min(trace, key=lambda evaluation: evaluation.frechet).images_seen,
    }
    crossing = next((evaluation for evaluation in trace if within(evaluation, band)), None)
    return rules if crossing is None else rules | {'first_crossing': crossing.images_seen}


class Matcher:
    """Watches a shadow's training and keeps its discriminator as it was at the stopping point.

    Args:
        config: the rule.
        target: the victim's samples, measured.
        scorer: the scoring network, the one that measured them.
        seed: of the samples drawn; each evaluation draws new ones, from (seed, images seen).
        keep: given (images seen, the discriminator's state) at each evaluation, to store it: the attack's course along
            the training is read from these.
        threads: of sampling and scoring on a CPU.
    """

    def __init__(self, config: MatchingConfig, target: Target, scorer: Scorer, seed: int, *, keep: Keep | None = None,
                 threads: int = 1) -> None:
        self.config, self.target, self.scorer, self.seed = config, target, scorer, seed
        self.keep, self.threads = keep, threads
        self.trace: list[Evaluation] = []
        self.state: State | None = None
        """The discriminator's state at `match`; None before the first evaluation."""

    @property
    def band(self) -> float:
        """How far from the victim's score counts as there."""
        return self.config.band * self.target.is_std

    @property
    def match(self) -> Match | None:
        """The stopping point so far."""
        return find_match(self.trace, self.band, self.config.patience)

    def observe(self, images_seen: int, generator: Generator, discriminator: Discriminator) -> bool:
        """Evaluate the shadow at a snapshot, where one is due.

        Returns:
            Whether to stop: the rule is met and `config.stop`, or the shadow's pictures are not finite.
        """
        if not self._due(images_seen):
            return False
        evaluation = self._evaluate(images_seen, generator)
        state = _copy(discriminator)
        before = self.match
        self.trace.append(evaluation)
        match = self.match
        if match is not None and (match != before or self.state is None):
            self.state = state
        if self.keep is not None:
            self.keep(images_seen, state)
        return math.isinf(evaluation.gap) or (self.config.stop and match is not None and match.reached)

    def state_dict(self) -> dict[str, Any]:
        """Trace and kept state, in tensors and primitives."""
        return {'trace': [asdict(evaluation) for evaluation in self.trace], 'state': self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.trace = [Evaluation(**fields) for fields in state['trace']]
        self.state = state['state']

    def _due(self, images_seen: int) -> bool:
        since = images_seen - (self.trace[-1].images_seen if self.trace else 0)
        return since > 0 and since >= self.config.evaluate_every

    def _evaluate(self, images_seen: int, generator: Generator) -> Evaluation:
        config = self.config
        try:
            pixels = sample(generator, config.samples, derive(self.seed, images_seen), config.batch, self.threads)
        except UserError:  # it diverged: the shadow ends here, what was kept before still counts
            return Evaluation(images_seen, math.nan, math.nan, math.inf, math.inf)
        logits, features = predict(self.scorer, pixels, config.batch, self.threads)
        mean, std = inception_score(logits, config.splits)
        frechet = frechet_distance(features, self.target.features)
        return Evaluation(images_seen, mean, std, frechet, abs(mean - self.target.is_mean))


def _copy(network: nn.Module) -> State:
    """The state dict on the CPU, its own memory."""
    return {name: value.detach().to('cpu', copy=True) for name, value in network.state_dict().items()}
