"""What travels on the event plane of Dynamo 1.6.1: the envelope, and the payload of each topic, all msgpack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated as _With
from typing import Any, Final, Literal

import msgspec

KV_EVENTS: Final = "kv-events"
KV_METRICS: Final = "kv_metrics"
ACTIVE_SEQUENCES: Final = "active_sequences_events"
SESSION_AFFINITY: Final = "session_affinity_events"

EventTransport = Literal["zmq", "nats"]
Tier = Literal["device", "host_pinned", "disk", "external"]

# msgpack knows nothing above 64 bits, so a lower bound is all that a u64 needs
U64 = _With[int, msgspec.Meta(ge=0)]
U32 = _With[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]


class MalformedEvent(ValueError):
    """An envelope or a payload that cannot be read; the text says why."""


class Envelope(msgspec.Struct, frozen=True):
    """Around every payload. `sequence` counts a publisher's messages from 0; `published_at` is in Unix milliseconds."""

    publisher_id: U64
    sequence: U64
    published_at: U64
    topic: str
    payload: bytes


# ---- kv-events ------------------------------------------------------------------------------------------------------


class MultimodalObject(msgspec.Struct):
    """`offsets` are [start, end] pairs of tokens."""

    mm_hash: U64
    offsets: list[list[U64]]


class MultimodalInfo(msgspec.Struct):
    """What of a block is not text. Routing does not need it: `tokens_hash` covers it already."""

    mm_objects: list[MultimodalObject]


class StoredBlock(msgspec.Struct):
    """One of `Stored.blocks`: `block_hash` is the engine's own name of it, `tokens_hash` what a prompt has to match."""

    block_hash: U64
    tokens_hash: U64
    mm_extra_info: MultimodalInfo | None = None


class Stored(msgspec.Struct):
    """A chain of blocks, each the child of the one before; the first follows `parent_hash`, None = the root.

    `blocks` is the msgpack of a list of `StoredBlock`: an object for each would cost more than all the rest.
    """

    parent_hash: U64 | None
    start_position: U32 | None
    blocks: msgspec.Raw


class Removed(msgspec.Struct):
    """Blocks that are gone, by the engine's names."""

    block_hashes: list[U64]


class Change(msgspec.Struct, omit_defaults=True):
    """Exactly one of the two."""

    stored: Stored | None = None
    removed: Removed | None = None


class KvEvent(msgspec.Struct):
    """`event_id` counts the events of one (worker, rank) from 1, without gaps."""

    event_id: U64
    data: Change | Literal["cleared"]
    dp_rank: U32


class RouterEvent(msgspec.Struct, kw_only=True):
    """One change of what a rank holds in a tier. Only the residency domain `worker` means the rank itself; whatever
    else stands there, also None, has no bearing on routing to it."""

    worker_id: U64
    storage_tier: Tier = "device"
    residency_domain: str | None = "worker"
    event: KvEvent


# ---- kv_metrics -----------------------------------------------------------------------------------------------------


class KvMetrics(msgspec.Struct):
    """A rank's own view of its load; workers of 1.6.1 fill only `kv_used_blocks`."""

    worker_id: U64
    dp_rank: U32
    active_decode_blocks: U64 | None
    active_prefill_tokens: U64 | None
    kv_used_blocks: U64 | None


# ---- active_sequences_events ----------------------------------------------------------------------------------------


class WorkerRank(msgspec.Struct, frozen=True):
    """The unit of routing."""

    worker_id: U64
    dp_rank: U32


class PrefillLoadHint(msgspec.Struct):
    initial_effective_prefill_tokens: U64
    expected_prefill_duration: Any = None


class AddRequest(msgspec.Struct):
    """A booking. `token_sequence` holds the sequence hashes of the complete blocks."""

    token_sequence: list[U64]
    track_prefill_tokens: bool
    expected_output_tokens: U32 | None
    prefill_load_hint: PrefillLoadHint | None


class Booking(msgspec.Struct):
    AddRequest: AddRequest


class SequenceEvent(msgspec.Struct):
    """A step in a request's life. `router_id` is who says so: a frontend, or the worker itself (then its id)."""

    request_id: str
    worker: WorkerRank
    data: Booking | Literal["MarkPrefillCompleted", "Free"]
    router_id: U64
    lora_name: str | None = None


