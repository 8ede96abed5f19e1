"""When each child's loop turned last: one shared page, a number a child, so that a beat wakes nobody up."""

import mmap
import struct
import time
from typing import Final

# Seconds of CLOCK_MONOTONIC, which is one for all processes of the host. Written at once on the machines we run on.
_BEAT: Final = struct.Struct("=d")


class Pulse:
    """One child's number. The child writes it, the supervisor reads it."""

    def __init__(self, page: mmap.mmap, place: int) -> None:
        self._page = page
        self._offset = place * _BEAT.size

    def beat(self) -> None:
        _BEAT.pack_into(self._page, self._offset, time.monotonic())

    def age_secs(self, now: float) -> float:
        """How long ago the last beat was."""
        last: float = _BEAT.unpack_from(self._page, self._offset)[0]
        return now - last


class Heartbeats:
    """The page, inherited by every child: `pulses[i]` for whoever was given place i."""

    def __init__(self, places: int) -> None:
        page = mmap.mmap(-1, max(1, places) * _BEAT.size)
        self.pulses = [Pulse(page, place) for place in range(places)]
