"""The routing modes that look at no prompt: siblings with one verb, `pick`.

Each gets the instances it may choose from, never an empty list, in a stable order. Source of the rules: Dynamo 1.6.1.
"""

from __future__ import annotations

import abc
import random
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from dynamo_fe.protocol.instance import Instance

InFlight = Callable[[int], int]

_CPU: Final = "cpu"
NAMED: Final = "named by the request"


class NoInstance(Exception):
    """The mode cannot choose; the text says why and is meant for the client, as is `detail`, which says more."""

    def __init__(self, text: str, detail: str | None = None) -> None:
        super().__init__(text)
        self.detail = detail


class Mode(abc.ABC):
    """One way to choose among the instances of one worker set. `reason` says it in words."""

    reason: ClassVar[str]

    @abc.abstractmethod
    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """One of `instances`. `set_key` names the worker set. Raises NoInstance."""


class RoundRobin(Mode):
    """Each in turn. The turn follows instance ids, so one that comes or goes does not disturb the others' order."""

    reason = "the next in turn"

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """The one with the smallest id above the last one taken, else the smallest of all."""
        last = self._last.get(set_key, -1)
        chosen = following = None
        for instance in instances:
            number = instance.instance_id
            if chosen is None or number < chosen.instance_id:
                chosen = instance
            if number > last and (following is None or number < following.instance_id):
                following = instance
        chosen = following or chosen
        assert chosen is not None
        self._last[set_key] = chosen.instance_id
        return chosen


class Random(Mode):
    """Any, all equally likely."""

    reason = "drawn at random"

    def __init__(self) -> None:
        self._random = random.Random()

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """One at random."""
        return self._random.choice(instances)


class PowerOfTwo(Mode):
    """The less loaded of two that are drawn at random, the first drawn where they are equal."""

    reason = "the less loaded of two that were drawn at random"

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._random = random.Random()

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """One of two, or the only one."""
        if len(instances) == 1:
            return instances[0]
        first, second = self._random.sample(instances, 2)
        return second if self._in_flight(second.instance_id) < self._in_flight(first.instance_id) else first


class LeastLoaded(Mode):
    """The one with the fewest requests of ours, any of them where several have as few."""

    reason = "fewest requests"

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._random = random.Random()

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """One of the least loaded."""
        loads = [self._in_flight(instance.instance_id) for instance in instances]
        least = min(loads)
        return self._random.choice([instances[at] for at, load in enumerate(loads) if load == least])


class DeviceAware(LeastLoaded):
    """The least loaded of a device class: CPU workers get the share that `ratio` says, the rest goes to accelerators.

    `ratio` is how many times a CPU worker's load an accelerator bears.
    """

    reason = "fewest requests among the workers of its kind of device"

    def __init__(self, in_flight: InFlight, ratio: float) -> None:
        super().__init__(in_flight)
        self._ratio = ratio

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """One of the least loaded of the class whose turn it is."""
        slow = [instance for instance in instances if instance.device_type == _CPU]
        fast = [instance for instance in instances if instance.device_type != _CPU]
        if slow and fast:
            cpu_load, accelerator_load = (
                sum(self._in_flight(instance.instance_id) for instance in side) for side in (slow, fast)
            )
            share = accelerator_load * len(slow) / (self._ratio * len(fast))
            instances = slow if cpu_load < share else fast
        return super().pick(set_key, instances)


class Direct(Mode):
    """Only what the request names itself."""

    reason = NAMED

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """Always raises: a request that names its worker never comes here."""
        raise NoInstance("Routing mode `direct` needs a worker id in the request")


def mode_of(name: str, in_flight: InFlight, cpu_ratio: float) -> Mode:
    """The mode for a `--router-mode` value. In `kv` it serves the requests that have no tokens to look at.

    `in_flight` tells our own open requests on an instance; `cpu_ratio` is the one of DeviceAware.
    """
    match name:
        case "random":
            return Random()
        case "power-of-two":
            return PowerOfTwo(in_flight)
        case "least-loaded":
            return LeastLoaded(in_flight)
        case "device-aware-weighted":
            return DeviceAware(in_flight, cpu_ratio)
        case "direct":
            return Direct()
        case _:
            return RoundRobin()
