"""The one exception that a user sees: what is wrong, and the mend. Jobs print it as one line and exit with code 2.

Beside it the range checks of configurations: each names the field, refuses what lies outside and says what would do.
A configuration file can hold anything, so `true` is no whole number here.
"""

from collections.abc import Sequence

EXIT_CODE = 2


class UserError(Exception):
    """A fault that the user can mend: bad input, a missing file, an impossible request.

    Args:
        what: what is wrong and where, without a final stop.
        mend: what to do about it, without a final stop; may be empty.
    """

    def __init__(self, what: str, mend: str = '') -> None:
        super().__init__(what, mend)  # both arguments reach the base class: the error survives pickling
        self.what, self.mend = what, mend

    def __str__(self) -> str:
        line = f'{self.what}; {self.mend}' if self.mend else self.what
        return ' '.join(line.split())


def whole(name: str, value: int, low: int, high: int | None = None) -> None:
    """Refuse what is no whole number from low to high (None: without an upper end)."""
    span = f'at least {low}' if high is None else f'from {low} to {high}'
    number = isinstance(value, int) and not isinstance(value, bool)
    if not number or value < low or (high is not None and value > high):
        raise UserError(f'{name} {value}: out of range', f'give a whole number, {span}')


def above_zero(name: str, value: float) -> None:
    """Refuse what is not above 0."""
    if not value > 0:
        raise UserError(f'{name} {value}', 'give a number above 0')


def not_negative(name: str, value: float) -> None:
    """Refuse what is below 0, and what is no number."""
    if not value >= 0:
        raise UserError(f'{name} {value}', 'give a number of 0 or more')


def share(name: str, value: float) -> None:
    """Refuse what does not lie from 0 to below 1."""
    if not 0 <= value < 1:
        raise UserError(f'{name} {value}', 'give a number from 0 to below 1')


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices."""
    if value not in choices:
        raise UserError(f'{name}: unknown choice {value!r}', f'choose one of {", ".join(choices)}')
