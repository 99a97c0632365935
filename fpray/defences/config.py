"""What a defence is, and what private training depends on. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fpray.errors import UserError, whole
from fpray.training.config import LoopConfig, RateDistortionConfig

Change = Callable[[RateDistortionConfig, LoopConfig], tuple[RateDistortionConfig, LoopConfig]]


@dataclass(frozen=True)
class PrivateConfig:
    """Differentially private training whose unit is the person: a step hangs on any one person by `clip` at most.

    Raises:
        UserError: a value out of its range.
    """

    noise: float = 1.0
    """Noise multiplier: standard deviation of the noise on the summed gradient, in units of `clip`."""
    clip: float = 1.0
    """Largest norm of one person's gradient, which is scaled down to it."""
    people: int = 8
    """Expected number of people a step; each person takes part by an independent coin."""
    pictures: int = 4
    """Pictures a step of each person who takes part, drawn anew; all that a person has where there are fewer."""
    delta: float = 1e-5
    """Probability beside epsilon; well below one over the number of people."""

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise UserError(f'private.noise {self.noise}', 'give a number of 0 or more')
        if not 0 < self.clip < math.inf:
            raise UserError(f'private.clip {self.clip}', 'give a number above 0')
        for name in ('people', 'pictures'):
            whole(f'private.{name}', getattr(self, name), 1)
        if not 0 < self.delta < 1:
            raise UserError(f'private.delta {self.delta}', 'give a number between 0 and 1')

    @property
    def batch(self) -> int:
        """Pictures that a step is expected to see, for `LoopConfig.batch`: images seen then mean what they say."""
        return self.people * self.pictures

    def rate(self, people: int) -> float:
        """Probability that one of so many people takes part in a step. Raises UserError for fewer than a step wants."""
        if people < self.people:
            raise UserError(
                f'private.people {self.people}: the training set has {people} people', f'give at most {people}'
            )
        return self.people / people


@dataclass(frozen=True)
class Defence:
    """One way to train a codec that should give away less about the people behind it."""

    name: str
    """Key of the defence in fpray.defences.DEFENCES."""
    text: str
    """What the owner does, in an owner's words, one line."""
    data: Literal['private', 'samples', 'stand-in']
    """What the codec is trained on: the private pictures, samples of a generator trained on these, or the synthetic
    stand-in.
    """
    source: str
    """The publication that describes the defence."""
    change: Change
    """How the defended training differs from the undefended one."""

    @property
    def private(self) -> PrivateConfig | None:
        """How to train where the defence wants the private learner; None: the usual one."""
        private: PrivateConfig | None = getattr(self.change, 'private', None)
        return private
