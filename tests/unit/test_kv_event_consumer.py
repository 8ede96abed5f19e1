"""The consumer of KV events: sources that come and go, share a rank, cannot be used or do not answer at first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.discovery.mem import MemDiscovery, MemStore
from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.base import EventPlane
from dynamo_fe.planes.event.factory import make_event_plane
from dynamo_fe.planes.event.options import ZmqEventOptions
from dynamo_fe.planes.request.base import StreamSink
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.event_records import (
    SOURCES_PREFIX,
    EventSource,
    SourceMetadata,
    SourceWorker,
    endpoint_scope,
    publisher_key,
)
from dynamo_fe.protocol.events import KV_EVENTS
from dynamo_fe.protocol.instance import Instance
from dynamo_fe.protocol.kv_recovery import decode_query, query_endpoint
from dynamo_fe.routing.kv_events.consumer import KvEventConsumer
from dynamo_fe.routing.kv_events.tally import TALLY_BYTES, Tally
from tests.support.kv_follower import PlainIndex

WORKER = 0xAB
PATIENCE_SECS = 30.0


class Handle:
    def cancel(self) -> None:
        """Nothing runs."""

    def pause(self) -> None:
        """Nothing runs."""

    def resume(self) -> None:
        """Nothing runs."""


def stored(event_id: int, rank: int, *hashes: int) -> dict[str, Any]:
    """A router event; each block hash is its tokens' hash as well."""
    blocks = [{"block_hash": each, "tokens_hash": each} for each in hashes]
    data = {"stored": {"parent_hash": None, "start_position": None, "blocks": blocks}}
    return {"worker_id": WORKER, "event": {"event_id": event_id, "data": data, "dp_rank": rank}}


class Workers:
    """A request plane whose workers hold `holding[publisher]`, or fail so many times first; what is `missed` was stored
    by an event 2 that nobody heard.
    """

    def __init__(self) -> None:
        self.holding: dict[int, list[int]] = {}
        self.failures: dict[int, int] = {}
        self.missed: dict[int, int] = {}
        self.asked: list[tuple[int, int | None]] = []

    async def dispatch(
        self, instance: Instance, request_id: str, body: bytes, metadata: Any, sink: StreamSink, trace: Any = None
    ) -> Handle:
        publisher = int(instance.endpoint.rpartition("_")[2], 16)
        query = decode_query(body)
        self.asked.append((publisher, query.start_event_id))
        if self.failures.get(publisher, 0):
            self.failures[publisher] -= 1
            raise RequestError.cannot_connect("nobody there yet")
        event = stored(1, query.dp_rank, *self.holding[publisher])
        answer: Any = {"TreeDump": {"events": [event], "last_event_id": 1}}
        if query.start_event_id == 2 and publisher in self.missed:
            answer = {"Events": {"events": [stored(2, query.dp_rank, self.missed[publisher])], "last_event_id": 2}}
        elif query.start_event_id is not None:
            answer = {"TooNew": {"requested_start": 2, "requested_end": 1, "newest_available": 1}}
        sink.on_items([OutputItem([], raw=msgspec.msgpack.encode(answer))])
        sink.on_end(None)
        return Handle()


class Bench:
    def __init__(self, plane: EventPlane, consumer: KvEventConsumer, store: MemStore) -> None:
        self.plane = plane
        self.consumer = consumer
        self.store = store
        self.index = PlainIndex()
        self.workers = Workers()
        self.tally = Tally(bytearray(TALLY_BYTES))

    def appear(self, publisher: int, *blocks: int, rank: int = 0, namespace: str = "ns") -> str:
        """A source whose worker holds these blocks; its key."""
        self.workers.holding[publisher] = list(blocks)
        scope = endpoint_scope(namespace, "backend", "generate")
        endpoint = query_endpoint(publisher)
        target = {
            "component": "backend", "endpoint": endpoint, "namespace": namespace, "instance_id": WORKER,
            "transport": {"tcp": f"127.0.0.1:9/{WORKER:x}/x"}, "request_plane_codec": "msgpack",
        }  # fmt: skip
        metadata = SourceMetadata(scope.endpoint, SourceWorker(WORKER, rank), publisher, target)
        key = publisher_key(SOURCES_PREFIX, scope, KV_EVENTS, publisher)
        self.store.put(key, msgspec.json.encode(EventSource(scope, KV_EVENTS, publisher, metadata)))
        return key

    def say(self, publisher: int, event_id: int, block: int, rank: int = 0) -> None:
        self.consumer.on_event(publisher, msgspec.msgpack.encode([stored(event_id, rank, block)]))

    def held(self, rank: int = 0) -> set[int]:
        return {block for _, block in self.index.held().get((WORKER, rank), set())}

    async def until_held(self, *blocks: int, rank: int = 0) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECS):
                while self.held(rank) != set(blocks):
                    self.index.changed.clear()
                    await self.index.changed.wait()
        except TimeoutError:
            raise AssertionError(f"rank {rank} holds {self.held(rank)}, not {set(blocks)}") from None


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    store = MemStore()
    discovery = MemDiscovery(store)
    records = Records(discovery)
    plane = make_event_plane(ZmqEventOptions(listen_host="127.0.0.1"), records)
    await plane.start()
    table = Bench(plane, None, store)  # type: ignore[arg-type]
    requests: Any = table.workers
    table.consumer = KvEventConsumer(
        plane, requests, records, table.index, table.tally, accepts=lambda namespace: namespace != "other"
    )
    try:
        yield table
    finally:
        table.consumer.close()
        await plane.close()
        await discovery.close()


