"""The request message: headers and control message of Dynamo 1.6.1's runtime, both JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson

from dynamo_fe._cext.stream_codec import two_part

CONTROL_LIMIT_BYTES = 128 << 10

# what the frontend says on a response connection when it wants no more
KILL_FRAME = two_part(b'"kill"', b"")


def request_headers(request_id: str, trace_headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of a request on every plane; the send time in them serves the worker's metrics."""
    headers = {"request-id": request_id, "x-frontend-send-ts-ns": str(time.time_ns())}
    if trace_headers:
        headers.update(trace_headers)
    return headers


def encode_headers(path: str, request_id: str, trace_headers: Mapping[str, str] | None) -> bytes:
    """The headers of a TCP request frame, which name the path again."""
    return orjson.dumps({"x-endpoint-path": path, **request_headers(request_id, trace_headers)})


def encode_control(
    request_id: str, codec: str, callback_address: str, subject: str, metadata: Mapping[str, str] | None
) -> bytes:
    """The control message of a single request that is answered by a stream over a TCP call-back.

    `codec` is that of the body and of the answer's data parts. `info` is JSON inside a JSON string, as the wire has it,
    and its context must equal the id: a worker drops the request silently otherwise.
    """
    info = {"address": callback_address, "subject": subject, "context": request_id, "stream_type": "response"}
    control: dict[str, object] = {
        "id": request_id,
        "request_type": "single_in",
        "response_type": "many_out",
        "payload_codec": codec,
        "connection_info": {"transport": "tcp_server", "info": orjson.dumps(info).decode()},
    }
    if metadata:
        control["metadata"] = dict(metadata)
    return orjson.dumps(control)
