"""What a worker writes of itself is what Dynamo 1.6.1's worker was recorded to write, at each step of its life."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamo_fe.discovery.kube_identity import Identity
from dynamo_fe.discovery.kube_record import OwnRecord
from dynamo_fe.protocol.event_records import (
    CHANNELS_PREFIX,
    EventChannel,
    ZmqConfig,
    ZmqTransport,
    endpoint_scope,
    publisher_key,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kubernetes"
IDENTITY = Identity("w0", "uid-w0", "dyn-test")
ENTRY = "llmspec/backend/generate/19dd785d26438c"


def recorded_bodies() -> list[dict[str, Any]]:
    """Of the worker's requests to write, in order."""
    session = json.loads((FIXTURES / "session.json").read_text())
    requests = [each["request"] for each in session if each["client"] == "worker" and "request" in each]
    return [request["body"] for request in requests if request["method"] == "PATCH"]


def test_a_life_is_written_as_recorded() -> None:
    with_card, with_endpoint, draining = recorded_bodies()
    record = OwnRecord(IDENTITY)
    record.put(f"v1/mdc/{ENTRY}", json.dumps(with_card["spec"]["data"]["model_cards"][ENTRY]).encode())
    assert json.loads(record.body()) == with_card
    endpoint = with_endpoint["spec"]["data"]["endpoints"][ENTRY]
    record.put(f"v1/instances/{ENTRY}", json.dumps(endpoint).encode())
    assert json.loads(record.body()) == with_endpoint
    assert record.remove(f"v1/instances/{ENTRY}")
    assert json.loads(record.body()) == draining


def test_a_channel_names_its_namespace_once_more() -> None:
    scope = endpoint_scope("dynamo", "backend", "generate")
    channel = EventChannel(scope, "kv-events", 7, ZmqTransport(ZmqConfig("tcp://192.0.2.2:45873")))
    key = publisher_key(CHANNELS_PREFIX, scope, "kv-events", 7)
    record = OwnRecord(IDENTITY)
    record.put(key, msgspec.json.encode(channel))
    written = json.loads(record.body())["spec"]["data"]["event_channels"]
    (entry,) = written.values()
    assert list(written) == ["namespace/dynamo/component/backend/endpoint/generate/topic/kv-events/7"]
    assert list(entry)[-2:] == ["namespace", "component"]
    assert (entry["namespace"], entry["component"]) == ("dynamo", "backend")


def test_a_container_has_a_record_of_its_own_and_its_pod_owns_it() -> None:
    body = json.loads(OwnRecord(Identity("w0", "uid-w0", "dyn-test", "decode")).body())
    assert body["metadata"]["name"] == "w0-decode"
    assert body["metadata"]["ownerReferences"][0]["name"] == "w0"


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        OwnRecord(IDENTITY).put("v1/elsewhere/x", b"{}")
