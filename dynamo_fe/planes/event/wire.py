"""Messages of the event planes: bytes in, envelopes out, no I/O. Both carry the same msgpack."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from dynamo_fe._cext.event_frames import read_frames
from dynamo_fe.protocol.events import Envelope, MalformedEvent, decode_envelope, encode

_VERSION: Final = 1
_ID: Final = struct.Struct(">Q")
_PREFIX: Final = struct.Struct(">BI")


def zmq_frames(envelope: Envelope) -> list[bytes]:
    """The four frames: topic, publisher id, sequence, and a version, a length and the envelope."""
    body = encode(envelope)
    head = [envelope.topic.encode(), _ID.pack(envelope.publisher_id), _ID.pack(envelope.sequence)]
    return [*head, _PREFIX.pack(_VERSION, len(body)) + body]


def read_zmq(frames: list[bytes]) -> Envelope:
    """Raises MalformedEvent, also when frames and envelope disagree about whose message it is."""
    told = read_frames(frames)
    return _read_oddly(frames) if told is None else Envelope(*told)


def _read_oddly(frames: Sequence[bytes]) -> Envelope:
    """Names the fault of what is no usual message."""
    if len(frames) != 4:
        raise MalformedEvent(f"{len(frames)} frames instead of 4")
    _, publisher, sequence, body = frames
    if len(publisher) != _ID.size or len(sequence) != _ID.size or len(body) < _PREFIX.size:
        raise MalformedEvent("a frame is cut")
    version, length = _PREFIX.unpack_from(body)
    if version != _VERSION:
        raise MalformedEvent(f"version {version} instead of {_VERSION}")
    if length != len(body) - _PREFIX.size:
        raise MalformedEvent(f"{len(body) - _PREFIX.size} bytes where {length} are declared")
    envelope = decode_envelope(memoryview(body)[_PREFIX.size :])
    told = (_ID.unpack(publisher)[0], _ID.unpack(sequence)[0])
    if told != (envelope.publisher_id, envelope.sequence):
        raise MalformedEvent(f"frames say {told}, the envelope {(envelope.publisher_id, envelope.sequence)}")
    return envelope


def nats_data(envelope: Envelope) -> bytes:
    """The data of the one NATS message."""
    return encode(envelope)


def read_nats(data: bytes) -> Envelope:
    """Raises MalformedEvent."""
    return decode_envelope(data)
