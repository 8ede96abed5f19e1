"""The worker's half of the response plane: the frames it writes. Reading requests is `stream_codec.RequestDecoder`."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import orjson

from dynamo_fe._cext.stream_codec import two_part

ACCEPTED: Final = b"\0\0\0\0"
SENTINEL: Final = two_part(b'"sentinel"', b"")
PROLOGUE_OK: Final = two_part(b'{"error":null}', b"")

_msgpack = msgspec.msgpack.Encoder()


def _encode(value: Any, codec: Literal["msgpack", "json"]) -> bytes:
    return _msgpack.encode(value) if codec == "msgpack" else orjson.dumps(value, default=msgspec.to_builtins)


def acknowledgement(text: str) -> bytes:
    """An acknowledgement; any text is a refusal."""
    encoded = text.encode()
    return len(encoded).to_bytes(4) + encoded


def handshake(subject: str) -> bytes:
    """The first frame of a response connection."""
    return two_part(orjson.dumps({"subject": subject, "stream_type": "response"}), b"")


def error_prologue(text: str, typed_error: dict[str, Any] | None = None) -> bytes:
    """The prologue of a request that is refused before its stream begins; the sentinel follows it."""
    prologue: dict[str, Any] = {"error": text}
    if typed_error is not None:
        prologue["typed_error"] = typed_error
    return two_part(orjson.dumps(prologue), b"")


def item(value: Any, codec: Literal["msgpack", "json"]) -> bytes:
    """A data frame with one value of the handler."""
    return two_part(b"", _encode({"data": {"data": value}, "complete_final": False}, codec))


def bare_item(value: Any, codec: Literal["msgpack", "json"]) -> bytes:
    """A data frame of a handler that answers without the envelope around its value, as the one of recovery queries."""
    return two_part(b"", _encode({"data": value, "complete_final": False}, codec))


def error_item(error: dict[str, Any], codec: Literal["msgpack", "json"]) -> bytes:
    """A data frame with an error object; the final marker and the sentinel follow it."""
    return two_part(b"", _encode({"data": {"event": "error", "error": error}, "complete_final": False}, codec))


def final(codec: Literal["msgpack", "json"]) -> bytes:
    """The final marker: without it the stream counts as lost."""
    return two_part(b"", _encode({"complete_final": True}, codec))
