"""What cext/tensor_codec.pyx does, in plain Python."""

import math
import struct
from typing import Any

import msgspec

INTEGERS = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8}
SIZES = {"?": 1, "f": 4, "d": 8, **INTEGERS}


class BadElement(ValueError):
    def __init__(self, index: int) -> None:
        super().__init__(f"element {index} is not of the datatype")
        self.index = index


def pack_values(code: str, raw: bytes) -> bytes:
    if code == "S":
        return msgspec.msgpack.encode([list(part) for part in _strings(raw)])
    if len(raw) % SIZES[code]:
        raise ValueError("no whole elements")
    if code == "?":
        return msgspec.msgpack.encode([byte != 0 for byte in raw])
    if code in "fd":
        head, size = msgspec.msgpack.encode([None] * (len(raw) // SIZES[code])), SIZES[code]
        parts = [raw[at : at + size][::-1] for at in range(0, len(raw), size)]
        mark = b"\xca" if code == "f" else b"\xcb"
        return head[: len(head) - len(parts)] + b"".join(mark + part for part in parts)
    return msgspec.msgpack.encode(list(struct.unpack(f"<{len(raw) // SIZES[code]}{code}", raw)))


def unpack_values(code: str, packed: bytes) -> tuple[int, bytes]:
    try:
        values = msgspec.msgpack.decode(packed)
    except msgspec.DecodeError:
        values = None
    if not isinstance(values, list):
        raise BadElement(-1)
    return len(values), b"".join(_element(code, index, value) for index, value in enumerate(values))


def _element(code: str, index: int, value: Any) -> bytes:
    if code == "S":
        if isinstance(value, list) and all(type(byte) is int and 0 <= byte <= 255 for byte in value):
            value = bytes(value)
        if isinstance(value, bytes):
            return struct.pack("<I", len(value)) + value
    elif code == "?" and isinstance(value, bool):
        return bytes([value])
    elif code in "fd" and type(value) in (int, float):
        try:
            return struct.pack(f"<{code}", value)
        except OverflowError:
            return struct.pack(f"<{code}", math.copysign(math.inf, value))
    elif code in INTEGERS and type(value) is int:
        try:
            return struct.pack(f"<{code}", value)
        except struct.error:
            pass
    raise BadElement(index)


def _strings(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        if len(raw) < 4 or len(raw) < 4 + size:
            raise ValueError("no whole elements")
        found.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return found


def lift_lists(value: Any, lifted: list[Any]) -> Any:
    """The value without the lists that stand under a key `values`, which go to `lifted` and leave an
    extension with their number."""
    if isinstance(value, list):
        return [lift_lists(part, lifted) for part in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, part in value.items():
        if key == "values" and isinstance(part, list):
            kept[key] = msgspec.msgpack.Ext(0x56, len(lifted).to_bytes(4, "big"))
            lifted.append(part)
        else:
            kept[key] = lift_lists(part, lifted)
    return kept
