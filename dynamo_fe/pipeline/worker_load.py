"""How many requests each worker has from us, and whether it has room for one more. Sans I/O: the caller brings the
time.

A worker is full in two cases. It has more requests than a multiple of what it says it can run at once; or one more
would probably wait too long: somebody waits there for half of `max_wait_secs` already, and at least as many wait as the
worker began with during the last `max_wait_secs` (by Little's law the last of them waits that long). The second looks
at nothing but what came back, so it holds whatever the bottleneck is, and a worker that falls silent is full at
`least_waiting`. A burst on an idle worker is let in, since nobody has waited yet.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """`max_wait_secs` and `capacity_factor` 0 turn their rule off; `least_waiting` may always wait on a worker."""

    max_wait_secs: float
    least_waiting: int
    capacity_factor: float


class Place:
    """One request on one worker, from sending it to its end."""

    __slots__ = ("_load", "_loads", "sent_at")

    def __init__(self, loads: WorkerLoads, load: WorkerLoad, sent_at: float) -> None:
        self._loads = loads
        self._load: WorkerLoad | None = load
        self.sent_at = sent_at

    def began(self, now: float) -> None:
        """Its first item came."""
        load = self._load
        if load is not None and load.waiting.pop(self, None) is not None:
            load.note_beginning(now)

    def over(self) -> None:
        """It is no longer there, for whatever reason. Idempotent."""
        load, self._load = self._load, None
        if load is not None:
            load.waiting.pop(self, None)
            load.in_hand -= 1
            if not load.in_hand:
                self._loads.forget(load)


class WorkerLoad:
    """The requests of one worker. `capacity` is what it says it runs at once, None if it says nothing."""

    __slots__ = ("_began", "_began_before", "_limits", "_window_from", "capacity", "in_hand", "instance_id", "waiting")

    def __init__(self, instance_id: int, limits: LoadLimits) -> None:
        self.instance_id = instance_id
        self.capacity: int | None = None
        self.in_hand = 0
        self.waiting: OrderedDict[Place, bool] = OrderedDict()
        self._limits = limits
        self._began = self._began_before = 0
        self._window_from = 0.0

    def note_beginning(self, now: float) -> None:
        """One of those that waited waits no more."""
        self._roll(now)
        self._began += 1

    @property
    def over_capacity(self) -> bool:
        """Whether it has as many as it may have by what it says it can run."""
        factor = self._limits.capacity_factor
        return bool(factor and self.capacity and self.in_hand >= self.capacity * factor)

    @property
    def crowded(self) -> bool:
        """Whether it may be full, whatever the time."""
        return len(self.waiting) >= self._limits.least_waiting or self.over_capacity

    @property
    def calm_until(self) -> float:
        """Until when it has room if it gets no more; asked of a crowded one."""
        if self.over_capacity:
            return -math.inf
        most_secs = self._limits.max_wait_secs
        return next(iter(self.waiting)).sent_at + most_secs / 2 if most_secs else math.inf

    def has_room(self, now: float) -> bool:
        """Whether one more would be well there; asked of a crowded one."""
        calm_until = self.calm_until
        if now <= calm_until:
            return True
        if calm_until == -math.inf:
            return False
        most_secs = self._limits.max_wait_secs
        self._roll(now)
        before = self._began_before * (1 - (now - self._window_from) / most_secs)
        return len(self.waiting) < self._began + before

    def _roll(self, now: float) -> None:
        """Two windows next to each other stand for one that slides."""
        passed = now - self._window_from
        if passed >= self._limits.max_wait_secs:
            self._began_before = self._began if passed < 2 * self._limits.max_wait_secs else 0
            self._began = 0
            self._window_from = now


class WorkerLoads:
    """All workers that have requests from us."""

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits
        self._loads: dict[int, WorkerLoad] = {}
        # those that may be full, which none of them is before that time: to look at them all took 6 us a request
        self._crowded: dict[int, WorkerLoad] = {}
        self._calm_until = math.inf

    def sent(self, instance_id: int, capacity: int | None, now: float) -> Place:
        """A request goes to that worker."""
        load = self._loads.get(instance_id)
        if load is None:
            load = self._loads[instance_id] = WorkerLoad(instance_id, self._limits)
        load.capacity = capacity
        load.in_hand += 1
        place = Place(self, load, now)
        load.waiting[place] = True
        if load.crowded and (instance_id not in self._crowded or load.over_capacity):
            self._crowded[instance_id] = load
            self._calm_until = min(self._calm_until, load.calm_until)
        return place

    def full(self, now: float) -> Collection[int]:
        """The workers that should get no more now."""
        if now <= self._calm_until:
            return ()
        for number, load in list(self._crowded.items()):
            if not load.crowded:
                del self._crowded[number]
        self._calm_until = min((load.calm_until for load in self._crowded.values()), default=math.inf)
        return {number for number, load in self._crowded.items() if not load.has_room(now)}

    def of(self, instance_id: int) -> int:
        """Requests on that worker."""
        load = self._loads.get(instance_id)
        return 0 if load is None else load.in_hand

    def forget(self, load: WorkerLoad) -> None:
        """The worker has nothing from us any more."""
        self._loads.pop(load.instance_id, None)
        self._crowded.pop(load.instance_id, None)

    @property
    def in_hand(self) -> int:
        """Requests on all workers."""
        return sum(load.in_hand for load in self._loads.values())

    @property
    def waiting(self) -> int:
        """Those of them that have brought nothing yet."""
        return sum(len(load.waiting) for load in self._loads.values())
