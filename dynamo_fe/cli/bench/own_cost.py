"""Whether the load itself was what limited: how late its loop was and how much of a core it took."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from dynamo_fe.cli.bench.spread import Spread

_EVERY_SECS: Final = 0.02
# beyond either the times measured say more of this process than of the frontend
_MOST_CORES: Final = 0.8
_MOST_LAG_SECS: Final = 0.01


class OwnCost:
    """Of this process between entering and leaving `measured`."""

    def __init__(self) -> None:
        self._lag = Spread()
        self._began = self._cpu_began = self._secs = self._cpu_secs = 0.0

    @contextlib.asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        watching = asyncio.create_task(self._watch(), name="loop-lag")
        try:
            yield
        finally:
            watching.cancel()
            self._secs = time.perf_counter() - self._began
            self._cpu_secs = time.process_time() - self._cpu_began

    @property
    def secs(self) -> float:
        return self._secs

    @property
    def cores(self) -> float:
        return self._cpu_secs / self._secs if self._secs else 0.0

    @property
    def lag_secs(self) -> float:
        """99 of 100 times the loop was not later than that."""
        return self._lag.percentile_secs(99)

    @property
    def limits(self) -> bool:
        return self.cores > _MOST_CORES or self.lag_secs > _MOST_LAG_SECS

    def as_json(self) -> dict[str, Any]:
        lag_ms = round(self.lag_secs * 1000, 3)
        return {"cpu_secs": round(self._cpu_secs, 3), "loop_lag_p99_ms": lag_ms, "limits": self.limits}

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + _EVERY_SECS
            await asyncio.sleep(_EVERY_SECS)
            self._lag.add(max(0.0, time.perf_counter() - due))
