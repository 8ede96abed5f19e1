"""The captures of `fixtures/wire`, made by real 1.6.1 processes: decoded in any cut, and made again byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from dynamo_fe._cext.stream_codec import (
    FINAL,
    AckDecoder,
    OutputItem,
    RequestDecoder,
    ResponseDecoder,
    request_frame,
    two_part,
)
from dynamo_fe.planes.request import worker_side
from dynamo_fe.planes.request.message import KILL_FRAME, encode_control, encode_headers
from dynamo_fe.planes.request.nats import compose
from dynamo_fe.protocol.instance import Instance
from dynamo_fe.protocol.worker import decode_envelope, decode_value_envelope

WIRE = Path(__file__).parent.parent / "fixtures" / "wire"
EXPECTED: dict[str, Any] = json.loads((WIRE / "expected.json").read_text())
LIMIT = 1 << 25


def names(kind: str) -> list[str]:
    return [name for name, entry in EXPECTED.items() if entry.get("kind") == kind]


def load(name: str) -> bytes:
    return (WIRE / name).read_bytes()


def cuts(data: bytes) -> list[list[bytes]]:
    """One piece, every two pieces, byte by byte."""
    pairs = [[data[:place], data[place:]] for place in range(1, len(data))]
    return [[data], *pairs, [data[i : i + 1] for i in range(len(data))]]


def decoded(codec: str) -> Any:
    return msgspec.msgpack.decode if codec == "msgpack" else orjson.loads


def meaning(value: Any, codec: str) -> Any:
    """A decoded value in the words of expected.json."""
    if value is FINAL:
        return {"data": {"complete_final": True}}
    if isinstance(value, bytes):
        return {"header": json.loads(value)}
    assert isinstance(value, OutputItem)
    if value.raw is not None:
        return {"data": {"data": decoded(codec)(value.raw), "complete_final": False}}
    usage = msgspec.msgpack.decode(value.usage) if value.usage is not None else None
    return (value.token_ids, value.finish_reason, value.index, usage)


def short(entry: dict[str, Any]) -> Any:
    """What the quick reading keeps of an item of expected.json."""
    item = entry["data"]["data"]["data"]
    return (item["token_ids"], item["finish_reason"], item["index"] or 0, item.get("completion_usage"))


@pytest.mark.parametrize("name", [n for n in names("two_part_frames") if n.startswith("worker_")])
def test_response_streams(name: str) -> None:
    data = load(name)
    codec = EXPECTED[name]["payload_codec"]
    wanted = [{key: value for key, value in entry.items() if key != "offset"} for entry in EXPECTED[name]["decoded"]]
    for pieces in cuts(data):
        decoder = ResponseDecoder(codec, LIMIT)
        said = [meaning(value, codec) for piece in pieces for value in decoder.feed(piece)]
        assert len(said) == len(wanted)
        for value, entry in zip(said, wanted, strict=True):
            assert value == (short(entry) if isinstance(value, tuple) else entry)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_items_of_both_codecs_mean_the_same(codec: Any) -> None:
    decoder = ResponseDecoder(codec, LIMIT)
    items = [value for value in decoder.feed(load(f"worker_response_ok_{codec}.bin")) if isinstance(value, OutputItem)]
    assert [item.raw is None for item in items] == [codec == "msgpack"] * 4
    if codec == "json":
        steps = [decode_envelope(item.raw or b"", "json").data for item in items]
        assert [step.token_ids for step in steps if step] == [[1733], [1238], [1314], []]
        assert steps[-1] is not None and steps[-1].finish_reason == "length"


def test_error_items_keep_their_error_object() -> None:
    decoder = ResponseDecoder("msgpack", LIMIT)
    items = [item for item in decoder.feed(load("worker_response_error_mid.bin")) if isinstance(item, OutputItem)]
    assert decode_value_envelope(items[0].raw or b"", "msgpack").data == {"i": 0}
    envelope = decode_envelope(items[1].raw or b"", "msgpack")
    assert envelope.event == "error"
    assert envelope.error["public"] == {"type": "message", "message": "typed InvalidArgument"}


@pytest.mark.parametrize("name", names("ack"))
def test_acknowledgements(name: str) -> None:
    data = load(name)
    for pieces in cuts(data):
        decoder = AckDecoder(1 << 16)
        assert [ack.decode() for piece in pieces for ack in decoder.feed(piece)] == [EXPECTED[name]["text"]]
    assert worker_side.acknowledgement(EXPECTED[name]["text"]) == data


@pytest.mark.parametrize("name", names("tcp_request_frame"))
def test_request_frames_are_read(name: str) -> None:
    data = load(name)
    wanted = EXPECTED[name]["decoded"]
    for pieces in cuts(data):
        decoder = RequestDecoder(LIMIT)
        [(path, headers, control, body)] = [parts for piece in pieces for parts in decoder.feed(piece)]
        assert path.decode() == wanted["path"]
        assert json.loads(headers) == wanted["headers"]
        assert json.loads(control) == wanted["control"]
        assert decoded(wanted["control"]["payload_codec"])(body) == wanted["body"]


@pytest.mark.parametrize("name", names("tcp_request_frame"))
def test_request_frames_are_made_again(name: str) -> None:
    """Same values, same bytes; only the order of the headers is taken from the capture, as the original's is random."""
    data = load(name)
    wanted = EXPECTED[name]["decoded"]
    info = wanted["control_connection_info_decoded"]
    control = encode_control(
        wanted["control"]["id"],
        wanted["control"]["payload_codec"],
        info["address"],
        info["subject"],
        wanted["control"].get("metadata"),
    )
    body = data[-len(RequestDecoder(LIMIT).feed(data)[0][3]) :]
    made = request_frame(wanted["path"].encode(), orjson.dumps(wanted["headers"]), control, body)
    assert made == data


