"""Compressed request bodies: gzip, deflate and zstd, decoded no further than a limit. No I/O."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import zstandard

_STEP_BYTES: Final = 1 << 18
# what a zstd frame may ask for as its window; the format's own recommendation for decoders
_ZSTD_WINDOW_BYTES: Final = 8 << 20
# Four bytes of input can stand for 128 KiB: this bounds what one step brings to 16 MiB.
_ZSTD_STEP_BYTES: Final = 512
_MAX_CODINGS: Final = 2


class UnknownCoding(Exception):
    """A content coding that is not decoded here; its name is the argument."""


class BrokenCoding(Exception):
    """The bytes are not what their content coding says."""


class DecodedTooLarge(Exception):
    """More came out than the limit; decoding stopped there."""


def codings_of(header: bytes | None) -> list[str]:
    """The codings of a `content-encoding`, in the order in which they were applied. Raises UnknownCoding."""
    if header is None:
        return []
    names = [name.strip().lower() for name in header.decode("latin-1").split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    for name in codings:
        if name not in _DECODERS:
            raise UnknownCoding(name)
    if len(codings) > _MAX_CODINGS:
        raise UnknownCoding(", ".join(codings))
    return codings


def decode(body: bytes, codings: list[str], limit_bytes: int) -> bytes:
    """The body without its codings. Raises BrokenCoding, and DecodedTooLarge as soon as it is over the limit.

    Releases the GIL for most of its time.
    """
    for name in reversed(codings):
        body = _DECODERS[name](body, limit_bytes)
    return body


def _gunzip(body: bytes, limit_bytes: int) -> bytes:
    return _inflate(body, 16 + zlib.MAX_WBITS, limit_bytes)


def _undeflate(body: bytes, limit_bytes: int) -> bytes:
    """With the zlib header that the standard asks for, or without it as some clients send it."""
    headed = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(body, zlib.MAX_WBITS if headed else -zlib.MAX_WBITS, limit_bytes)


def _inflate(body: bytes, window: int, limit_bytes: int) -> bytes:
    out: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest:
            member = zlib.decompressobj(window)
            while not member.eof:
                part = member.decompress(rest, _STEP_BYTES)
                size += len(part)
                if size > limit_bytes:
                    raise DecodedTooLarge
                out.append(part)
                rest = member.unconsumed_tail
                if not rest and not part and not member.eof:
                    raise BrokenCoding("it breaks off")
            rest = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise BrokenCoding(str(error)) from error
    return b"".join(out)


def _unzstd(body: bytes, limit_bytes: int) -> bytes:
    out: list[bytes] = []
    size = 0
    frame = None
    try:
        for start in range(0, len(body), _ZSTD_STEP_BYTES):
            rest = body[start : start + _ZSTD_STEP_BYTES]
            while rest:
                frame = frame or zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
                part = frame.decompress(rest)
                size += len(part)
                if size > limit_bytes:
                    raise DecodedTooLarge
                out.append(part)
                rest, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    except zstandard.ZstdError as error:
        raise BrokenCoding(str(error)) from error
    if frame is not None:
        raise BrokenCoding("it breaks off")
    return b"".join(out)


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "zstd": _unzstd,
}
