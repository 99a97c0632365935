"""The one shape of a measured number: an estimate that never travels without interval, chance and counts."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Rate:
    """A measured number with its uncertainty over people.

    Attributes:
        estimate: the value; None where the data cannot resolve it (`note` then says why).
        interval: two-sided confidence interval over people, 95 % unless the caller asked otherwise; a bound
            is None where there is none.
        chance: the value expected of scores that know nothing; None where chance has no meaning.
        n: pictures (rows) behind the number.
        n_people: distinct people behind the number: the sample size that counts.
        p: p-value by permuting people, adjusted where the function says so; None where none was asked for.
        note: what a reader must know beside the number; empty where there is nothing.

    Raises:
        ValueError: the estimate lies outside its own interval.
    """

    estimate: float | None
    interval: Interval
    chance: float | None
    n: int
    n_people: int
    p: float | None = None
    note: str = ''

    def __post_init__(self) -> None:
        low, high = self.interval
        if self.estimate is not None:
            if low is not None and self.estimate < low - 1e-9:
                raise ValueError(f'estimate {self.estimate} lies below its interval {self.interval}')
            if high is not None and self.estimate > high + 1e-9:
                raise ValueError(f'estimate {self.estimate} lies above its interval {self.interval}')

    @property
    def lower(self) -> float:
        """The lower bound; minus infinity where there is none: a missing bound proves nothing."""
        return -math.inf if self.interval[0] is None else self.interval[0]

    @property
    def upper(self) -> float:
        """The upper bound; infinity where there is none."""
        return math.inf if self.interval[1] is None else self.interval[1]

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them: interval as a list, numpy scalars as Python's."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    value = value.item() if hasattr(value, 'item') else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
