"""The verbs of every event plane: publish a topic of a scope, subscribe to one."""

from __future__ import annotations

import abc
import asyncio
import logging
import secrets
import time
from typing import ClassVar, Protocol

import msgspec

from dynamo_fe.planes.event.channels import ChannelRecords, Channels
from dynamo_fe.protocol.event_records import (
    CHANNELS_PREFIX,
    EventChannel,
    NatsTransport,
    Scope,
    ZmqTransport,
    publisher_key,
    topic_key,
)
from dynamo_fe.protocol.events import Envelope, EventTransport, MalformedEvent

log = logging.getLogger("dynamo_fe.planes")

# the original's ids are below this too: whole in every JSON reader
_PUBLISHER_ID_BITS = 53


class EventSink(Protocol):
    """Takes what a subscription brings; called on the loop, never to wait and never to raise."""

    def on_event(self, publisher_id: int, payload: bytes) -> None:
        """One message of a publisher whose channel stands in discovery, in the order sent; some may be missing."""

    def on_joined(self, publisher_id: int) -> None:
        """From here on its messages arrive: said at first, and again after every interruption."""

    def on_left(self, publisher_id: int) -> None:
        """Its channel is gone from discovery; nothing more comes from it."""


class EventPublisher(abc.ABC):
    """One topic of one scope, under an id of its own."""

    def __init__(self, plane: EventPlane, publisher_id: int, topic: str, key: str) -> None:
        self.publisher_id = publisher_id
        self.topic = topic
        self._plane = plane
        self._key = key
        self._sequence = 0

    def publish(self, payload: bytes) -> None:
        """Sends to whoever listens now. Never waits: what cannot be passed on is dropped, as it is by the original."""
        envelope = Envelope(self.publisher_id, self._sequence, time.time_ns() // 1_000_000, self.topic, payload)
        self._sequence += 1
        self._send(envelope)

    async def close(self) -> None:
        """Withdraws the channel from discovery and lets go. Idempotent."""
        await self._plane.records.withdraw(self._key)
        self._plane.forget_publisher(self)
        self.release()

    @abc.abstractmethod
    def release(self) -> None:
        """Lets go and leaves the record to the lease. Idempotent."""

    @abc.abstractmethod
    def _send(self, envelope: Envelope) -> None: ...


class Subscription(abc.ABC):
    """One topic of one scope, from every publisher but this process's own."""

    def __init__(self, plane: EventPlane, scope: Scope, topic: str, sink: EventSink) -> None:
        self.topic = topic
        self._sink = sink
        self._channels: dict[int, EventChannel] = {}
        self._next_sequence: dict[int, int] = {}
        channels = Channels(plane.transport, self._added, self._removed)
        self._following = plane.records.follow(topic_key(CHANNELS_PREFIX, scope, topic), channels.put, channels.gone)
        self._plane = plane
        self.received_total = 0
        self.missed_total = 0
        self.refused_total = 0
        self._unreadable_told = False

    def close(self) -> None:
        """Nothing is told any more. Idempotent."""
        self._following.close()
        self._channels.clear()
        self._plane.forget_subscription(self)

    @abc.abstractmethod
    def take_now(self) -> None:
        """Takes what has come in already, for who cannot wait until it is handed over."""

    @property
    def publishers(self) -> int:
        """How many are known."""
        return len(self._channels)

    def totals(self) -> list[int]:
        """Messages received, missed (by their numbers) and refused so far."""
        return [self.received_total, self.missed_total, self.refused_total]

    def _added(self, channel: EventChannel) -> None:
        if not self._plane.is_own(channel.instance_id):
            self._channels[channel.instance_id] = channel
            self._connect(channel)

    def _removed(self, channel: EventChannel) -> None:
        if self._channels.pop(channel.instance_id, None) is not None:
            self._next_sequence.pop(channel.instance_id, None)
            self._disconnect(channel)
            self._sink.on_left(channel.instance_id)

    def _deliver(self, envelope: Envelope) -> None:
        publisher_id = envelope.publisher_id
        if publisher_id not in self._channels or envelope.topic != self.topic:
            self._refuse(f"publisher {publisher_id:x} has no such channel of topic {envelope.topic!r}")
            return
        expected = self._next_sequence.get(publisher_id, envelope.sequence)
        self.missed_total += max(envelope.sequence - expected, 0)
        self._next_sequence[publisher_id] = envelope.sequence + 1
        self.received_total += 1
        self._sink.on_event(publisher_id, envelope.payload)

    def _refuse(self, why: str) -> None:
        self.refused_total += 1
        log.debug("event of topic %s dropped: %s", self.topic, why)

    def _refuse_unreadable(self, error: MalformedEvent) -> None:
        """Whoever sends such has a fault that does not mend itself: the first is told, all are counted."""
        if not self._unreadable_told:
            self._unreadable_told = True
            log.warning("an event of topic %s cannot be read, and is dropped as all such are: %s", self.topic, error)
        self._refuse(str(error))

    @abc.abstractmethod
    def _connect(self, channel: EventChannel) -> None: ...

    @abc.abstractmethod
    def _disconnect(self, channel: EventChannel) -> None: ...


class EventPlane(abc.ABC):
    """All that a process publishes and hears. Belongs to one event loop."""

    transport: ClassVar[EventTransport]

    def __init__(self, records: ChannelRecords) -> None:
        self.records = records
        self._loop = asyncio.get_running_loop()
        self._publishers: dict[int, EventPublisher] = {}
        self._subscriptions: set[Subscription] = set()
        self._ended = [0, 0, 0]

    @abc.abstractmethod
    async def start(self) -> None:
        """Begins to work. Raises ValueError for an address that means nothing to others; a broker may be away."""

    async def publisher(self, scope: Scope, topic: str) -> EventPublisher:
        """Opens a channel and registers it on the lease of discovery; waits for the store as long as it takes.

        Raises OSError if no socket can be opened.
        """
        publisher_id = secrets.randbits(_PUBLISHER_ID_BITS) | 1
        key = publisher_key(CHANNELS_PREFIX, scope, topic, publisher_id)
        publisher, transport = self._open(scope, topic, publisher_id, key)
        self._publishers[publisher_id] = publisher
        channel = EventChannel(scope, topic, publisher_id, transport)
        await self.records.register(key, msgspec.json.encode(channel))
        return publisher

    def subscribe(self, scope: Scope, topic: str, sink: EventSink) -> Subscription:
        """Follows the topic's channels in discovery and hands their messages to `sink` until closed."""
        subscription = self._subscription(scope, topic, sink)
        self._subscriptions.add(subscription)
        return subscription

    def is_own(self, publisher_id: int) -> bool:
        """Whether this process publishes under that id."""
        return publisher_id in self._publishers

    def forget_publisher(self, publisher: EventPublisher) -> None:
        """That publisher is closed."""
        self._publishers.pop(publisher.publisher_id, None)

    def forget_subscription(self, subscription: Subscription) -> None:
        """That subscription is closed; its counts stay in the sums."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._ended = [before + now for before, now in zip(self._ended, subscription.totals(), strict=True)]

    async def close(self) -> None:
        """Ends every subscription and every channel; the channels' records go with the lease."""
        for subscription in list(self._subscriptions):
            subscription.close()
        for publisher in self._publishers.values():
            publisher.release()

    @abc.abstractmethod
    def reasons(self) -> list[str]:
        """What keeps everything published from being heard, for an operator; empty if nothing does."""

    def stats(self) -> dict[str, int]:
        """What is connected now and what happened to messages so far, by name."""
        totals = [self._ended, *(subscription.totals() for subscription in self._subscriptions)]
        received, missed, refused = (sum(column) for column in zip(*totals, strict=True))
        return {
            "event_publishers": sum(subscription.publishers for subscription in self._subscriptions),
            "events_received": received,
            "events_missed": missed,
            "events_refused": refused,
        }

    @abc.abstractmethod
    def _open(
        self, scope: Scope, topic: str, publisher_id: int, key: str
    ) -> tuple[EventPublisher, ZmqTransport | NatsTransport]: ...

    @abc.abstractmethod
    def _subscription(self, scope: Scope, topic: str, sink: EventSink) -> Subscription: ...
