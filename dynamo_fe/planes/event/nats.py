"""Dynamo 1.6.1's NATS event plane: core NATS, one subject for a topic of a scope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from nats import errors as nats_errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubject

from dynamo_fe.planes.event.base import EventPlane, EventPublisher, EventSink, Subscription
from dynamo_fe.planes.event.channels import ChannelRecords
from dynamo_fe.planes.event.options import NatsEventOptions
from dynamo_fe.planes.event.wire import nats_data, read_nats
from dynamo_fe.planes.nats_connection import NatsClient, NatsConnection
from dynamo_fe.protocol.event_records import EventChannel, NatsConfig, NatsTransport, Scope, subject_prefix
from dynamo_fe.protocol.events import Envelope, MalformedEvent

Heard = Callable[[Msg], Coroutine[Any, Any, None]]


class NatsEventPlane(EventPlane):
    """One connection for all that is published and heard."""

    transport = "nats"

    def __init__(self, options: NatsEventOptions, records: ChannelRecords) -> None:
        """Raises ValueError for servers or credentials that can never work."""
        super().__init__(records)
        self.link = NatsEventLink(self._loop, options)

    async def start(self) -> None:
        self.link.start()

    async def close(self) -> None:
        await super().close()
        await self.link.close()

    def reasons(self) -> list[str]:
        outage = self.link.outage()
        return [] if outage is None else [outage]

    def stats(self) -> dict[str, int]:
        connected = int(self.link.trouble is None)
        return super().stats() | {"event_connections": connected, "events_unsent": self.link.unsent_total}

    def _open(self, scope: Scope, topic: str, publisher_id: int, key: str) -> tuple[EventPublisher, NatsTransport]:
        prefix = subject_prefix(scope)
        return NatsPublisher(self, publisher_id, topic, key, f"{prefix}.{topic}"), NatsTransport(NatsConfig(prefix))

    def _subscription(self, scope: Scope, topic: str, sink: EventSink) -> Subscription:
        return NatsSubscription(self, scope, topic, sink)


class NatsPublisher(EventPublisher):
    def __init__(self, plane: NatsEventPlane, publisher_id: int, topic: str, key: str, subject: str) -> None:
        super().__init__(plane, publisher_id, topic, key)
        self._link = plane.link
        self._subject = subject

    def release(self) -> None:
        """Nothing is held: the connection is the plane's."""

    def _send(self, envelope: Envelope) -> None:
        self._link.publish(self._subject, nats_data(envelope))


class NatsSubscription(Subscription):
    """All publishers share the subject: whoever is not in discovery is not heard."""

    def __init__(self, plane: NatsEventPlane, scope: Scope, topic: str, sink: EventSink) -> None:
        super().__init__(plane, scope, topic, sink)
        self._link = plane.link
        self._link.listen(f"{subject_prefix(scope)}.{topic}", self)

    def close(self) -> None:
        super().close()
        self._link.forget(self)

    def heard(self, data: bytes) -> None:
        """A message of the subject."""
        try:
            envelope = read_nats(data)
        except MalformedEvent as error:
            self._refuse_unreadable(error)
        else:
            self._deliver(envelope)

    def listening(self) -> None:
        """The server knows of the subscription."""
        for publisher_id in list(self._channels):
            self._sink.on_joined(publisher_id)

    def take_now(self) -> None:
        """Nothing waits: every message is handed over as it comes."""

    def _connect(self, channel: EventChannel) -> None:
        if self._link.hears(self):
            self._sink.on_joined(channel.instance_id)

    def _disconnect(self, channel: EventChannel) -> None:
        """Nothing to let go: the subject stays."""


class NatsEventLink(NatsConnection):
    """Publishes without waiting; subscribes anew after every interruption."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: NatsEventOptions) -> None:
        super().__init__(loop, options)
        self._bounds = options
        self._subjects: dict[NatsSubscription, str] = {}
        self._heard: dict[NatsSubscription, NatsSubject] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(options.queue_messages)
        self._sending: asyncio.Task[None] | None = None
        self.unsent_total = 0

    def start(self) -> None:
        super().start()
        self._sending = self._loop.create_task(self._send(), name="nats events")

    async def close(self) -> None:
        for task in (self._sending, *self._tasks):
            if task is not None:
                task.cancel()
        await super().close()

    def publish(self, subject: str, data: bytes) -> None:
        """Drops it when there is no connection, or when too much waits to be written."""
        waiting = self.unwritten_bytes
        if self._client is None or self._outbox.full() or waiting + len(data) > self._bounds.write_buffer_bytes:
            self.unsent_total += 1
        else:
            self._outbox.put_nowait((subject, data))

    def listen(self, subject: str, subscription: NatsSubscription) -> None:
        """From now on, and again after every interruption."""
        self._subjects[subscription] = subject
        if self._client is not None:
            self._spawn(self._hook_later(self._client, subscription, subject))

    def forget(self, subscription: NatsSubscription) -> None:
        """Tells it nothing any more."""
        self._subjects.pop(subscription, None)
        heard = self._heard.pop(subscription, None)
        if heard is not None and self._client is not None:
            self._spawn(self._unhook(heard))

    def hears(self, subscription: NatsSubscription) -> bool:
        """Whether what is published now will arrive."""
        return self._client is not None and subscription in self._heard

    async def _opened(self, client: NatsClient) -> None:
        self._heard.clear()
        for subscription, subject in list(self._subjects.items()):
            await self._hook(client, subscription, subject)
        await client.flush()

    def _up(self) -> None:
        for subscription in list(self._heard):
            subscription.listening()
        # those that were made while the connection was
        for subscription, subject in self._subjects.items():
            if subscription not in self._heard and self._client is not None:
                self._spawn(self._hook_later(self._client, subscription, subject))

    def _down(self, why: str) -> None:
        self._heard.clear()

    async def _hook(self, client: NatsClient, subscription: NatsSubscription, subject: str) -> None:
        async def heard(message: Msg) -> None:
            if subscription in self._subjects:
                subscription.heard(message.data)

        self._heard[subscription] = await client.subscribe(
            subject,
            cb=heard,
            pending_msgs_limit=self._bounds.queue_messages,
            pending_bytes_limit=self._bounds.queue_bytes,
        )

    async def _hook_later(self, client: NatsClient, subscription: NatsSubscription, subject: str) -> None:
        with suppress(nats_errors.Error, OSError, TimeoutError):
            await self._hook(client, subscription, subject)
            await client.flush()
            subscription.listening()

    async def _unhook(self, heard: NatsSubject) -> None:
        with suppress(nats_errors.Error, OSError):
            await heard.unsubscribe()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self) -> None:
        while True:
            subject, data = await self._outbox.get()
            client = self._client
            try:
                if client is None:
                    raise nats_errors.ConnectionClosedError
                await client.publish(subject, data)
            except (nats_errors.Error, OSError):
                self.unsent_total += 1
