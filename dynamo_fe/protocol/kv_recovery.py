"""The recovery query of KV events: asked of a worker over the request plane, answered by one data item."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dynamo_fe.protocol.events import U32, U64, MalformedEvent, RouterEvent, decode_router_events
from dynamo_fe.protocol.instance import Codec

_ENDPOINT_PREFIX: Final = "worker_kv_query_source_"


class RecoveryQuery(msgspec.Struct):
    """Asks for a rank's events from `start_event_id` on, None = for all it holds. The end has no effect."""

    worker_id: U64
    dp_rank: U32
    start_event_id: U64 | None
    end_event_id: U64 | None = None
    supports_tree_dump_failed: bool = True
    kind: str = "recovery"


class TreeDump(msgspec.Struct):
    """All that the rank holds: stores with numbers of their own, then the latest events, to be applied in this order.

    Live events go on after `last_event_id`.
    """

    events: list[RouterEvent]
    last_event_id: U64
    reset_scope: str = "all"


class Events(msgspec.Struct):
    """Every event from the start asked for to the newest, `last_event_id`."""

    events: list[RouterEvent]
    last_event_id: U64


class InvalidRange(msgspec.Struct):
    start_id: U64
    end_id: U64


class TooNew(msgspec.Struct):
    """The start lies beyond the newest event."""

    requested_start: U64
    requested_end: U64
    newest_available: U64


class Failure(msgspec.Struct):
    """The worker cannot answer; its words."""

    text: str


Answer = TreeDump | Events | InvalidRange | TooNew | Failure


class _RawList(msgspec.Struct):
    events: msgspec.Raw
    last_event_id: U64
    reset_scope: str = "all"


class _Data(msgspec.Struct, omit_defaults=True):
    TreeDump: _RawList | None = None
    Events: _RawList | None = None
    InvalidRange: InvalidRange | None = None
    TooNew: TooNew | None = None
    Error: str | None = None


_data = msgspec.msgpack.Decoder(_Data)
_query = msgspec.msgpack.Decoder(RecoveryQuery)


def query_endpoint(publisher_id: int) -> str:
    """The name of the endpoint that answers for a publisher."""
    return f"{_ENDPOINT_PREFIX}{publisher_id:x}"


def encode_query(query: RecoveryQuery, codec: Codec) -> bytes:
    """The body of the request, in the codec that the worker asked for."""
    return msgspec.json.encode(query) if codec == "json" else msgspec.msgpack.encode(query)


def decode_query(body: bytes, codec: Codec = "msgpack") -> RecoveryQuery:
    """Raises `MalformedEvent`."""
    try:
        return msgspec.json.decode(body, type=RecoveryQuery) if codec == "json" else _query.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEvent(str(error)) from None


def decode_answer(value: bytes, codec: Codec = "msgpack") -> tuple[Answer, int]:
    """The answer that a data item holds, and how many of its events could not be read and were left out.

    Raises `MalformedEvent`.
    """
    try:
        if codec == "json":
            value = msgspec.msgpack.encode(msgspec.json.decode(value))
        data = _data.decode(value)
        if data.TreeDump is not None:
            events, unread = decode_router_events(bytes(data.TreeDump.events))
            return TreeDump(events, data.TreeDump.last_event_id, data.TreeDump.reset_scope), unread
        if data.Events is not None:
            events, unread = decode_router_events(bytes(data.Events.events))
            return Events(events, data.Events.last_event_id), unread
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEvent(str(error)) from None
    other = data.InvalidRange or data.TooNew
    if other is not None:
        return other, 0
    if data.Error is None:
        raise MalformedEvent("an answer of an unknown kind")
    return Failure(data.Error), 0


def answer_value(answer: Answer) -> dict[str, Any]:
    """What the worker's side sends as the item's `data`."""
    if isinstance(answer, Failure):
        return {"Error": answer.text}
    return {type(answer).__name__: answer}
