"""What comes next for one list and its watch, after every way in which they end. Sans I/O: the caller brings the time.

Nothing here ever forgets what is known: only an event or a complete list changes the view.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dynamo_fe.discovery.backoff import Backoff

GONE: Final = 410
FIRST_SECS: Final = 0.2
# With its jitter of a half: no wait is longer than 4.5 s.
LONGEST_SECS: Final = 3.0
# A watch that lived so long worked, events or not.
SETTLED_SECS: Final = 5.0
# What an API server may ask for by Retry-After.
ASKED_LIMIT_SECS: Final = 60.0
# Broken content at one version: the same bytes would come again.
_MOST_BROKEN: Final = 2


class Fault(msgspec.Struct, frozen=True):
    """How a request ended. `code`: of HTTP or of an ERROR event, 0 for none; `broken`: what came could not be read."""

    code: int
    text: str
    retry_after_secs: float | None = None
    broken: bool = False


class Step(msgspec.Struct, frozen=True):
    """Wait, then list (`version` empty) or watch from that version."""

    version: str
    wait_secs: float


class Resume:
    """The state of one resource: how far it is known, and how well it goes."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff(FIRST_SECS, LONGEST_SECS)
        self._version = ""
        self._wait_secs = 0.0
        self._opened_secs: float | None = None
        self._progressed = False
        self._ended_empty = False
        self._broken = 0
        self._gone = False

    def next(self) -> Step:
        """What to do now."""
        return Step(self._version, self._wait_secs)

    def listed(self, version: str) -> None:
        """A complete list, up to this version: watch at once."""
        self._version = version
        self._wait_secs = 0.0
        self._broken = 0

    def opened(self, now_secs: float) -> None:
        """The watch is accepted."""
        self._opened_secs = now_secs
        self._progressed = False

    def seen(self, version: str) -> None:
        """An event or a bookmark: everything up to here is known."""
        self._version = version
        self._progressed = True
        self._broken = 0

    def ended(self, now_secs: float) -> None:
        """The server ended the watch in order. One that brought nothing and did not live is not reopened twice at
        once."""
        if self._worked(now_secs):
            self._wait_secs = 0.0
        elif self._ended_empty:
            self._wait_secs = self._backoff.next_secs()
        else:
            self._ended_empty = True
            self._wait_secs = 0.0

    def failed(self, fault: Fault, now_secs: float) -> None:
        """List or watch failed: again after a while, from a list if the version is too old or stays unreadable."""
        self._worked(now_secs)
        if fault.code == GONE and not self._gone:
            # The server is there: after an outage whose waits have grown the list must not wait as long once more.
            self._gone = True
            self._backoff.reset()
        self._wait_secs = self._backoff.next_secs()
        if fault.retry_after_secs is not None:
            self._wait_secs = max(self._wait_secs, min(fault.retry_after_secs, ASKED_LIMIT_SECS))
        self._broken += fault.broken
        if fault.code == GONE or self._broken >= _MOST_BROKEN:
            self._version = ""
            self._broken = 0

    def _worked(self, now_secs: float) -> bool:
        """Whether the watch that is over did its work; then waits begin anew."""
        opened_secs, self._opened_secs = self._opened_secs, None
        if opened_secs is None or not (self._progressed or now_secs - opened_secs >= SETTLED_SECS):
            return False
        self._backoff.reset()
        self._ended_empty = self._gone = False
        return True
