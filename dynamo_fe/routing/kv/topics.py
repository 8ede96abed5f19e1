"""What KV routing says and hears on the event plane: running requests, sessions, the workers' own load."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from dynamo_fe.planes.event.base import EventPlane, EventPublisher, Subscription
from dynamo_fe.protocol.event_records import Scope, endpoint_scope
from dynamo_fe.protocol.events import (
    ACTIVE_SEQUENCES,
    KV_METRICS,
    SESSION_AFFINITY,
    AffinityEvent,
    MalformedEvent,
    SequenceEvent,
    decode_affinity,
    decode_kv_metrics,
    decode_sequences,
    encode,
    encode_sequences,
)
from dynamo_fe.routing.kv.pools import PoolKey
from dynamo_fe.routing.kv.router import KvRouter, Peers

_log = logging.getLogger("dynamo_fe.routing")

# as the original: a batch is sent when it is full or a millisecond old
_MOST_EVENTS: Final = 256
_BATCH_SECS: Final = 0.001


# by whom and what
Take = Callable[[int, bytes], None]


class _Heard:
    """A sink that hands payloads on and counts those that cannot be read."""

    def __init__(self, topic: str, take: Take, left: Callable[[int], None] | None = None) -> None:
        self._topic = topic
        self._take = take
        self._left = left

    def on_event(self, publisher_id: int, payload: bytes) -> None:
        try:
            self._take(publisher_id, payload)
        except MalformedEvent as error:
            _log.debug("a message of topic %s by %x cannot be read: %s", self._topic, publisher_id, error)

    def on_joined(self, publisher_id: int) -> None:
        """Nothing is asked for: a new router starts with no load knowledge."""

    def on_left(self, publisher_id: int) -> None:
        if self._left is not None:
            self._left(publisher_id)


class _Place:
    """One pool's topics."""

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self.publishers: dict[str, EventPublisher] = {}
        self.task: asyncio.Task[None] | None = None
        self.batch: list[SequenceEvent] = []
        self.timer: asyncio.TimerHandle | None = None


class KvTopics:
    """Follows the pools of a router on a plane. Belongs to one event loop."""

    def __init__(self, plane: EventPlane, router: KvRouter) -> None:
        self._plane = plane
        self._router = router
        self._places: dict[PoolKey, _Place] = {}
        self._closing: set[asyncio.Task[None]] = set()
        router.peers = Peers(self._sequence, self._affinity)
        router.on_pool = self._on_pool
        router.thresholds.on_change = self._follow_metrics
        for key, _ in router.pools():
            self._enter(key)

    async def close(self) -> None:
        """Hears and says nothing any more. The plane closes what is open on it."""
        for key in list(self._places):
            self._leave(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _on_pool(self, key: PoolKey, there: bool) -> None:
        if there:
            self._enter(key)
        else:
            self._leave(key)

    def _enter(self, key: PoolKey) -> None:
        place = self._places[key] = _Place()
        router, plane = self._router, self._plane
        scope = endpoint_scope(key.namespace, key.component, key.endpoint)

        def on_sequences(publisher_id: int, payload: bytes) -> None:
            for event in decode_sequences(payload, plane.transport):
                router.hear_sequence(key, event, publisher_id)

        def on_left(publisher_id: int) -> None:
            router.publisher_left(key, publisher_id)

        sink = _Heard(ACTIVE_SEQUENCES, on_sequences, on_left)
        place.subscriptions.append(plane.subscribe(scope, ACTIVE_SEQUENCES, sink))
        said = [ACTIVE_SEQUENCES] if router.rules.replica_sync else []
        if router.rules.affinity_ttl_secs is not None:

            def on_affinity(_: int, payload: bytes) -> None:
                router.hear_affinity(key, decode_affinity(payload))

            heard = _Heard(SESSION_AFFINITY, on_affinity)
            place.subscriptions.append(plane.subscribe(scope, SESSION_AFFINITY, heard))
            said.append(SESSION_AFFINITY)
        self._follow_metrics()
        if said:
            place.task = asyncio.get_running_loop().create_task(self._publish_on(place, scope, said))

    def _follow_metrics(self) -> None:
        """Workers tell their load with every step, which costs a percent or two of a stream: heard only where a
        threshold looks at it.
        """
        if not self._router.thresholds.looks_at_blocks:
            return
        for key, place in self._places.items():
            if any(subscription.topic == KV_METRICS for subscription in place.subscriptions):
                continue
            scope = endpoint_scope(key.namespace, key.component, key.endpoint)

            def take(_: int, payload: bytes, key: PoolKey = key) -> None:
                self._router.hear_metrics(key, decode_kv_metrics(payload))

            place.subscriptions.append(self._plane.subscribe(scope, KV_METRICS, _Heard(KV_METRICS, take)))

    def _leave(self, key: PoolKey) -> None:
        place = self._places.pop(key, None)
        if place is None:
            return
        for subscription in place.subscriptions:
            subscription.close()
        if place.timer is not None:
            place.timer.cancel()
        if place.task is not None:
            place.task.cancel()
        for publisher in place.publishers.values():
            task = asyncio.get_running_loop().create_task(publisher.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _publish_on(self, place: _Place, scope: Scope, topics: list[str]) -> None:
        for topic in topics:
            try:
                place.publishers[topic] = await self._plane.publisher(scope, topic)
            except OSError as error:
                _log.error("topic %s cannot be published: %s", topic, error)

    def _sequence(self, key: PoolKey, event: SequenceEvent) -> None:
        place = self._places.get(key)
        if place is None or ACTIVE_SEQUENCES not in place.publishers:
            return
        place.batch.append(event)
        if len(place.batch) >= _MOST_EVENTS:
            self._flush(place)
        elif place.timer is None:
            place.timer = asyncio.get_running_loop().call_later(_BATCH_SECS, self._flush, place)

    def _flush(self, place: _Place) -> None:
        if place.timer is not None:
            place.timer.cancel()
            place.timer = None
        batch, place.batch = place.batch, []
        publisher = place.publishers.get(ACTIVE_SEQUENCES)
        if publisher is not None:
            for payload in encode_sequences(batch, self._plane.transport):
                publisher.publish(payload)

    def _affinity(self, key: PoolKey, event: AffinityEvent) -> None:
        place = self._places.get(key)
        publisher = place.publishers.get(SESSION_AFFINITY) if place is not None else None
        if publisher is not None:
            publisher.publish(encode(event))
