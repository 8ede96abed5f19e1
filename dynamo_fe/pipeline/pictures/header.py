"""Width and height of a picture, from the bytes it begins with.

Formats: PNG (W3C), JPEG (ITU T.81), GIF89a, WebP (RFC 9649), BMP. As strict as the original's decoder where a file is
cut or broken, since both must agree whether a size is known: a PNG must go on to its first data, a JPEG to its first
scan.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Final
from zlib import crc32

Size = tuple[int, int]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
# bit depths by color type
_PNG_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_HEAD_BYTES: Final = 13
# chunks of a PNG: length and name before, checksum behind
_PNG_CHUNK: Final = struct.Struct(">I4s")
_PNG_CHECKSUM_BYTES: Final = 4
# rows of more are beyond what the original's decoder takes
_PNG_MOST_ROW_BYTES: Final = 64 << 20

# frames that hold samples to be read: baseline, extended, progressive
_JPEG_FRAMES: Final = (0xC0, 0xC1, 0xC2)
_JPEG_OTHER_FRAMES: Final = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_JPEG_NO_LENGTH: Final = (0x01, *range(0xD0, 0xD9))
_JPEG_MARKER: Final = re.compile(rb"\xff([\x01-\xfe])")
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA

# segments before the picture itself: no real one has as many, and each costs a step
_MOST_PARTS: Final = 10_000

_WEBP_SIDE: Final = 0x3FFF
_BMP_CORE_BYTES: Final = 12


class NoSize(ValueError):
    """The bytes are no picture of a known format, or too few of one."""


def picture_size(data: bytes) -> Size:
    """(width, height) in pixels. Raises NoSize."""
    for magic, read in _FORMATS:
        if data.startswith(magic):
            try:
                width, height = read(data)
            except (struct.error, IndexError) as error:
                raise NoSize("the picture is cut short") from error
            if width < 1 or height < 1:
                raise NoSize("the picture has no extent")
            return width, height
    raise NoSize("no known format")


def _png(data: bytes) -> Size:
    length, name = _PNG_CHUNK.unpack_from(data, len(_PNG))
    body_at = len(_PNG) + _PNG_CHUNK.size
    body = data[body_at : body_at + _PNG_HEAD_BYTES]
    if name != b"IHDR" or length != _PNG_HEAD_BYTES:
        raise NoSize("a PNG that does not begin with its size")
    if crc32(name + body) != struct.unpack_from(">I", data, body_at + length)[0]:
        raise NoSize("the checksum of a PNG is wrong")
    width, height, depth, color = struct.unpack_from(">IIBB", body)
    if depth not in _PNG_DEPTHS.get(color, ()) or width * 8 > _PNG_MOST_ROW_BYTES:
        raise NoSize("a PNG of no known kind")
    at = body_at + length + _PNG_CHECKSUM_BYTES
    for _ in range(_MOST_PARTS):
        length, name = _PNG_CHUNK.unpack_from(data, at)
        if name == b"IDAT":
            return width, height
        if name in (b"IEND", b"IHDR"):
            break
        at += _PNG_CHUNK.size + length + _PNG_CHECKSUM_BYTES
    raise NoSize("a PNG without data")


def _jpeg(data: bytes) -> Size:
    size, at = None, 2
    for _ in range(_MOST_PARTS):
        # what lies between segments is passed over
        found = _JPEG_MARKER.search(data, at)
        if found is None:
            break
        at, marker = found.end(), found[1][0]
        if marker in _JPEG_NO_LENGTH:
            continue
        length = struct.unpack_from(">H", data, at)[0]
        if marker == _JPEG_END or length < 2 or marker in _JPEG_OTHER_FRAMES or at + length > len(data):
            break
        if marker in _JPEG_FRAMES:
            if size is not None or data[at + 7] == 0:
                break
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
        elif marker == _JPEG_SCAN:
            if size is None:
                break
            return size
        at += length
    raise NoSize("a JPEG without a whole head")


def _gif(data: bytes) -> Size:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(_MOST_PARTS):
        if data[at] == 0x2C:
            return width, height
        if data[at] != 0x21:
            break
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    raise NoSize("a GIF without a picture")


def _webp(data: bytes) -> Size:
    if data[8:12] != b"WEBP":
        raise NoSize("no known format")
    kind, length = struct.unpack_from("<4sI", data, 12)
    if kind == b"VP8X":
        sides = int.from_bytes(data[24:27], "little"), int.from_bytes(data[27:30], "little")
        # what it announces must follow: the picture, or the frames of an animation
        if len(data) < 30 + struct.calcsize("<4sI"):
            raise NoSize("a WebP without a picture")
        return sides[0] + 1, sides[1] + 1
    if kind == b"VP8L":
        if data[20] != 0x2F:
            raise NoSize("a WebP with a broken head")
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & _WEBP_SIDE) + 1, (bits >> 14 & _WEBP_SIDE) + 1
    if kind != b"VP8 " or data[20] & 1 or data[23:26] != b"\x9d\x01\x2a":
        raise NoSize("a WebP without a whole frame")
    width, height = struct.unpack_from("<HH", data, 26)
    return width & _WEBP_SIDE, height & _WEBP_SIDE


def _bmp(data: bytes) -> Size:
    length = struct.unpack_from("<I", data, 14)[0]
    if length == _BMP_CORE_BYTES:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    data[14 + length - 1]
    return width, abs(height)


_FORMATS: Final[tuple[tuple[bytes, Callable[[bytes], Size]], ...]] = (
    (_PNG, _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"RIFF", _webp),
    (b"BM", _bmp),
)
