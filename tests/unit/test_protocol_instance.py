"""Instance records, as captured from real workers and as they might come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.protocol.instance import RecordError, instance_key, parse_instance

CAPTURE = json.loads((Path(__file__).parent.parent / "fixtures" / "wire" / "discovery.json").read_text())
KEY = "v1/instances/ns/backend/generate/1f"


def record(**changes: Any) -> bytes:
    value: dict[str, Any] = {
        "type": "Endpoint",
        "component": "backend",
        "endpoint": "generate",
        "namespace": "ns",
        "instance_id": 31,
        "transport": {"tcp": "192.0.2.2:33733/1f/ns/backend/generate"},
    }
    value.update(changes)
    return json.dumps({name: item for name, item in value.items() if item is not ...}).encode()


def test_a_captured_tcp_record() -> None:
    store = next(entries for title, entries in CAPTURE.items() if "ZMQ event plane" in title)
    key = "v1/instances/wire/backend/generate/694da20a8f0a357f"
    instance = parse_instance(key, json.dumps(store[key]).encode())
    assert (instance.host, instance.port) == ("192.0.2.2", 33733)
    assert instance.path == "694da20a8f0a357f/wire/backend/generate"
    assert instance.instance_id == 7587899113422337407
    assert (instance.transport, instance.codec) == ("tcp", "msgpack")


def test_a_captured_nats_record() -> None:
    ((key, value),) = CAPTURE["NATS request plane"].items()
    instance = parse_instance(key, json.dumps(value).encode())
    assert (instance.transport, instance.nats_subject) == ("nats", "wirenats_backend.generate-694da20a8f0a3d99")


def test_ids_are_unsigned() -> None:
    (value,) = CAPTURE["file store: path below the root -> content"].values()
    key = "v1/instances/wirefs/backend/generate/b7c96ae50898ec65"
    assert parse_instance(key, json.dumps(value).encode()).instance_id == 13243233711183948901
    assert instance_key("wirefs", "backend", "generate", 13243233711183948901) == key


def test_the_codec_is_json_unless_said() -> None:
    assert parse_instance(KEY, record()).codec == "json"
    assert parse_instance(KEY, record(device_type=None, request_plane_codec="json", later="?")).codec == "json"


def test_an_ipv6_address_is_unwrapped() -> None:
    instance = parse_instance(KEY, record(transport={"tcp": "[::1]:5000/1f/ns/backend/generate"}))
    assert (instance.host, instance.port) == ("::1", 5000)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", "truncated|malformed"),
        (b"\xff", "malformed|invalid|JSON"),
        (record().replace(b"backend", b"back\xff"), "utf-8"),
        (b'{"type":"Endpoint","x":' + b"[" * 100_000, "recursion"),
        (record(type="Model"), "Endpoint|Invalid value"),
        (record(component=...), "component"),
        (record(component="other"), "belongs to v1/instances/ns/other/generate/1f"),
        (record(instance_id=32), "belongs to v1/instances/ns/backend/generate/20"),
        (record(instance_id=0), "not a 64-bit number"),
        (record(instance_id=1 << 64), "64"),
        (record(instance_id="31"), "int"),
        (record(transport={}), "neither tcp nor nats_tcp"),
        (record(transport={"tcp": "host/path"}), "not HOST:PORT/PATH"),
        (record(transport={"tcp": "host:99999/path"}), "not HOST:PORT/PATH"),
        (record(transport={"tcp": "host:80"}), "not HOST:PORT/PATH"),
        (record(transport={"tcp": ":80/path"}), "not HOST:PORT/PATH"),
        (record(request_plane_codec="xml"), "xml"),
    ],
)
def test_a_bad_record_is_refused_with_its_key_and_the_reason(value: bytes, words: str) -> None:
    with pytest.raises(RecordError, match=words) as caught:
        parse_instance(KEY, value)
    assert str(caught.value).startswith(KEY)