async def test_a_source_is_dumped_followed_and_forgotten() -> None:
    async with bench() as table:
        key = table.appear(1, 10, 11)
        await table.until_held(10, 11)
        table.say(1, 2, 12)
        assert table.held() == {10, 11, 12}
        table.consumer.on_joined(1)
        table.store.delete(key)
        await table.until_held()
        table.say(1, 3, 13)
        assert table.held() == set()
        assert table.tally.values()["sources"] == 0
        assert table.plane.stats()["event_publishers"] == 0


async def test_a_source_that_is_told_again_keeps_what_is_known() -> None:
    async with bench() as table:
        table.appear(1, 10)
        await table.until_held(10)
        table.say(1, 2, 11)
        dumps = table.tally.values()["dumps"]
        table.appear(1, 10)
        table.appear(2, 20, rank=1)
        await table.until_held(20, rank=1)
        assert table.held() == {10, 11}
        assert table.tally.values()["dumps"] == dumps + 1, "only the new one's"


async def test_when_the_later_publisher_of_a_rank_goes_the_earlier_is_asked_again() -> None:
    async with bench() as table:
        first = table.appear(1, 10)
        await table.until_held(10)
        rival = table.appear(2, 20)
        await table.until_held(20)
        table.store.delete(rival)
        await table.until_held(10)
        table.say(1, 2, 11)
        assert table.held() == {10, 11}
        table.store.delete(first)
        await table.until_held()
        assert table.plane.stats()["event_publishers"] == 0


async def test_of_two_publishers_for_a_rank_the_later_speaks() -> None:
    async with bench() as table:
        old = table.appear(1, 10)
        await table.until_held(10)
        table.appear(2, 20)
        await table.until_held(20)
        table.say(1, 2, 99)
        table.store.delete(old)
        table.appear(3, 30, rank=1)
        await table.until_held(30, rank=1)
        assert table.held() == {20}, "the older one's end is not the rank's"
        table.say(2, 2, 21)
        assert table.held() == {20, 21}


async def test_what_cannot_be_used_or_is_not_ours_hides_no_other() -> None:
    async with bench() as table:
        table.store.put(f"{SOURCES_PREFIX}namespace/ns/component/x/endpoint/y/topic/kv-events/1", b"no JSON")
        table.store.put(f"{SOURCES_PREFIX}namespace/ns/component/x/endpoint/y/topic/kv-events/2", b"{}")
        table.appear(3, 30, namespace="other")
        table.appear(4, 40, rank=1)
        await table.until_held(40, rank=1)
        assert table.held() == set() and {publisher for publisher, _ in table.workers.asked} == {4}


async def test_a_publisher_that_cannot_be_read_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as table:
        table.appear(0x51, 10)
        table.appear(0x52, 20, rank=1)
        await table.until_held(10)
        await table.until_held(20, rank=1)
        for _ in range(3):
            table.consumer.on_event(0x51, b"no msgpack")
        named = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
        assert named == ["KV events of publisher 51 (worker ab rank 0) cannot be read; they are skipped and counted"]
        assert table.tally.values()["malformed"] == 3
        table.say(0x51, 2, 11)
        assert table.held() == {10, 11}


async def test_a_worker_that_does_not_answer_at_first_is_asked_again() -> None:
    async with bench() as table:
        table.workers.failures[1] = 2
        table.appear(1, 10)
        await table.until_held(10)
        table.say(1, 2, 11)
        assert table.held() == {10, 11}
        assert table.tally.values()["query_failures"] == 2


async def test_a_gap_is_asked_for_while_nothing_is_applied_twice() -> None:
    async with bench() as table:
        table.appear(1, 10)
        await table.until_held(10)
        asked = len(table.workers.asked)
        table.say(1, 4, 14)
        await table.until_held(10, 14)
        assert (1, 2) in table.workers.asked[asked:], "events from 2 on were missed"
        assert table.tally.values()["gaps_skipped"] == 1, "the worker knew of none"


async def test_what_a_publisher_says_before_it_notices_us_is_asked_for() -> None:
    async with bench() as table:
        table.appear(1, 10)
        await table.until_held(10)
        asked = len(table.workers.asked)
        table.consumer.on_joined(1)
        while len(table.workers.asked) == asked:
            await asyncio.sleep(0)
        table.workers.missed[1] = 11
        await table.until_held(10, 11)
