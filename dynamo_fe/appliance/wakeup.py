"""Signals as bytes on a pipe, for a loop that waits in poll()."""

import os
import signal
from collections.abc import Iterable
from types import FrameType, TracebackType


class SignalPipe:
    """While entered, the signals only make `fileno()` readable, also those that were held back until then. Handlers
    and the mask are as before when it is left.

    Must be used in the main thread.
    """

    def __init__(self, signums: Iterable[signal.Signals]) -> None:
        self._signums = tuple(signums)

    def __enter__(self) -> "SignalPipe":
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._earlier_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {signum: signal.signal(signum, _wake_only) for signum in self._signums}
        self._earlier_mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signums)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._earlier_mask)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._earlier_wakeup)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def take(self) -> list[int]:
        """The signals that came since the last call."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []


def _wake_only(signum: int, frame: FrameType | None) -> None:
    """Python must have a handler for the wake-up pipe to be written to."""
