"""Workers left out for a while after a failure that speaks against them, longer each time in a row. Sans I/O: the
caller brings the time."""

from __future__ import annotations

from typing import NamedTuple

# The longest time, and how long a failure is remembered after it, as a multiple of the first time.
_MOST_TIMES = 12


class _Aside(NamedTuple):
    until_secs: float
    times: int


class Quarantine:
    """Instance ids set aside: for `duration_secs` at first, twice as long whenever the next try fails as well, until
    the instance answers or its record changes. 0 turns it off."""

    def __init__(self, duration_secs: float) -> None:
        self._duration_secs = duration_secs
        self._aside: dict[int, _Aside] = {}

    def set_aside(self, instance_id: int, now_secs: float) -> None:
        """Leaves the instance out from now on. What fails while it is left out is the same failure once more."""
        if self._duration_secs <= 0:
            return
        before = self._aside.get(instance_id)
        times = 1 if before is None else before.times
        if before is not None and before.until_secs <= now_secs:
            times = min(2 * times, _MOST_TIMES)
        self._aside[instance_id] = _Aside(now_secs + self._duration_secs * times, times)

    def worked(self, instance_id: int, now_secs: float) -> None:
        """It has answered: unless it is left out right now, its next failure is a first one."""
        aside = self._aside.get(instance_id)
        if aside is not None and aside.until_secs <= now_secs:
            self.release(instance_id)

    def release(self, instance_id: int) -> None:
        """Takes it back, for example because it has left discovery or has another address."""
        self._aside.pop(instance_id, None)

    def left_out(self, now_secs: float) -> frozenset[int]:
        """The ids that are left out now."""
        if not self._aside:
            return frozenset()
        forgotten_secs = now_secs - self._duration_secs * _MOST_TIMES
        self._aside = {number: aside for number, aside in self._aside.items() if aside.until_secs > forgotten_secs}
        return frozenset(number for number, aside in self._aside.items() if aside.until_secs > now_secs)
