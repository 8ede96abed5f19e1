"""The choice of a worker: worker set first, then an instance in it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from dynamo_fe.protocol.instance import Instance
from dynamo_fe.routing.modes import NAMED, Mode, NoInstance
from dynamo_fe.routing.quarantine import Quarantine


class Candidates(Protocol):
    """A worker set as routing sees it."""

    @property
    def key(self) -> str:
        """Names the set."""

    @property
    def instances(self) -> Mapping[int, Instance]:
        """The live instances by id."""


C = TypeVar("C", bound=Candidates)


class Router:
    """Chooses by the configured mode among what is not set aside. `leaving` gives the instances that are about to go:
    they get a request only where nobody else would be left."""

    def __init__(
        self, mode: Mode, quarantine: Quarantine, leaving: Callable[[], frozenset[int]] = lambda: frozenset()
    ) -> None:
        self._mode = mode
        self._quarantine = quarantine
        self._leaving = leaving
        self._random = random.Random()

    def reason(self, pinned: int | None) -> str:
        """Why `select` takes what it takes."""
        return self._mode.reason if pinned is None else NAMED

    def select(self, sets: Sequence[C], pinned: int | None, tried: Collection[int]) -> tuple[C, Instance]:
        """A set, taken at random weighted by its instances, and one of its instances.

        `pinned` is an instance id the request names; `tried` are ids that have failed this request. An instance set
        aside is taken when there is no other, since a try may succeed and a refusal cannot. Raises NoInstance.
        """
        if pinned is not None:
            return self._pinned(sets, pinned, tried)
        entry, instances = self.narrow(sets, tried)
        return entry, self._mode.pick(entry.key, instances)

    def select_set(self, sets: Sequence[C], pinned: int | None, tried: Collection[int]) -> C:
        """The set that `select` would choose from; takes no turn. Raises NoInstance."""
        if pinned is not None:
            return self._pinned(sets, pinned, tried)[0]
        return self.narrow(sets, tried)[0]

    def narrow(self, sets: Sequence[C], tried: Collection[int]) -> tuple[C, list[Instance]]:
        """The set that `select` would choose from, and what of it would be left. Raises NoInstance."""
        for banned in self.banned(tried):
            usable = [(entry, self._usable(entry, banned)) for entry in sets]
            usable = [(entry, instances) for entry, instances in usable if instances]
            if not usable:
                continue
            entry, instances = usable[0]
            if len(usable) > 1:
                entry, instances = self._random.choices(usable, [len(instances) for _, instances in usable])[0]
            return entry, instances
        raise NoInstance("No worker is left to try")

    def banned(self, tried: Collection[int]) -> Iterator[Collection[int]]:
        """What to leave out beside the instances tried: first as much as would be good, then less and less."""
        out, leaving = self._quarantine.left_out(time.monotonic()), self._leaving()
        if leaving:
            yield leaving.union(out, tried)
        if out:
            yield out.union(tried)
        yield tried

    @property
    def all_well(self) -> bool:
        """Whether nothing is to be left out."""
        return not self._quarantine.left_out(time.monotonic()) and not self._leaving()

    def remains(self, sets: Sequence[C], pinned: int | None, tried: Collection[int]) -> bool:
        """Whether `select` would find an instance; takes no turn."""
        wanted = [number for entry in sets for number in entry.instances if pinned is None or number == pinned]
        return any(number not in tried for number in wanted)

    def set_aside(self, instance_id: int) -> bool:
        """Leaves an instance out for the configured time from now on; True if it was not left out before."""
        now_secs = time.monotonic()
        known = instance_id in self._quarantine.left_out(now_secs)
        self._quarantine.set_aside(instance_id, now_secs)
        return not known

    def worked(self, instance_id: int) -> None:
        """The instance has begun to answer."""
        self._quarantine.worked(instance_id, time.monotonic())

    def instance_removed(self, instance_id: int) -> None:
        """Forgets an instance that left discovery."""
        self._quarantine.release(instance_id)

    def left_out(self) -> frozenset[int]:
        """The instances set aside now."""
        return self._quarantine.left_out(time.monotonic())

    def _pinned(self, sets: Sequence[C], pinned: int, tried: Collection[int]) -> tuple[C, Instance]:
        for entry in sets:
            instance = entry.instances.get(pinned)
            if instance is not None and pinned not in tried:
                return entry, instance
        raise NoInstance("Invalid request", f"no worker of the model has the instance id {pinned}")

    def _usable(self, entry: C, banned: Collection[int]) -> list[Instance]:
        if not banned:
            return list(entry.instances.values())
        return [instance for number, instance in entry.instances.items() if number not in banned]
