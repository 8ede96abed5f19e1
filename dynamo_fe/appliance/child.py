"""Forking a child that starts out clean: default signals, tied to its parent's life, never returning."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

from dynamo_fe.appliance.hangup import IDLE_SIGNALS
from dynamo_fe.appliance.parent_death import end_with_parent

_log = logging.getLogger("dynamo_fe.appliance")

# The child's code raised: a defect, not a refusal of its own.
CRASHED_EXIT_CODE: Final = 70


def spawn(body: Callable[[], int]) -> int:
    """Forks; the child runs `body` and exits with what it returns. Returns the child's process id.

    A SIGTERM that comes while the child is being set up is kept for it, not swallowed by the parent's handlers. The
    child ignores SIGINT and SIGHUP: a terminal sends them to the whole group, and the parent alone answers. What is
    idle to the parent is to the child, but for SIGUSR1, by which that hands over; a program that it becomes or starts
    has the defaults. It is killed when its parent ends without it: nobody would replace it any more, and it would hold
    the port.
    """
    parent_pid = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    every = signal.valid_signals()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, every)
    try:
        pid = os.fork()
        if pid == 0:
            _run_child(body, parent_pid, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _run_child(body: Callable[[], int], parent_pid: int, mask: set[signal.Signals | int]) -> None:
    code = CRASHED_EXIT_CODE
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for signum in (signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        for signum in IDLE_SIGNALS:
            # ignored, SIGALRM would be by programs as well that end themselves by it
            signal.signal(signum, _let_be)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        end_with_parent(parent_pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = body()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 1)
    except BaseException:
        _log.critical("process %d failed", os.getpid(), exc_info=True)
    finally:
        # Never back into the parent's stack, whose finally clauses are not this process's.
        try:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _let_be(signum: int, frame: FrameType | None) -> None:
    pass


def describe_status(status: int) -> str:
    """A wait status in words: "exit code 3" or "signal SIGKILL"."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
