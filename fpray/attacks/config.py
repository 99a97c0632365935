"""What attacks depend on that learn or keep something of their own. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fpray.errors import above_zero, one_of
from fpray.training.config import AuxiliaryTraining, LoopConfig

Axis = Literal['vector', 'dimension']


def _loop() -> LoopConfig:
    return LoopConfig(images=200_000, batch=128, snapshot_every=0)


@dataclass(frozen=True)
class InferenceConfig:
    """Model inference: how vectors are normalised, and what each classifier needs.

    Raises:
        UserError: a value out of its range.
    """

    axis: Axis = 'vector'
    """What is min-max normalised: each vector over its own values, or each dimension over the reference vectors."""
    training: AuxiliaryTraining = field(default_factory=AuxiliaryTraining)
    """auxiliary: the network and its rates."""
    loop: LoopConfig = field(default_factory=_loop)
    """auxiliary: how long; its images are vectors (20 passes over 10,000)."""
    inverse_penalty: float = 1.0
    """linear: the inverse of the weight of the squared norm of its coefficients (scikit-learn's C)."""

    def __post_init__(self) -> None:
        one_of('inference.axis', self.axis, ('vector', 'dimension'))
        above_zero('inference.inverse_penalty', self.inverse_penalty)
