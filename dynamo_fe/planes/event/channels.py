"""The event channels of one topic, as the records in discovery tell of them. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from dynamo_fe.protocol.event_records import EventChannel, parse_channel
from dynamo_fe.protocol.events import EventTransport
from dynamo_fe.protocol.instance import RecordError

log = logging.getLogger("dynamo_fe.planes")

OnChannel = Callable[[EventChannel], None]


class Following(Protocol):
    """A prefix that is followed."""

    def close(self) -> None:
        """Nothing is told any more."""


class ChannelRecords(Protocol):
    """What an event plane needs of discovery; `discovery.records.Records` has it."""

    async def register(self, key: str, value: bytes) -> None:
        """Puts a record on the process's lease, however long the store is away."""

    async def withdraw(self, key: str) -> None:
        """Takes it back."""

    def follow(self, prefix: str, on_put: Callable[[str, bytes], None], on_gone: Callable[[str], None]) -> Following:
        """Tells of records that are there, change or go."""


class Channels:
    """Tells of channels that come and go. A changed one goes and comes."""

    def __init__(self, transport: EventTransport, on_added: OnChannel, on_removed: OnChannel) -> None:
        self._transport = transport
        self._on_added = on_added
        self._on_removed = on_removed
        self._channels: dict[str, EventChannel] = {}

    def put(self, key: str, value: bytes) -> None:
        """A record that is there now; one that cannot be used counts as gone."""
        self._set(key, self._read(key, value))

    def gone(self, key: str) -> None:
        """A record that is not there any more."""
        self._set(key, None)

    def _set(self, key: str, channel: EventChannel | None) -> None:
        before = self._channels.get(key)
        if channel == before:
            return
        if before is not None:
            del self._channels[key]
            self._on_removed(before)
        if channel is not None:
            self._channels[key] = channel
            self._on_added(channel)

    def _read(self, key: str, value: bytes) -> EventChannel | None:
        try:
            channel = parse_channel(key, value)
        except RecordError as error:
            log.warning("event channel left out: %s", error)
            return None
        if channel.plane != self._transport:
            log.warning("event channel %s left out: we listen on %s", key, self._transport)
            return None
        return channel