class SequenceBatch(msgspec.Struct):
    events: list[SequenceEvent]


# ---- session_affinity_events ----------------------------------------------------------------------------------------


class AffinityEvent(msgspec.Struct):
    """A session is bound to a rank. `sequence`: when, in Unix nanoseconds; `writer_id`: the frontend that bound it."""

    session_id: str
    worker_id: U64
    dp_rank: U32 | None
    sequence: U64
    writer_id: U64


_encoder = msgspec.msgpack.Encoder()
_blocks = msgspec.msgpack.Decoder(list[StoredBlock])
_envelope = msgspec.msgpack.Decoder(Envelope)
_events = msgspec.msgpack.Decoder(list[RouterEvent])
_event = msgspec.msgpack.Decoder(RouterEvent)
_raw_list = msgspec.msgpack.Decoder(list[msgspec.Raw])
_metrics = msgspec.msgpack.Decoder(KvMetrics)
_batch = msgspec.msgpack.Decoder(SequenceBatch)
_sequence = msgspec.msgpack.Decoder(SequenceEvent)
_affinity = msgspec.msgpack.Decoder(AffinityEvent)


def encode(value: msgspec.Struct | list[RouterEvent]) -> bytes:
    """The msgpack of an envelope or a payload, byte for byte as Dynamo writes it."""
    return _encoder.encode(value)


def decode_envelope(data: bytes | memoryview) -> Envelope:
    """Raises `MalformedEvent`."""
    envelope: Envelope = _decode(_envelope, data)
    return envelope


def decode_router_events(payload: bytes) -> tuple[list[RouterEvent], int]:
    """A batch of `kv-events`, and how many of it could not be read and were left out. Raises `MalformedEvent` when the
    payload is no array."""
    try:
        events: list[RouterEvent] = _events.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _salvage(payload)
    readable = [event for event in events if _means_one_thing(event)]
    return readable, len(events) - len(readable)


def pack_blocks(blocks: list[StoredBlock]) -> msgspec.Raw:
    """For `Stored.blocks`."""
    return msgspec.Raw(_encoder.encode(blocks))


def read_blocks(stored: Stored) -> list[StoredBlock]:
    """All that is said of the blocks. Raises `MalformedEvent`."""
    blocks: list[StoredBlock] = _decode(_blocks, stored.blocks)
    return blocks


def decode_kv_metrics(payload: bytes) -> KvMetrics:
    """Raises `MalformedEvent`."""
    metrics: KvMetrics = _decode(_metrics, payload)
    return metrics


def decode_affinity(payload: bytes) -> AffinityEvent:
    """Raises `MalformedEvent`."""
    event: AffinityEvent = _decode(_affinity, payload)
    return event


def encode_sequences(events: Sequence[SequenceEvent], transport: EventTransport) -> list[bytes]:
    """The payloads that carry these events: one for all on ZMQ, one each on NATS, where 1.6.1 takes no batch."""
    if transport == "zmq":
        return [_encoder.encode(SequenceBatch(list(events)))]
    return [_encoder.encode(event) for event in events]


def decode_sequences(payload: bytes, transport: EventTransport) -> list[SequenceEvent]:
    """Raises `MalformedEvent`."""
    if transport == "zmq":
        batch: SequenceBatch = _decode(_batch, payload)
        return batch.events
    return [_decode(_sequence, payload)]


def _decode(decoder: msgspec.msgpack.Decoder[Any], data: bytes | memoryview | msgspec.Raw) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEvent(str(error)) from None


def _salvage(payload: bytes) -> tuple[list[RouterEvent], int]:
    """The readable events of a batch in which at least one is not."""
    parts = _decode(_raw_list, payload)
    readable = []
    for part in parts:
        try:
            event = _event.decode(part)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if _means_one_thing(event):
            readable.append(event)
    return readable, len(parts) - len(readable)


def _means_one_thing(event: RouterEvent) -> bool:
    data = event.event.data
    return data == "cleared" or (data.stored is None) != (data.removed is None)
