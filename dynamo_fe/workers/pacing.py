"""The beat of the mock engine: one decode step for all running sequences, as a real engine does it."""

from __future__ import annotations

# A step for each of very many short intervals would be all timer and no tokens: the beat is at least this long and
# takes several steps at once.
MIN_BEAT_SECS = 0.001
# After a stall of the process the lost time is not made up by more than this much.
MAX_CATCH_UP_SECS = 0.25
# Steps taken in one beat when there is no pace at all, so that sockets and signals get their turn.
UNPACED_STEPS = 32


class StepClock:
    """Counts steps that are due. Times are seconds of any one monotonic clock; `interval_secs` 0 means no pace."""

    def __init__(self, interval_secs: float) -> None:
        self._interval_secs = interval_secs
        self._next_at: float | None = None

    def start(self, now: float) -> None:
        """Begins to count, with a first step due at once; without effect while it counts already."""
        if self._next_at is None:
            self._next_at = now

    def stop(self) -> None:
        """Nothing runs: no steps until the next `start`."""
        self._next_at = None

    @property
    def running(self) -> bool:
        """Between `start` and `stop`."""
        return self._next_at is not None

    def take(self, now: float) -> int:
        """The steps due by now; each is handed out once."""
        if self._next_at is None:
            return 0
        if self._interval_secs <= 0:
            return UNPACED_STEPS
        self._next_at = max(self._next_at, now - MAX_CATCH_UP_SECS)
        if now < self._next_at:
            return 0
        steps = int((now - self._next_at) / self._interval_secs) + 1
        self._next_at += steps * self._interval_secs
        return steps

    def wake_at(self, now: float) -> float:
        """When to call `take` again; only while it runs."""
        if self._next_at is None or self._interval_secs <= 0:
            return now
        return max(self._next_at, now + MIN_BEAT_SECS)
