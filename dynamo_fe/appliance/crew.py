"""Children that come and go together: one generation of those that serve, or those that help them."""

import logging
import os
import signal
from collections.abc import Iterable, Iterator

from dynamo_fe.appliance.child import spawn
from dynamo_fe.appliance.slot import Slot

_log = logging.getLogger("dynamo_fe.appliance")

# The host is out of processes or memory.
_FORK_RETRY_SECS = 1.0
# Imports come before the first beat, and take their time on a busy host.
_START_SECS = 30.0


class Crew:
    """Some slots, and what is done to all of them. Times come in. `generation` tells those of one role that serve from
    others that live beside them.
    """

    def __init__(self, slots: Iterable[Slot] = (), generation: int = 0) -> None:
        self._slots = list(slots)
        self.generation = generation

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __bool__(self) -> bool:
        return bool(self._slots)

    @property
    def alive(self) -> bool:
        return any(slot.pid is not None for slot in self._slots)

    @property
    def all_ready(self) -> bool:
        return all(slot.ready for slot in self._slots)

    def start_due(self, now: float) -> None:
        for slot in self._slots:
            if slot.start_at is not None and slot.start_at <= now:
                _start(slot, now)

    def tell_to_end(self, signum: int, now: float) -> None:
        """Sends the signal and allows each its grace; none is started any more."""
        for slot in self._slots:
            slot.told_to_end(now)
        self.send(signum)

    def begin_anew(self, now: float) -> None:
        """Asks each to end as soon as it can, after which it is started again."""
        for slot in self._slots:
            slot.told_to_begin_anew(now)
        self.send(signal.SIGTERM)

    def send(self, signum: int) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, signum)

    def kill_overdue(self, now: float) -> list[str]:
        """Kills those that did not end in their grace; returns their names."""
        overdue = [slot for slot in self._slots if slot.kill_at is not None and slot.kill_at <= now]
        for slot in overdue:
            slot.kill_at = None
        overdue = [slot for slot in overdue if slot.pid is not None]
        for slot in overdue:
            os.kill(slot.pid, signal.SIGKILL)  # type: ignore[arg-type]
        return [slot.name for slot in overdue]

    def stuck(self, now: float, limit_secs: float) -> list[Slot]:
        """Those that have not beaten for longer than they may."""
        return [
            slot
            for slot in self._slots
            if slot.pid and slot.pulse and slot.pulse.age_secs(now) > patience_secs(slot, limit_secs)
        ]

    def forgive(self) -> None:
        """Counts as a beat of each: whoever measures was away itself."""
        for slot in self._slots:
            if slot.pulse is not None:
                slot.pulse.beat()

    def due_times(self) -> list[float]:
        """When a slot is to be filled, or its child to be killed."""
        times = (time for slot in self._slots for time in (slot.start_at, slot.kill_at))
        return [time for time in times if time is not None]


def patience_secs(slot: Slot, limit_secs: float) -> float:
    """How long it may be silent: one that is still starting, for as long as a start may take."""
    return limit_secs if slot.ready else max(limit_secs, _START_SECS)


def _start(slot: Slot, now: float) -> None:
    if slot.pulse is not None:
        slot.pulse.beat()
    try:
        slot.started(spawn(slot.body), now)
    except OSError as error:
        _log.error("cannot start %s: %s", slot.name, error)
        slot.start_at = now + _FORK_RETRY_SECS
    else:
        _log.debug("%s is process %d", slot.name, slot.pid)
