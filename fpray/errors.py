"""The one exception that a user sees: what is wrong, and the mend. Jobs print it as one line and exit with code 2."""

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
