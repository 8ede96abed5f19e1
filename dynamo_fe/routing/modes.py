"""The routing modes that look at no load: siblings with one verb, `pick`.

Each gets the instances it may choose from, never an empty list, in a stable order.
"""

from __future__ import annotations

import abc
import random
from collections.abc import Sequence

from dynamo_fe.protocol.instance import Instance


class NoInstance(Exception):
    """The mode cannot choose; the text says why and is meant for the client."""


class Mode(abc.ABC):
    """One way to choose among the instances of one worker set."""

    @abc.abstractmethod
    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """One of `instances`. `set_key` names the worker set. Raises NoInstance."""


class RoundRobin(Mode):
    """Each in turn. The turn follows instance ids, so one that comes or goes does not disturb the others' order."""

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

    def __init__(self) -> None:
        self._random = random.Random()

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """One at random."""
        return self._random.choice(instances)


class Direct(Mode):
    """Only what the request names itself."""

    def pick(self, set_key: str, instances: Sequence[Instance]) -> Instance:
        """Always raises: a request that names its worker never comes here."""
        raise NoInstance("Routing mode `direct` needs a worker id in the request")


def mode_of(name: str) -> Mode:
    """The mode for a `--router-mode` value; those not built yet are served as round robin (the command line warns)."""
    return {"random": Random, "direct": Direct}.get(name, RoundRobin)()
