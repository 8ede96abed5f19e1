"""How late the event loop is: what every request of the process waits for, whatever its worker does."""

from __future__ import annotations

import asyncio
from typing import Final

from dynamo_fe.ops.metrics import Histogram, Value

# the original looks every 10 ms, which would be most of what an idle process of ours does
_EVERY_SECS: Final = 0.1
_STALL_SECS: Final = 0.005


class LoopWatch:
    """A timer that notes how late it is called. Must be made on the running loop."""

    def __init__(self, delay: Histogram, stalls: Value) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay = delay
        self._stalls = stalls
        self._timer = self._loop.call_later(_EVERY_SECS, self._look)

    def close(self) -> None:
        """Looks no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        late_secs = max(0.0, now - self._timer.when())
        self._delay.observe(late_secs)
        if late_secs > _STALL_SECS:
            self._stalls.value += 1
        self._timer = self._loop.call_later(_EVERY_SECS, self._look)
