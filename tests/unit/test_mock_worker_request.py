"""Reading requests: what a frontend sends, and what is said about the ones that cannot be served."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dynamo_fe.workers.request import UnreadableRequest, read_request

BODY = {"token_ids": [1, 2], "stop_conditions": {"max_tokens": 5, "stop": ["END"]}, "eos_token_ids": [9], "new": 1}


def control(info: dict[str, Any] | None = None, **changes: Any) -> bytes:
    whole_info = {"address": "192.0.2.2:38515", "subject": "s", "context": "r", "stream_type": "response"}
    connection = {"transport": "tcp_server", "info": json.dumps(whole_info | (info or {}))}
    message = {"id": "r", "request_type": "single_in", "payload_codec": "msgpack", "connection_info": connection}
    return json.dumps(message | changes).encode()


@pytest.mark.parametrize(("codec", "encode"), [("msgpack", msgspec.msgpack.encode), ("json", msgspec.json.encode)])
def test_both_codecs(codec: str, encode: Any) -> None:
    call_back, request = read_request(control(payload_codec=codec), encode(BODY))
    assert (call_back.host, call_back.port, call_back.subject, call_back.codec) == ("192.0.2.2", 38515, "s", codec)
    assert (request.token_ids, request.eos_token_ids, request.stop_conditions.max_tokens) == ([1, 2], [9], 5)


def test_the_prompt_alone_is_enough_and_json_is_the_codec_when_none_is_named() -> None:
    message = json.loads(control())
    del message["payload_codec"]
    call_back, request = read_request(json.dumps(message).encode(), b'{"token_ids":[]}')
    assert (call_back.codec, request.token_ids, request.sampling_options.n) == ("json", [], None)


def test_ipv6_call_back() -> None:
    assert read_request(control({"address": "[::1]:5000"}), msgspec.msgpack.encode(BODY))[0].host == "::1"


@pytest.mark.parametrize(
    ("message", "body", "named"),
    [
        (control(), b"\xc1", "not a token request"),
        (control(), msgspec.msgpack.encode({"token_ids": ["x"]}), "token_ids"),
        (control(), msgspec.msgpack.encode({"token_ids": [1 << 32]}), "token_ids"),
        (control(), msgspec.msgpack.encode({}), "token_ids"),
        (control(payload_codec="json"), msgspec.msgpack.encode(BODY), "json"),
        (control(payload_codec="cbor"), msgspec.msgpack.encode(BODY), "cbor"),
        (control(request_type="many_in"), msgspec.msgpack.encode(BODY), "many_in"),
        (control({"stream_type": "request"}), msgspec.msgpack.encode(BODY), "stream_type"),
        (control({"context": "another"}), msgspec.msgpack.encode(BODY), "another request"),
    ],
)
def test_where_the_address_is_readable_the_frontend_can_be_told(message: bytes, body: bytes, named: str) -> None:
    with pytest.raises(UnreadableRequest, match=named) as caught:
        read_request(message, body)
    assert caught.value.call_back is not None and caught.value.call_back.port == 38515


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"not json",
        b'"\xff"',
        control(connection_info={"transport": "quic-response", "info": "{}"}),
        control(connection_info={"transport": "tcp_server", "info": "?"}),
        control({"address": "192.0.2.2"}),
        control({"address": "192.0.2.2:0"}),
        control({"address": "192.0.2.2:99999"}),
    ],
)
def test_where_it_is_not_nobody_can_be_told(message: bytes) -> None:
    with pytest.raises(UnreadableRequest) as caught:
        read_request(message, msgspec.msgpack.encode(BODY))
    assert caught.value.call_back is None
