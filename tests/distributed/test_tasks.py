"""Many small calls as Ray tasks: every call's result comes back once, a fault comes back as it was raised."""

import time

import pytest

from fpray.distributed.tasks import AHEAD, run_tasks
from fpray.errors import UserError


def slow_square(number: int) -> int:
    time.sleep(0.05 * (number % 3))  # they end in another order than they began
    return number * number


def refuses_three(number: int) -> int:
    if number == 3:
        raise UserError('three is refused', 'take another')
    return number


def test_every_call_comes_back_once_with_its_number(ray):
    calls = int(AHEAD * ray.cluster_resources()['CPU']) + 5  # more than fly at once
    found = list(run_tasks(slow_square, [(n,) for n in range(calls)]))
    assert sorted(found) == [(n, n * n) for n in range(calls)]


def test_no_calls_yield_nothing(ray):
    assert list(run_tasks(slow_square, [])) == []


def test_a_fault_comes_back_as_it_was_raised(ray):
    with pytest.raises(UserError, match='three is refused; take another'):
        list(run_tasks(refuses_three, [(n,) for n in range(6)]))
