"""Many small independent calls as Ray tasks, from within a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

AHEAD = 4  # calls in flight a CPU: their results wait in memory


def run_tasks(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]],
              cpus: float = 1) -> Iterator[tuple[int, Any]]:
    """Calls a function of a module once for each tuple of arguments, side by side.

    Args:
        function: what to call.
        arguments: of each call.
        cpus: that a call takes.

    Yields:
        (number of the call, its result), in the order in which they end; few results are in memory at a time.

    Raises:
        Whatever a call raised, as it was raised.
    """
    remote = ray.remote(num_cpus=cpus)(function)
    most = max(1, int(AHEAD * ray.cluster_resources().get('CPU', 1)))
    flying: dict[Any, int] = {}
    waiting = iter(enumerate(arguments))
    while True:
        for number, each in waiting:
            flying[remote.remote(*each)] = number
            if len(flying) >= most:
                break
        if not flying:
            return
        done, _ = ray.wait(list(flying), num_returns=1)
        try:
            result = ray.get(done[0])
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        yield flying.pop(done[0]), result
