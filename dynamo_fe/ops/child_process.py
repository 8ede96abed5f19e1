"""What another program says, without a fork that runs Python.

The event loop's own subprocesses (uvloop 0.23) fork and make Python's threads anew in the child. Where another thread
begins or ends at that moment, the child waits for ever for a lock that nobody holds there, and the loop for the child:
one of 40 starts hung. `subprocess` starts programs by vfork, with no Python between.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """How a program ended (negative: by that signal), and what it wrote to its standard output."""

    code: int
    output: bytes


async def output_of(
    command: Sequence[str], environment: Mapping[str, str], most_secs: float, *, stderr: int | None = None
) -> Ended:
    """Runs a program to its end; `stderr` is as `subprocess` takes it. Killed when it is waited for no longer.

    Raises OSError where it cannot be started, TimeoutError after `most_secs`.
    """
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=dict(environment)
    )
    try:
        output, _ = await asyncio.to_thread(child.communicate, timeout=most_secs)
    except asyncio.CancelledError:
        child.kill()
        raise
    except subprocess.TimeoutExpired:
        child.kill()
        with child:
            raise TimeoutError from None
    return Ended(child.returncode, output)
