"""The exception that a user sees, and the range checks of configurations: what passes, what is refused in which words."""

import pickle

import pytest

from fpray.errors import UserError, above_zero, not_negative, one_of, share, whole


def test_an_error_is_one_line_and_travels() -> None:
    error = UserError('a\n  fault', 'mend it')
    assert str(error) == 'a fault; mend it' and str(UserError('a fault')) == 'a fault'
    again = pickle.loads(pickle.dumps(error))
    assert (again.what, again.mend) == (error.what, error.mend)


@pytest.mark.parametrize(('check', 'given'), [
    (whole, (1, 1)), (whole, (7, 1, 7)), (above_zero, (1e-9,)), (not_negative, (0.0,)), (share, (0.0,)), (share, (0.99,)),
    (one_of, ('no', ('no', 'bf16')))])
def test_what_lies_within_passes(check, given) -> None:
    check('--field', *given)


@pytest.mark.parametrize(('check', 'given', 'words'), [
    (whole, (0, 1), '--field 0: out of range; give a whole number, at least 1'),
    (whole, (8, 1, 7), '--field 8: out of range; give a whole number, from 1 to 7'),
    (whole, (True, 0), '--field True: out of range; give a whole number, at least 0'),
    (whole, (2.0, 0), '--field 2.0: out of range; give a whole number, at least 0'),
    (above_zero, (0,), '--field 0; give a number above 0'),
    (above_zero, (float('nan'),), '--field nan; give a number above 0'),
    (not_negative, (-1e-9,), '--field -1e-09; give a number of 0 or more'),
    (share, (1.0,), '--field 1.0; give a number from 0 to below 1'),
    (one_of, ('fp8', ('no', 'bf16')), "--field: unknown choice 'fp8'; choose one of no, bf16")])
def test_what_lies_outside_is_refused(check, given, words) -> None:
    with pytest.raises(UserError) as caught:
        check('--field', *given)
    assert str(caught.value) == words
