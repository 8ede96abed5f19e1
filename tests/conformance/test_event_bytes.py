"""The captures of `fixtures/kv`, made by real 1.6.1 processes: every event and record read, and made again byte for
byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamo_fe.planes.event.wire import nats_data, read_nats, read_zmq, zmq_frames
from dynamo_fe.planes.request import worker_side
from dynamo_fe.protocol import events, kv_recovery
from dynamo_fe.protocol.event_records import (
    parse_channel,
    parse_source,
    recovery_instance,
    subject_prefix,
)

KV = Path(__file__).parent.parent / "fixtures" / "kv"
ROUTED = {events.KV_EVENTS, events.KV_METRICS, events.ACTIVE_SEQUENCES, events.SESSION_AFFINITY}


def load(name: str) -> Any:
    return json.loads((KV / f"{name}.json").read_text())


def plain(value: Any) -> Any:
    """As the captures tell it: big integers are strings there in some places and numbers in others."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value


def payload_and_again(topic: str, payload: bytes, transport: events.EventTransport) -> tuple[Any, list[bytes]]:
    """What a payload says, and the payloads that say it again."""
    if topic == events.KV_EVENTS:
        found, unreadable = events.decode_router_events(payload)
        assert unreadable == 0
        for event in found:
            data = event.event.data
            if isinstance(data, events.Change) and data.stored is not None:
                data.stored.blocks = events.pack_blocks(events.read_blocks(data.stored))
        again = events.encode(found)
        return msgspec.msgpack.decode(again), [again]
    if topic == events.ACTIVE_SEQUENCES:
        sequences = events.decode_sequences(payload, transport)
        said = msgspec.to_builtins(sequences)
        return {"events": said} if transport == "zmq" else said[0], events.encode_sequences(sequences, transport)
    if topic == events.KV_METRICS:
        metrics = events.decode_kv_metrics(payload)
        return msgspec.to_builtins(metrics), [events.encode(metrics)]
    affinity = events.decode_affinity(payload)
    return msgspec.to_builtins(affinity), [events.encode(affinity)]


@pytest.mark.parametrize("message", load("events_zmq")["messages"], ids=lambda message: message["kind"])
def test_zmq_messages(message: dict[str, Any]) -> None:
    frames = [bytes.fromhex(frame) for frame in message["frames_hex"]]
    envelope = read_zmq(frames)
    told = plain(message["decoded"])
    assert [envelope.publisher_id, envelope.sequence, envelope.published_at, envelope.topic] == [
        told[name] for name in ("publisher_id", "sequence", "published_at", "topic")
    ]
    assert zmq_frames(envelope) == frames
    if envelope.topic in ROUTED:
        said, again = payload_and_again(envelope.topic, envelope.payload, "zmq")
        assert plain(said) == told["payload"]
        assert again == [envelope.payload]


@pytest.mark.parametrize("message", load("events_nats")["messages"], ids=lambda message: message["kind"])
def test_nats_messages(message: dict[str, Any]) -> None:
    data = bytes.fromhex(message["data_hex"])
    envelope = read_nats(data)
    assert nats_data(envelope) == data
    assert message["subject"].endswith(f".{envelope.topic}")
    if envelope.topic in ROUTED:
        said, again = payload_and_again(envelope.topic, envelope.payload, "nats")
        assert plain(said) == plain(message["decoded"])["payload"]
        assert again == [envelope.payload]


def test_the_query_of_a_real_frontend() -> None:
    captured = load("worker_kv_query")
    body = bytes.fromhex(captured["frontend_request_hex"])
    query = kv_recovery.decode_query(body)
    assert plain(msgspec.to_builtins(query)) == plain(captured["frontend_request"])
    assert msgspec.msgpack.encode(query) == body


@pytest.mark.parametrize("call", load("worker_kv_query")["calls"], ids=lambda call: call["response_variant"])
def test_the_answers_of_a_real_worker(call: dict[str, Any]) -> None:
    query = kv_recovery.decode_query(bytes.fromhex(call["request_body_hex"]))
    assert query.worker_id == int(call["request"]["worker_id"])
    frame = bytes.fromhex(call["response_frame_hex"])
    value = msgspec.msgpack.decode(frame[24:], type=dict[str, msgspec.Raw])["data"]
    answer, unreadable = kv_recovery.decode_answer(bytes(value))
    assert unreadable == 0
    assert {"Failure": "Error"}.get(type(answer).__name__, type(answer).__name__) == call["response_variant"]
    assert worker_side.bare_item(kv_recovery.answer_value(answer), "msgpack") == frame


def test_channels_and_sources_in_discovery() -> None:
    channels = sources = 0
    for entry in load("discovery_and_metrics")["etcd"]:
        key, value = entry["key"], json.dumps(entry["value"], separators=(",", ":")).encode()
        if "/event_channels/" in key:
            channels += 1
            channel = parse_channel(key, value)
            assert channel.plane == "zmq"
            assert subject_prefix(channel.scope) == "namespace.kvspec.component.backend.endpoint.generate"
            assert msgspec.json.encode(channel) == value
        elif "/event_sources/" in key:
            sources += 1
            source = parse_source(key, value)
            assert msgspec.json.encode(source) == value
            target = recovery_instance(source)
            assert target.instance_id == source.metadata.worker.worker_id
            assert target.endpoint == kv_recovery.query_endpoint(source.publisher_id)
    assert channels == 10 and sources == 4
