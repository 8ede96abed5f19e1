"""What routers tell of running requests, heard by a third: the real frontend's and ours the same for equal requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
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
from tests.support.pictures import PICTURE_MARK, QWEN, data_url, make_vision_model, png, shown, text

KV = ("--router-mode", "kv", "--router-replica-sync", "--no-router-kv-events")
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
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


def verbs(events: list[SequenceEvent]) -> list[str]:
    return ["AddRequest" if isinstance(event.data, Booking) else event.data for event in events]


async def told(
    frontend: Frontend,
    heard: Callable[[], list[SequenceEvent]],
    fields: dict[str, Any],
    contents: Sequence[str | list[dict[str, Any]]] = PROMPTS,
) -> list[SequenceEvent]:
    """What this frontend says of the messages one after the other. The original may say the end of a short answer
    before it says that the prompt is done.
    """
    before = len(heard())
    for prompt in contents:
        done = len(heard())
        messages = [{"role": "user", "content": prompt}]
        status, answer = await asyncio.to_thread(
            chat, frontend.url, "mock", messages=messages, max_tokens=3, nvext=fields or None
        )
        assert status == 200, answer
        await asyncio.to_thread(
            until, lambda done=done: any(event.data == "Free" for event in heard()[done:]), "its end"
        )
    return [event for event in heard()[before:] if event.worker.worker_id != event.router_id]


@pytest.mark.parametrize("cluster", ["zmq"], indirect=True)
async def test_pictures_of_a_model_without_a_processor_are_hashed_as_their_tokens(cluster: Cluster) -> None:
    worker = cluster.scripted_worker("mock", endpoint="dyn://dynamo.backend.generate")
    worker.say([{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}])
    frontends = cluster.real_frontend("mock", arguments=KV), cluster.frontend("mock", arguments=KV)
    addresses = (shown(PNG), shown("http://example.com/a.png"), shown("http://example.com/a.png", uuid="a cat"))
    pictures = [[text(PROMPTS[1]), picture, text(PROMPTS[0])] for picture in addresses]
    async with listening(cluster, publishers=2) as heard:
        theirs, own = [await told(frontend, heard, {}, pictures) for frontend in frontends]
    assert added(own) == added(theirs)
    sent = [entry["request"] for entry in worker.requests()]
    assert sent[: len(pictures)] == sent[len(pictures) :]
    assert all("multi_modal_data" in request for request in sent)


@pytest.mark.parametrize("cluster", ["zmq"], indirect=True)
async def test_pictures_of_a_model_with_a_processor_are_hashed_as_what_they_become(cluster: Cluster) -> None:
    config = {"model_type": "qwen2_vl", "image_token_id": PICTURE_MARK}
    directory = make_vision_model(cluster.home / "vision", config, QWEN)
    worker = cluster.scripted_worker("mock", directory, endpoint="dyn://dynamo.backend.generate")
    worker.say([{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}])
    frontends = cluster.real_frontend("mock", arguments=KV), cluster.frontend("mock", arguments=KV)
    first, second = (shown(data_url(png(*size))) for size in ((280, 140), (140, 280)))
    asked = ([text(PROMPTS[0]), first], [first, text(PROMPTS[0]), second], [second, text("short")])
    async with listening(cluster, publishers=2) as heard:
        theirs, own = [await told(frontend, heard, {}, asked) for frontend in frontends]
    assert added(own) == added(theirs)
    lengths = [len(entry["request"]["mm_routing_info"]["routing_token_ids"]) for entry in worker.requests()]
    assert [len(request.token_sequence) * 16 for request in added(own)] * 2 == lengths


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
            assert added(own) == added(theirs), name
            assert all(request.token_sequence for request in added(own))
            assert verbs(own) == ["AddRequest", "MarkPrefillCompleted", "Free"] * len(PROMPTS)
        # the worker says itself whose prompts are done, to whoever sent them
        wanted = {event.request_id for event in heard() if isinstance(event.data, Booking)}
        assert len(wanted) == 2 * len(ADAPTED) * len(PROMPTS)

        def by_worker() -> set[str]:
            own = [event for event in heard() if event.worker.worker_id == event.router_id]
            return {event.request_id for event in own if event.data == "MarkPrefillCompleted"}

        await asyncio.to_thread(until, lambda: by_worker() == wanted, "the worker's own word")
