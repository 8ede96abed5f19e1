"""What routers tell of running requests, heard by a third: the real frontend's and ours the same for equal requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.config import load
from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.factory import open_event_plane
from dynamo_fe.protocol.event_records import endpoint_scope
from dynamo_fe.protocol.events import ACTIVE_SEQUENCES, AddRequest, Booking, SequenceEvent, decode_sequences
from tests.support.asking import chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.hearing import Hearing
from tests.support.nats_server import store_with_events

KV = ("--router-mode", "kv", "--router-replica-sync", "--no-router-kv-events")
PROMPTS = ("hello " * 60, "other words of another request " * 20)
ADAPTED: dict[str, dict[str, Any]] = {"plain": {}, "salted": {"cache_salt": "tenant"}}


@pytest.fixture(params=["zmq", "nats"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    with store_with_events(request.param, tmp_path) as store, Cluster(store, tmp_path) as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def listening(cluster: Cluster, publishers: int) -> AsyncIterator[Callable[[], list[SequenceEvent]]]:
    """Gives all that has been said on the topic since, once all these publishers are heard."""
    settings = load([], cluster.store.environment).settings
    discovery = open_discovery(settings)
    await discovery.start()
    plane = open_event_plane(settings, Records(discovery))
    await plane.start()
    hearing = Hearing()
    plane.subscribe(endpoint_scope("dynamo", "backend", "generate"), ACTIVE_SEQUENCES, hearing)
    await hearing.until(lambda: len(set(hearing.joined)) == publishers)

    def heard() -> list[SequenceEvent]:
        found = []
        for _, payload in hearing.payloads:
            found += decode_sequences(payload, plane.transport)
        return found

    try:
        yield heard
    finally:
        await plane.close()
        await discovery.close()


def added(events: list[SequenceEvent]) -> list[AddRequest]:
    return [event.data.AddRequest for event in events if isinstance(event.data, Booking)]


async def told(frontend: Frontend, heard: Callable[[], list[SequenceEvent]], fields: dict[str, Any]) -> list[Any]:
    """What this frontend says of the prompts one after the other: additions, and the verbs that follow."""
    before = len(heard())
    for prompt in PROMPTS:
        done = len(heard())
        messages = [{"role": "user", "content": prompt}]
        status, answer = await asyncio.to_thread(
            chat, frontend.url, "mock", messages=messages, max_tokens=3, nvext=fields or None
        )
        assert status == 200, answer
        await asyncio.to_thread(
            until, lambda done=done: any(event.data == "Free" for event in heard()[done:]), "its end"
        )
    events = [event for event in heard()[before:] if event.worker.worker_id != event.router_id]
    return [event.data for event in events]


@pytest.mark.parametrize("hash_name", ["public-xxh3-v1", "keyed-xxh3-v1"])
async def test_equal_requests_are_told_alike(cluster: Cluster, hash_name: str) -> None:
    arguments = [*KV, "--router-tracking-hash", hash_name]
    if hash_name.startswith("keyed"):
        key = cluster.home / "key"
        key.write_bytes(bytes(range(32)))
        arguments += ["--router-tracking-key-file", str(key), "--router-tracking-key-id", "key-1"]
    cluster.mocker(workers=1)
    real = cluster.real_frontend("mock", arguments=arguments)
    ours = cluster.frontend("mock", arguments=arguments)
    async with listening(cluster, publishers=3) as heard:
        for name, fields in ADAPTED.items():
            theirs, own = [await told(frontend, heard, fields) for frontend in (real, ours)]
            assert own == theirs, name
            assert all(request.token_sequence for request in added(heard())[-4:])
        # the worker says itself whose prompts are done, to whoever sent them
        wanted = {event.request_id for event in heard() if isinstance(event.data, Booking)}
        assert len(wanted) == 2 * len(ADAPTED) * len(PROMPTS)

        def by_worker() -> set[str]:
            own = [event for event in heard() if event.worker.worker_id == event.router_id]
            return {event.request_id for event in own if event.data == "MarkPrefillCompleted"}

        await asyncio.to_thread(until, lambda: by_worker() == wanted, "the worker's own word")
