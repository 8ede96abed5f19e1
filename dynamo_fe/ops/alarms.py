"""One timer for all that wait equally long: most of what is waited for comes long before its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# in one delay
_LOOKS: Final = 8


class Alarms(Generic[T]):
    """Calls `ring` with everything that was added `delay_secs` ago and not discarded since, an eighth of that later at
    most: the timer looks no more often than so, however many come and go.

    Adding and discarding cost 0.2 µs together, a timer of the loop 4 µs. Must be used on one running loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_secs: float, ring: Callable[[T], None]) -> None:
        self.delay_secs = delay_secs
        self._step_secs = delay_secs / _LOOKS
        self._loop = loop
        self._now = loop.time
        self._ring = ring
        # in the order of adding, which is that of their times
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, waiting: T) -> float:
        """The time of `waiting` begins; it must not be in already. Returns the loop's time."""
        now = self._now()
        due = self._due[waiting] = now + self.delay_secs
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._expire)
        return now

    def discard(self, waiting: T) -> None:
        """It waits no more. Idempotent."""
        self._due.pop(waiting, None)

    def close(self) -> None:
        """Nothing rings any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._now()
        over: list[T] = []
        for waiting, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(max(due, now + self._step_secs), self._expire)
                break
            over.append(waiting)
        for waiting in over:
            # what rings first may discard what would ring next
            if self._due.pop(waiting, None) is not None:
                self._ring(waiting)
