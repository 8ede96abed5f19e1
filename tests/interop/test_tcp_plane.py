"""The TCP request plane against a real worker: Dynamo's mocker, found by file discovery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson
import pytest

from dynamo_fe.planes.request.options import TcpPlaneOptions
from dynamo_fe.planes.request.tcp import TcpRequestPlane
from dynamo_fe.protocol.instance import Instance, parse_instance
from dynamo_fe.protocol.worker import decode_envelope, decode_usage
from tests.support.fake_worker import Sink
from tests.support.peer import Mocker
from tests.support.stores import FileStore


@pytest.fixture
def instance(file_store: FileStore, tiny_model_dir: Path, tmp_path: Path) -> Iterator[Instance]:
    mocker = Mocker(file_store, tiny_model_dir, log=tmp_path / "mocker.log", speedup_ratio=20.0)
    try:
        mocker.wait_ready()
        yield find_instance(file_store)
    finally:
        mocker.stop()


def find_instance(store: FileStore) -> Instance:
    key = next(key for key in store.keys() if key.startswith("v1/instances/") and "/generate/" in key)
    name = key.removeprefix("v1/instances/")
    files = (store.directory / "v1" / "instances").iterdir()
    record = next(path for path in files if path.name.endswith(name.rpartition("/")[2]) and "generate" in path.name)
    return parse_instance(key, record.read_bytes())


def request_body(max_tokens: int, codec: str) -> bytes:
    body = {
        "model": "mock",
        "token_ids": [1, 2, 3, 4, 5],
        "stop_conditions": {"max_tokens": max_tokens, "ignore_eos": True},
        "sampling_options": {},
        "output_options": {},
        "eos_token_ids": [],
        "annotations": [],
    }
    return msgspec.msgpack.encode(body) if codec == "msgpack" else orjson.dumps(body)


async def test_a_real_worker_answers_to_the_end(instance: Instance) -> None:
    plane = TcpRequestPlane(TcpPlaneOptions())
    await plane.start()
    try:
        for _ in range(3):
            sink = Sink()
            body = request_body(7, "msgpack")
            await plane.dispatch(instance, "11111111-1111-4111-8111-111111111111", body, None, sink)
            assert await sink.end() is None
            assert len(sink.tokens) == 7
            assert sink.items[-1].finish_reason == "length"
            usage = sink.items[-1].usage
            assert usage is not None and decode_usage(usage).total_tokens == 12

        as_json = msgspec.structs.replace(instance, codec="json")
        sink = Sink()
        await plane.dispatch(as_json, "22222222-2222-4222-8222-222222222222", request_body(3, "json"), None, sink)
        assert await sink.end() is None
        steps = [decode_envelope(item.raw or b"", "json").data for item in sink.items]
        assert sum(len(step.token_ids) for step in steps if step is not None) == 3

        sink = Sink()
        await plane.dispatch(instance, "free-text", request_body(100_000, "msgpack"), {"tenant": "acme"}, sink)
        await sink.wait_items(2)
        removed = msgspec.structs.replace(instance, path="0/no/such/endpoint")
        refused = Sink()
        await plane.dispatch(removed, "33333333-3333-4333-8333-333333333333", request_body(1, "msgpack"), None, refused)
        assert (await refused.failure()).reason == "backend.worker_unavailable"
        assert plane.stats()["request_connections"] == 1
    finally:
        await plane.close()
    assert (await sink.failure()).status == 503