def test_the_nats_request_is_made_again() -> None:
    """The payload byte for byte; the headers but for the time of sending."""
    name = "fe_nats_request_payload.bin"
    data, wanted = load(name), EXPECTED[name]["decoded"]
    captured = json.loads(load("fe_nats_request_headers.json"))
    info = wanted["control_connection_info_decoded"]
    body = data[-len(msgspec.msgpack.encode(wanted["body"])) :]
    instance = Instance(
        key="",
        namespace="fixture",
        component="backend",
        endpoint="generate",
        instance_id=0x694DA20A8F0A498E,
        host="",
        port=0,
        path="",
        codec=wanted["control"]["payload_codec"],
        transport="nats",
        nats_subject=captured["subject"],
    )
    request_id = wanted["control"]["id"]
    control = encode_control(request_id, instance.codec, info["address"], info["subject"], None)
    traced = {"traceparent": captured["headers"]["traceparent"]}
    message = compose(instance, request_id, control, body, traced)
    assert message.payload == data
    assert message.subject == captured["subject"]
    stamp = "x-frontend-send-ts-ns"
    assert message.headers.keys() == captured["headers"].keys()
    assert {key: message.headers[key] for key in message.headers if key != stamp} == {
        key: captured["headers"][key] for key in captured["headers"] if key != stamp
    }


@pytest.mark.parametrize("name", ["fe_request_chat_msgpack.bin", "fe_request_chat_json.bin"])
def test_headers_have_the_captured_names(name: str) -> None:
    wanted = EXPECTED[name]["decoded"]["headers"]
    traced = {key: wanted[key] for key in ("traceparent", "x-request-id")}
    made = json.loads(encode_headers(wanted["x-endpoint-path"], wanted["request-id"], traced))
    assert made.keys() == wanted.keys()
    assert made["x-frontend-send-ts-ns"].isdigit()
    assert {key: made[key] for key in made if key != "x-frontend-send-ts-ns"} == {
        key: wanted[key] for key in wanted if key != "x-frontend-send-ts-ns"
    }


def test_control_frames_of_the_frontend() -> None:
    assert load("fe_response_down_kill.bin") == KILL_FRAME
    assert load("py_client_response_down_stop.bin") == two_part(b'"stop"', b"")


def test_a_whole_response_is_made_again() -> None:
    """The worker's half: handshake, prologue, error item, final marker, sentinel."""
    name = "worker_response_error_first.bin"
    entries = EXPECTED[name]["decoded"]
    made = [
        worker_side.handshake(entries[0]["header"]["subject"]),
        worker_side.PROLOGUE_OK,
        worker_side.error_item(entries[2]["data"]["data"]["error"], "msgpack"),
        worker_side.final("msgpack"),
        worker_side.SENTINEL,
    ]
    assert b"".join(made) == load(name)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_items_are_made_again(codec: Any) -> None:
    name = f"worker_response_ok_{codec}.bin"
    data = load(name)
    for entry, after in zip(EXPECTED[name]["decoded"], EXPECTED[name]["decoded"][1:], strict=False):
        if "data" in entry and "data" in entry["data"]:
            assert worker_side.item(entry["data"]["data"]["data"], codec) == data[entry["offset"] : after["offset"]]
    assert data.endswith(worker_side.final(codec) + worker_side.SENTINEL)


def test_error_prologues_are_made_again() -> None:
    for name in ("worker_response_error_prologue.bin", "worker_response_plane_mismatch.bin"):
        header = EXPECTED[name]["decoded"][1]["header"]
        made = worker_side.error_prologue(header["error"], header.get("typed_error"))
        assert made + worker_side.SENTINEL == load(name)[99:]
