"""The verbs every discovery backend speaks, and the events it tells.

Keys are always in the etcd spelling, `v1/instances/NS/COMPONENT/ENDPOINT/HEX_ID`, whatever the store behind does
with them.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator
from typing import TypeAlias

import msgspec

from dynamo_fe.ops.metrics import MetricsRegistry


class Put(msgspec.Struct, frozen=True):
    """The key holds this value now: created, or overwritten."""

    key: str
    value: bytes


class Delete(msgspec.Struct, frozen=True):
    """The key is gone: withdrawn by its owner, or expired with its lease."""

    key: str


class Snapshot(msgspec.Struct, frozen=True):
    """The whole state of the watched prefix.

    `after_outage` is False for the first one of a watch. True means that a gap could not be replayed (history
    compacted, or the store came back without its data): a key missing here may well have a living owner.
    """

    entries: dict[str, bytes]
    after_outage: bool


Event: TypeAlias = Put | Delete | Snapshot


class DiscoveryStatus(msgspec.Struct, frozen=True):
    """What an operator wants to know. `since_secs`: for how long `connected` has had this value; `view_age_secs`: how
    old the view is, None where nothing tells or there is none."""

    backend: str
    connected: bool
    since_secs: float
    detail: str
    view_age_secs: float | None = None


class KeyTaken(Exception):
    """The key exists already and belongs to somebody else."""

    def __init__(self, key: str) -> None:
        super().__init__(f"discovery key is taken: {key}")
        self.key = key


class Discovery(abc.ABC):
    """One connection to the membership store: watches and, for workers, a lease with keys on it."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Begins to work. Does not wait for the store and does not raise when it is away: retries go on inside."""

    @abc.abstractmethod
    def watch(self, prefix: str) -> AsyncIterator[list[Event]]:
        """First a list with one `Snapshot`, then batches in the store's order.

        Outages neither end nor raise: what was missed is replayed, or a `Snapshot(after_outage=True)` says that it
        could not be. Ends only after `close()`.
        """

    @abc.abstractmethod
    async def grant_lease(self) -> int:
        """The lease that published keys live on, granted once: an unsigned 64-bit number above 0, which serves as
        the instance id. Waits for the store as long as it takes; kept alive until `close()`."""

    @abc.abstractmethod
    async def publish(self, key: str, value: bytes) -> None:
        """Creates the key on the lease. Raises `KeyTaken` when it exists, `RuntimeError` without a lease.

        A key lost with its lease is published again by itself.
        """

    @abc.abstractmethod
    async def withdraw(self, key: str) -> None:
        """Deletes a key published here; unknown keys are left alone."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Withdraws what was published, gives the lease back, ends the watches. Safe to call twice."""

    @abc.abstractmethod
    def status(self) -> DiscoveryStatus:
        """For `/ready` and the log."""

    def show(self, registry: MetricsRegistry) -> None:  # noqa: B027
        """Adds the metrics that the backend has of its own: none."""

    def remarks(self) -> list[str]:
        """What the store holds that is not passed on, and why, for an operator."""
        return []

    def leaving(self) -> frozenset[int]:
        """Instances that are still served but about to go: others are to be preferred."""
        return frozenset()
