"""SIGHUP, and signals without effect, before the supervisor listens: held back by the kernel until it does."""

import errno
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# What rotates logs sends them, and people do by hand.
IDLE_SIGNALS: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
_HELD: Final = (signal.SIGHUP, *IDLE_SIGNALS)


@contextmanager
def hangups_held() -> Iterator[None]:
    """A SIGHUP that comes meanwhile waits for whoever lets it through, as do the idle ones; those that nobody let
    through are forgotten at the end.

    Must be used in the main thread, before there are others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        while signal.sigpending() & set(_HELD):
            signal.sigtimedwait(_HELD, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_signals_through() -> None:
    """What waits comes at once, and does what the process has set for it: without a handler, end it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_HELD, signal.SIGTERM))


def had_terminal() -> bool:
    """Whether standard input is a terminal, or was one that has been hung up."""
    try:
        termios.tcgetattr(0)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return True
