"""SIGHUP before there is anybody to reload: held back by the kernel until the supervisor listens."""

import errno
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_HANGUP: Final = (signal.SIGHUP,)


@contextmanager
def hangups_held() -> Iterator[None]:
    """A SIGHUP that comes meanwhile waits for whoever lets it through; one that nobody did is forgotten at the end.

    Must be used in the main thread, before there are others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANGUP)
    try:
        yield
    finally:
        if signal.SIGHUP in signal.sigpending():
            signal.sigtimedwait(_HANGUP, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_signals_through() -> None:
    """What waits comes at once, and does what the process has set for it: without a handler, end it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_HANGUP, signal.SIGTERM))


def had_terminal() -> bool:
    """Whether standard input is a terminal, or was one that has been hung up."""
    try:
        termios.tcgetattr(0)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return True
