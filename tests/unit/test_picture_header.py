"""The size of a picture by the bytes it begins with: which bytes suffice was measured with the original's decoder."""

from __future__ import annotations

import struct
import zlib

import pytest

from dynamo_fe.pipeline.pictures.header import NoSize, picture_size
from tests.support.pictures import jpeg, png, png_chunk

SIZE = (84, 56)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
DATA = png_chunk(b"IDAT", zlib.compress(bytes(64)))
FRAME = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 56, 84) + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
SCAN = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
LOSSY = b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", *SIZE) + bytes(40)
LOSSLESS = b"\x2f" + struct.pack("<I", 83 | 55 << 14) + bytes(20)
SCREEN = b"GIF89a" + struct.pack("<HH", *SIZE)
FRAME_OF_GIF = b"\x2c" + struct.pack("<HHHHB", 0, 0, *SIZE, 0)


def head(width: int, height: int, depth: int = 8, color: int = 2) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def extended(*chunks: tuple[bytes, bytes]) -> bytes:
    sides = (83).to_bytes(3, "little") + (55).to_bytes(3, "little")
    return riff((b"VP8X", bytes(4) + sides), *chunks)


def bitmap(height: int) -> bytes:
    rest = struct.pack("<IiiHHIIiiII", 40, 84, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + rest


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(*SIZE), id="PNG"),
        pytest.param(SIGNATURE + head(*SIZE) + DATA[:8], id="PNG up to its data"),
        pytest.param(SIGNATURE + head(*SIZE) + png_chunk(b"tEXt", b"a\0b") + DATA, id="PNG with a note"),
        pytest.param(jpeg(*SIZE), id="JPEG"),
        pytest.param(jpeg(*SIZE, before_bytes=50_000), id="JPEG with notes"),
        pytest.param(b"\xff\xd8" + FRAME.replace(b"\xff\xc0", b"\xff\xc2") + SCAN, id="progressive JPEG"),
        pytest.param(b"\xff\xd8\xff\xff\xff" + FRAME[1:] + SCAN, id="JPEG with filling"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x04abjunk" + FRAME + SCAN, id="JPEG with junk between"),
        pytest.param(SCREEN + b"\0\0\0" + FRAME_OF_GIF[:1], id="GIF up to its picture"),
        pytest.param(SCREEN + b"\x80\0\0" + bytes(6) + b"\x21\xfe\x01x\0" + FRAME_OF_GIF, id="GIF with colors, a note"),
        pytest.param(riff((b"VP8 ", LOSSY)), id="lossy WebP"),
        pytest.param(riff((b"VP8L", LOSSLESS)), id="lossless WebP"),
        pytest.param(extended((b"VP8 ", LOSSY)), id="extended WebP"),
        pytest.param(bitmap(56), id="BMP"),
        pytest.param(bitmap(-56), id="BMP from the top"),
        pytest.param(b"BM" + struct.pack("<IHHI", 9, 0, 0, 26) + struct.pack("<IHHHH", 12, *SIZE, 1, 24), id="old BMP"),
    ],
)
def test_is_read(data: bytes) -> None:
    assert picture_size(data) == SIZE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<svg width='84' height='56'/>", id="no known format"),
        pytest.param(SIGNATURE + head(*SIZE), id="PNG without data"),
        pytest.param(SIGNATURE + head(*SIZE) + png_chunk(b"IEND", b""), id="PNG that ends"),
        pytest.param(SIGNATURE + DATA, id="PNG without a head"),
        pytest.param(SIGNATURE + head(*SIZE)[:-4] + b"none" + DATA, id="PNG with a wrong checksum"),
        pytest.param(SIGNATURE + head(*SIZE, depth=3) + DATA, id="PNG of no kind"),
        pytest.param(png(0, 5), id="PNG without width"),
        pytest.param(png(1 << 31, 1), id="PNG beyond all bounds"),
        pytest.param(b"\xff\xd8" + FRAME, id="JPEG without a scan"),
        pytest.param(b"\xff\xd8" + SCAN, id="JPEG without a frame"),
        pytest.param(b"\xff\xd8" + FRAME + SCAN[:6], id="JPEG cut in its scan"),
        pytest.param(b"\xff\xd8" + FRAME + FRAME + SCAN, id="JPEG with two frames"),
        pytest.param(b"\xff\xd8" + FRAME.replace(b"\xff\xc0", b"\xff\xc3") + SCAN, id="lossless JPEG"),
        pytest.param(b"\xff\xd8" + FRAME + b"\xff\xd9", id="JPEG that ends"),
        pytest.param(SCREEN + b"\0\0\0;", id="GIF without a picture"),
        pytest.param(SCREEN + b"\x80\0\0\0", id="GIF cut in its colors"),
        pytest.param(extended(), id="extended WebP without a picture"),
        pytest.param(riff((b"VP8 ", b"\x31" + LOSSY[1:])), id="WebP that goes on from another"),
        pytest.param(riff((b"VP8L", b"\x2e" + LOSSLESS[1:])), id="broken WebP"),
        pytest.param(bitmap(56)[:30], id="BMP cut"),
    ],
)
def test_has_no_size(data: bytes) -> None:
    with pytest.raises(NoSize):
        picture_size(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 300_000, id="JPEG of empty segments"),
        pytest.param(b"\xff\xd8" + b"\xff" * 1_000_000, id="JPEG of filling"),
        pytest.param(SIGNATURE + head(*SIZE) + png_chunk(b"tEXt", b"") * 100_000, id="PNG of empty chunks"),
        pytest.param(SCREEN + b"\0\0\0" + b"\x21\xfe\0" * 300_000, id="GIF of empty notes"),
    ],
)
def test_what_goes_on_and_on_is_given_up(data: bytes) -> None:
    with pytest.raises(NoSize):
        picture_size(data)
