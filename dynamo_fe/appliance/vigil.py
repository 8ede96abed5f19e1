"""Watches over the children's heartbeats, and tells systemd's watchdog that all is well."""

import logging
import os
import signal
import time
from typing import Final

from dynamo_fe.appliance.crew import patience_secs
from dynamo_fe.appliance.crews import Crews
from dynamo_fe.appliance.notify import Notifier

_log = logging.getLogger("dynamo_fe.appliance")

_LOOKS_A_LIMIT: Final = 4


class Vigil:
    """Kills a child that has not beaten for `limit_secs` (0: lets it be); whoever reaps it starts another.

    The watchdog is only fed while every watched child has beaten within the watchdog's own interval: one that neither
    moves nor can be replaced has the whole service started anew.
    """

    def __init__(self, crews: Crews, limit_secs: float, notifier: Notifier) -> None:
        self._crews = crews
        self._limit_secs = limit_secs
        self._notifier = notifier
        intervals = [secs for secs in (limit_secs, notifier.watchdog_secs) if secs]
        self._pause_secs = min(intervals) / _LOOKS_A_LIMIT if intervals else None
        self._looked_at = time.monotonic()

    def due_times(self) -> list[float]:
        """When to look again."""
        return [] if self._pause_secs is None else [self._looked_at + self._pause_secs]

    def keep(self, now: float) -> None:
        """Looks, if it is time to."""
        if self._pause_secs is None or now < self._looked_at + self._pause_secs:
            return
        # A host that slept, or a group of processes that was frozen: nobody could beat.
        overslept = now - self._looked_at > 2 * self._pause_secs
        self._looked_at = now
        for crew in self._crews:
            if overslept:
                crew.forgive()
            elif self._limit_secs:
                for slot in crew.stuck(now, self._limit_secs):
                    waited = patience_secs(slot, self._limit_secs)
                    what = "has hung" if slot.ready else "has hung in its start"
                    _log.error("%s (process %s) %s for %g s: killed", slot.name, slot.pid, what, waited)
                    os.kill(slot.pid or 0, signal.SIGKILL)
        interval = self._notifier.watchdog_secs
        if interval is not None and not any(crew.stuck(now, interval) for crew in self._crews):
            self._notifier.alive()
