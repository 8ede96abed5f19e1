"""Whatever comes by the event plane or lies in discovery, it is read or refused, and nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe.planes.event.wire import read_nats, read_zmq
from dynamo_fe.protocol import events, kv_recovery
from dynamo_fe.protocol.event_records import parse_channel, parse_source, recovery_instance
from dynamo_fe.protocol.instance import RecordError

KV = Path(__file__).parent.parent / "fixtures" / "kv"
FRAMES = [[bytes.fromhex(frame) for frame in message["frames_hex"]]
          for message in json.loads((KV / "events_zmq.json").read_text())["messages"]]  # fmt: skip
PAYLOADS = [read_zmq(frames).payload for frames in FRAMES]
ANSWERS = [bytes.fromhex(call["response_frame_hex"])[24 + len(b"\x82\xa4data") :]
           for call in json.loads((KV / "worker_kv_query.json").read_text())["calls"]]  # fmt: skip
RECORDS = {entry["key"]: json.dumps(entry["value"]).encode()
           for entry in json.loads((KV / "discovery_and_metrics.json").read_text())["etcd"]
           if "/event_" in entry["key"]}  # fmt: skip
READERS: list[Callable[[bytes], Any]] = [
    read_nats,
    events.decode_router_events,
    events.decode_kv_metrics,
    events.decode_affinity,
    lambda payload: events.decode_sequences(payload, "zmq"),
    lambda payload: events.decode_sequences(payload, "nats"),
    kv_recovery.decode_answer,
    lambda payload: kv_recovery.decode_answer(payload, "json"),
    kv_recovery.decode_query,
    lambda payload: kv_recovery.decode_query(payload, "json"),
]
LEAF = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
ANYTHING = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@st.composite
def damaged(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample with some bytes changed and its end cut."""
    whole = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, 3))):
        whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    return bytes(whole[: draw(st.integers(0, len(whole)))])


@given(st.binary(max_size=300) | damaged([*PAYLOADS, *ANSWERS]) | ANYTHING.map(msgspec.msgpack.encode))
def test_a_payload_is_read_or_refused(payload: bytes) -> None:
    for read in READERS:
        try:
            read(payload)
        except events.MalformedEvent:
            pass


@given(st.sampled_from(FRAMES), st.integers(0, 3), st.data())
def test_a_message_is_read_or_refused(frames: list[bytes], which: int, data: st.DataObject) -> None:
    changed = list(frames)
    changed[which] = data.draw(damaged([frames[which]]) | st.binary(max_size=40))
    try:
        envelope = read_zmq(changed[: data.draw(st.integers(0, 4))])
    except events.MalformedEvent:
        return
    assert envelope.publisher_id == int.from_bytes(changed[1])
    assert envelope.sequence == int.from_bytes(changed[2])


@pytest.mark.parametrize(
    ("which", "frame", "said"),
    [
        (1, b"\0" * 8, "the envelope"),
        (2, b"\0" * 7 + b"\x63", "the envelope"),
        (1, b"\0" * 7, "cut"),
        (3, b"\x02" + FRAMES[0][3][1:], "version 2"),
        (3, FRAMES[0][3] + b"\0", "declared"),
        (3, b"\x01\0\0\0\0", "truncated"),
    ],
)
def test_a_message_that_is_not_what_it_says_is_refused(which: int, frame: bytes, said: str) -> None:
    frames = list(FRAMES[0])
    frames[which] = frame
    with pytest.raises(events.MalformedEvent, match=said):
        read_zmq(frames)


@given(st.sampled_from(sorted(RECORDS)), st.data())
def test_a_record_is_read_or_refused(key: str, data: st.DataObject) -> None:
    value = data.draw(damaged([RECORDS[key]]) | ANYTHING.map(_as_json))
    try:
        if "/event_channels/" in key:
            parse_channel(key, value)
        else:
            recovery_instance(parse_source(key, value))
    except RecordError:
        pass


def _as_json(value: Any) -> bytes:
    return json.dumps(value, default=repr).encode()


def test_a_record_under_a_key_that_is_not_its_own_is_refused() -> None:
    for key, value in RECORDS.items():
        read = parse_channel if "/event_channels/" in key else parse_source
        with pytest.raises(RecordError, match="belongs to"):
            read(f"{key}0", value)
