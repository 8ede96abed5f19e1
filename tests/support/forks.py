"""A fork that lives on when the process that made it has ended."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dynamo_fe.appliance.child import spawn


@contextmanager
def orphan_of(body: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Runs the body in a process that then forks and ends. Yields what ends the fork, and returns when it has."""
    (heard, told), (awaited, ending) = os.pipe(), os.pipe()

    def leave_a_fork() -> int:
        body()
        if os.fork() == 0:
            os.write(told, str(os.getpid()).encode())
            os.read(awaited, 1)
        return 0

    os.waitpid(spawn(leave_a_fork), 0)
    fork = os.pidfd_open(int(os.read(heard, 20)))

    def end() -> None:
        os.write(ending, b"x")
        assert select.select([fork], [], [], 20)[0]

    try:
        yield end
    finally:
        os.write(ending, b"x")
        for number in (heard, told, awaited, ending, fork):
            os.close(number)
