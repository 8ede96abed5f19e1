"""Decoding of compressed bodies: what is taken, what is refused, and that a bomb is given up early."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
import zstandard

from dynamo_fe.http.content_coding import BrokenCoding, DecodedTooLarge, UnknownCoding, codings_of, decode

TEXT = b'{"model": "m", "prompt": "' + bytes(range(32, 127)) * 3000 + b'"}'
LIMIT_BYTES = 1 << 20
ENCODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "zstd": zstandard.ZstdCompressor().compress(TEXT),
}


@pytest.mark.parametrize("coding", ENCODED)
def test_every_coding_gives_the_text_back(coding: str) -> None:
    assert decode(ENCODED[coding], [coding], LIMIT_BYTES) == TEXT


@pytest.mark.parametrize("coding", ENCODED)
def test_one_that_breaks_off_is_broken(coding: str) -> None:
    with pytest.raises(BrokenCoding):
        decode(ENCODED[coding][:-5], [coding], LIMIT_BYTES)


@pytest.mark.parametrize("coding", ENCODED)
def test_another_format_is_broken(coding: str) -> None:
    with pytest.raises(BrokenCoding):
        decode(b"certainly not compressed", [coding], LIMIT_BYTES)


@pytest.mark.parametrize("coding", ENCODED)
def test_the_limit_is_exact(coding: str) -> None:
    assert decode(ENCODED[coding], [coding], len(TEXT)) == TEXT
    with pytest.raises(DecodedTooLarge):
        decode(ENCODED[coding], [coding], len(TEXT) - 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_costs_little_more_than_the_limit(coding: str) -> None:
    zeros = bytes(200 << 20)
    bomb = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}[coding](zeros)
    del zeros
    tracemalloc.start()
    try:
        with pytest.raises(DecodedTooLarge):
            decode(bomb, [coding], LIMIT_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_codings_are_undone_from_the_last_to_the_first() -> None:
    body = gzip.compress(zlib.compress(TEXT))
    assert decode(body, codings_of(b"deflate, GZIP"), LIMIT_BYTES) == TEXT


def test_members_and_frames_behind_each_other_are_one_text() -> None:
    half = len(TEXT) // 2
    zstd = zstandard.ZstdCompressor().compress
    assert decode(gzip.compress(TEXT[:half]) + gzip.compress(TEXT[half:]), ["gzip"], LIMIT_BYTES) == TEXT
    assert decode(zstd(TEXT[:half]) + zstd(TEXT[half:]), ["zstd"], LIMIT_BYTES) == TEXT


@pytest.mark.parametrize("header", [None, b"", b"identity", b" Identity , "])
def test_nothing_is_to_be_undone(header: bytes | None) -> None:
    assert codings_of(header) == []


@pytest.mark.parametrize("header", [b"br", b"gzip, br", b"gzip, gzip, gzip", b"\xff"])
def test_others_are_unknown(header: bytes) -> None:
    with pytest.raises(UnknownCoding):
        codings_of(header)
