"""The joined view of a namespace, and those who follow parts of it. Fed object by object; gives the loop a turn now and
then, since hundreds of workers may come with one list."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from dynamo_fe.discovery.base import Event, Snapshot
from dynamo_fe.discovery.kube_join import Change, Join
from dynamo_fe.discovery.kube_objects import ObjectError, name_of

log = logging.getLogger("dynamo_fe.discovery")

# Objects or changes taken in at once: below 5 ms with cards of 5 KB.
STRIDE: Final = 32


class Sink(Protocol):
    """Where the objects of one resource go. `listed`: whether a complete list has been."""

    listed: bool

    async def replace(self, items: Sequence[msgspec.Raw]) -> None:
        """A complete list."""

    def put(self, raw: msgspec.Raw) -> None:
        """An object is new or changed. Raises `ObjectError`."""

    def remove(self, name: str) -> None:
        """An object is gone."""


class Follower:
    """One prefix. What is not fetched yet is kept once a key, so that it is bounded by the view itself."""

    def __init__(self, prefix: str, view: KubeView) -> None:
        self.prefix = prefix
        self._view = view
        self._pending: dict[str, Change] = {}
        self._told = False
        self._closed = False
        self._event = asyncio.Event()

    async def next(self) -> list[Event] | None:
        """First a snapshot, once there is a view; then what has changed since. None: the end."""
        while not self._closed:
            if not self._told and self._view.synced:
                self._told = True
                self._pending.clear()
                return [Snapshot(self._view.join.entries(self.prefix), after_outage=False)]
            if self._told and self._pending:
                keys = list(self._pending)[:STRIDE]
                return [self._pending.pop(key) for key in keys]
            self._event.clear()
            await self._event.wait()
        return None

    def tell(self, changes: Sequence[Change]) -> None:
        """Notes what concerns it."""
        for change in changes:
            if change.key.startswith(self.prefix):
                self._pending.pop(change.key, None)
                self._pending[change.key] = change
        self._event.set()

    def close(self) -> None:
        """`next` returns None from now on."""
        self._closed = True
        self._event.set()


class KubeView:
    """Belongs to one event loop."""

    def __init__(self, join: Join) -> None:
        self.join = join
        self.records = RecordSink(self)
        self.pods = PodSink(self)
        self._followers: set[Follower] = set()

    @property
    def synced(self) -> bool:
        """Whether both lists have been complete once: before, nothing is known to be absent."""
        return self.records.listed and self.pods.listed

    def follow(self, prefix: str) -> Follower:
        follower = Follower(prefix, self)
        self._followers.add(follower)
        return follower

    def forget(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def tell(self, changes: Sequence[Change]) -> None:
        """Passes changes of the join on."""
        if self.synced:
            for follower in self._followers:
                follower.tell(changes)

    def close(self) -> None:
        """Ends all that follow."""
        for follower in self._followers:
            follower.close()


class RecordSink:
    """DynamoWorkerMetadata."""

    def __init__(self, view: KubeView) -> None:
        self.listed = False
        self._view = view

    async def replace(self, items: Sequence[msgspec.Raw]) -> None:
        names = await _put_all(self, items)
        for name in self._view.join.records() - names:
            self.remove(name)
        self.listed = True
        self._view.tell(())

    def put(self, raw: msgspec.Raw) -> None:
        self._view.tell(self._view.join.put_record(raw))

    def remove(self, name: str) -> None:
        self._view.tell(self._view.join.remove_record(name))


class PodSink:
    """EndpointSlices, or pods in container mode."""

    def __init__(self, view: KubeView) -> None:
        self.listed = False
        self._view = view

    async def replace(self, items: Sequence[msgspec.Raw]) -> None:
        names = await _put_all(self, items)
        for name in self._view.join.readiness.names() - names:
            self.remove(name)
        self.listed = True
        self._view.tell(())

    def put(self, raw: msgspec.Raw) -> None:
        join = self._view.join
        self._view.tell(join.settle(join.readiness.put(raw)))

    def remove(self, name: str) -> None:
        join = self._view.join
        self._view.tell(join.settle(join.readiness.remove(name)))


async def _put_all(sink: Sink, items: Sequence[msgspec.Raw]) -> set[str]:
    """The names that the list holds. An object that cannot be read stays as it was known."""
    names = set()
    for number, raw in enumerate(items, 1):
        try:
            names.add(name_of(raw))
            sink.put(raw)
        except ObjectError as error:
            log.warning("an object of a list is left out: %s", error)
        if number % STRIDE == 0:
            await asyncio.sleep(0)
    return names
