"""Fields of Protocol Buffers written by hand, where the library's way costs a copy or ten microseconds."""

from __future__ import annotations

from typing import Final

_ONE_BYTE: Final = [bytes([size]) for size in range(0x80)]


def size_bytes(size: int) -> bytes:
    """A length as the wire has it: seven bits a byte, the last first."""
    if size < 0x80:
        return _ONE_BYTE[size]
    parts = bytearray()
    while size >= 0x80:
        parts.append(size & 0x7F | 0x80)
        size >>= 7
    parts.append(size)
    return bytes(parts)


def field(tag: bytes, value: bytes) -> bytes:
    """One field of a kind that has a length."""
    return tag + size_bytes(len(value)) + value
