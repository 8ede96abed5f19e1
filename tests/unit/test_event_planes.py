"""The verbs of the event planes, the same on ZMQ and on a real NATS server: channels, order, who is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from dynamo_fe.discovery.mem import MemDiscovery, MemStore
from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.base import EventPlane, EventPublisher
from dynamo_fe.planes.event.factory import make_event_plane
from dynamo_fe.planes.event.options import NatsEventOptions, ZmqEventOptions
from dynamo_fe.planes.event.zmq import ZmqPublisher
from dynamo_fe.protocol.event_records import (
    CHANNELS_PREFIX,
    Scope,
    ZmqConfig,
    ZmqTransport,
    endpoint_scope,
    parse_channel,
    publisher_key,
    topic_key,
)
from tests.support.cut_proxy import CutProxy
from tests.support.hearing import Hearing
from tests.support.nats_server import NatsServer

SCOPE = endpoint_scope("ns.1", "back-end", "generate")
TOPIC = "kv-events"


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["zmq", "nats"])
def options(request: pytest.FixtureRequest) -> ZmqEventOptions | NatsEventOptions:
    if request.param == "zmq":
        return ZmqEventOptions(listen_host="127.0.0.1")
    return NatsEventOptions(servers=(request.getfixturevalue("nats").url,))


@asynccontextmanager
async def plane_on(store: MemStore, options: ZmqEventOptions | NatsEventOptions) -> AsyncIterator[EventPlane]:
    discovery = MemDiscovery(store)
    await discovery.start()
    plane = make_event_plane(options, Records(discovery))
    await plane.start()
    try:
        yield plane
    finally:
        await plane.close()
        await discovery.close()


async def publish_until_heard(publisher: EventPublisher, hearing: Hearing) -> None:
    """A publisher does not know when its own connection stands; whoever listens does."""
    while (publisher.publisher_id, b"hello") not in hearing.payloads:
        publisher.publish(b"hello")
        await asyncio.sleep(0.01)


async def test_what_one_process_publishes_another_hears_in_order(options: ZmqEventOptions | NatsEventOptions) -> None:
    store, hearing = MemStore(), Hearing()
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        subscription = frontend.subscribe(SCOPE, TOPIC, hearing)
        publisher = await worker.publisher(SCOPE, TOPIC)
        await hearing.until(lambda: hearing.joined == [publisher.publisher_id])
        await publish_until_heard(publisher, hearing)
        for number in range(1000):
            publisher.publish(b"%d" % number)
        await hearing.until(lambda: (publisher.publisher_id, b"999") in hearing.payloads)
        numbers = [payload for _, payload in hearing.payloads if payload != b"hello"]
        assert numbers == [b"%d" % number for number in range(1000)]
        assert subscription.missed_total == subscription.refused_total == 0
        assert frontend.stats()["events_received"] == len(hearing.payloads)
        await publisher.close()
        await hearing.until(lambda: hearing.left == [publisher.publisher_id])
        assert frontend.stats()["event_publishers"] == 0


async def test_the_channel_stands_in_discovery_while_it_is_open(options: ZmqEventOptions | NatsEventOptions) -> None:
    store = MemStore()
    async with plane_on(store, options) as worker:
        publisher = await worker.publisher(SCOPE, TOPIC)
        key = publisher_key(CHANNELS_PREFIX, SCOPE, TOPIC, publisher.publisher_id)
        place = "namespace/ns%2E1/component/back-end/endpoint/generate"
        assert key == f"v1/event_channels/{place}/topic/kv-events/{publisher.publisher_id:x}"
        record = msgspec.json.decode(store.get(key) or b"null")
        assert record["instance_id"] == publisher.publisher_id
        config = record["transport"]["config"]
        if worker.transport == "zmq":
            assert config["endpoint"].startswith("tcp://127.0.0.1:")
        else:
            assert config == {"subject_prefix": "namespace.ns.1.component.back-end.endpoint.generate"}
        await publisher.close()
        assert store.get(key) is None


async def test_other_topics_scopes_and_ones_own_are_not_heard(options: ZmqEventOptions | NatsEventOptions) -> None:
    store, hearing = MemStore(), Hearing()
    other: Scope = endpoint_scope("ns.1", "other", "generate")
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        frontend.subscribe(SCOPE, TOPIC, hearing)
        silent = [
            await worker.publisher(SCOPE, f"{TOPIC}-more"),
            await worker.publisher(other, TOPIC),
            await frontend.publisher(SCOPE, TOPIC),
        ]
        publisher = await worker.publisher(SCOPE, TOPIC)
        await hearing.until(lambda: publisher.publisher_id in hearing.joined)
        for each in silent:
            each.publish(b"not for you")
        await publish_until_heard(publisher, hearing)
        assert {sender for sender, _ in hearing.payloads} == {publisher.publisher_id}


async def test_a_publisher_that_is_not_in_discovery_is_refused(options: ZmqEventOptions | NatsEventOptions) -> None:
    store, hearing = MemStore(), Hearing()
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        subscription = frontend.subscribe(SCOPE, TOPIC, hearing)
        publisher = await worker.publisher(SCOPE, TOPIC)
        await publish_until_heard(publisher, hearing)
        real_id = publisher.publisher_id
        publisher.publisher_id = real_id ^ 2
        publisher.publish(b"whose?")
        publisher.publisher_id = real_id
        publisher.publish(b"mine")
        await hearing.until(lambda: (real_id, b"mine") in hearing.payloads)
        assert all(payload != b"whose?" for _, payload in hearing.payloads)
        assert (subscription.refused_total, subscription.missed_total) == (1, 1)


async def test_messages_of_other_counts_of_frames_are_refused_and_hide_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, hearing = MemStore(), Hearing()
    options = ZmqEventOptions(listen_host="127.0.0.1")
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        subscription = frontend.subscribe(SCOPE, TOPIC, hearing)
        publisher = await worker.publisher(SCOPE, TOPIC)
        assert isinstance(publisher, ZmqPublisher)
        await publish_until_heard(publisher, hearing)
        for count in (1, 3, 5):
            publisher.send_frames([TOPIC.encode(), *[b"12345678"] * (count - 1)])
            publisher.publish(b"after %d" % count)
        await hearing.until(lambda: (publisher.publisher_id, b"after 5") in hearing.payloads)
        assert {b"after 1", b"after 3"} < {payload for _, payload in hearing.payloads}
        assert (subscription.refused_total, subscription.missed_total) == (3, 0)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith(f"an event of topic {TOPIC} cannot be read")


async def test_who_cannot_wait_takes_what_has_come() -> None:
    store, hearing = MemStore(), Hearing()
    options = ZmqEventOptions(listen_host="127.0.0.1", gather_secs=3600.0)
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        subscription = frontend.subscribe(SCOPE, TOPIC, hearing)
        publisher = await worker.publisher(SCOPE, TOPIC)
        await publish_until_heard(publisher, hearing)
        for number in range(3):
            publisher.publish(b"number %d" % number)
            async with asyncio.timeout(10):
                while (publisher.publisher_id, b"number %d" % number) not in hearing.payloads:
                    await asyncio.sleep(0)
                    subscription.take_now()


async def test_a_record_that_cannot_be_used_hides_no_other(options: ZmqEventOptions | NatsEventOptions) -> None:
    store, hearing = MemStore(), Hearing()
    prefix = topic_key(CHANNELS_PREFIX, SCOPE, TOPIC)
    for number, record in enumerate((b"{}", b"no JSON", b'{"type":"EventChannel","scope":{"kind":"moon"}}')):
        store.put(f"{prefix}{number:x}", record)
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        frontend.subscribe(SCOPE, TOPIC, hearing)
        publisher = await worker.publisher(SCOPE, TOPIC)
        await hearing.until(lambda: hearing.joined == [publisher.publisher_id])


async def test_it_joins_again_after_the_connection_broke() -> None:
    store, hearing = MemStore(), Hearing()
    options = ZmqEventOptions(listen_host="127.0.0.1")
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        publisher = await worker.publisher(SCOPE, TOPIC)
        key = publisher_key(CHANNELS_PREFIX, SCOPE, TOPIC, publisher.publisher_id)
        channel = parse_channel(key, store.get(key) or b"")
        assert isinstance(channel.transport, ZmqTransport)
        proxy = CutProxy(int(channel.transport.config.endpoint.rpartition(":")[2]))
        await proxy.open()
        there = ZmqTransport(ZmqConfig(f"tcp://127.0.0.1:{proxy.port}"))
        store.put(key, msgspec.json.encode(msgspec.structs.replace(channel, transport=there)))
        frontend.subscribe(SCOPE, TOPIC, hearing)
        await publish_until_heard(publisher, hearing)
        await proxy.cut()
        publisher.publish(b"to nobody")
        hearing.payloads.clear()
        await proxy.open()
        await hearing.until(lambda: hearing.joined == [publisher.publisher_id] * 2)
        await publish_until_heard(publisher, hearing)
        assert (publisher.publisher_id, b"to nobody") not in hearing.payloads
        await proxy.cut()


async def test_it_joins_again_after_the_nats_server_came_back(tmp_path: Path) -> None:
    store, hearing, server = MemStore(), Hearing(), NatsServer(tmp_path)
    server.start()
    options = NatsEventOptions(servers=(server.url,))
    async with plane_on(store, options) as worker, plane_on(store, options) as frontend:
        frontend.subscribe(SCOPE, TOPIC, hearing)
        publisher = await worker.publisher(SCOPE, TOPIC)
        await publish_until_heard(publisher, hearing)
        server.kill()
        await asyncio.to_thread(server.start)
        hearing.payloads.clear()
        await hearing.until(lambda: hearing.joined == [publisher.publisher_id] * 2)
        await publish_until_heard(publisher, hearing)
    server.stop()
