"""What cext/event_frames.pyx does, in plain Python."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

_NAMES = {"publisher_id": int, "sequence": int, "published_at": int, "topic": str, "payload": bytes}


def read_frames(frames: list[Any]) -> tuple[int, int, int, str, bytes] | None:
    if len(frames) != 4 or not all(type(frame) is bytes for frame in frames):
        return None
    _, publisher, sequence, body = frames
    if len(publisher) != 8 or len(sequence) != 8 or len(body) < 5:
        return None
    if struct.unpack_from(">BI", body) != (1, len(body) - 5):
        return None
    try:
        told: Any = msgspec.msgpack.decode(body[5:])
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
        return None
    if not isinstance(told, dict) or not all(isinstance(name, str) for name in told):
        return None
    values = tuple(told.get(name) for name in _NAMES)
    if any(type(value) is not kind for value, kind in zip(values, _NAMES.values(), strict=True)):
        return None
    if any(isinstance(value, int) and value < 0 for value in values):
        return None
    if struct.unpack(">QQ", publisher + sequence) != values[:2]:
        return None
    return values  # type: ignore[return-value]
