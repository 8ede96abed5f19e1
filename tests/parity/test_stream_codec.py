"""The compiled codec says what its plain-Python statement says: for good frames, mangled ones and any cut of them."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext import stream_codec as codec
from dynamo_fe.protocol.worker import decode_envelope
from tests.reference import stream_codec as reference

MAX_FRAME_BYTES = 4096

QUICK = ["token_ids", "finish_reason", "index", "completion_usage", "output_type", "cum_log_probs"]
KNOWN = [*QUICK, *reference.NULL_ONLY]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=40),
    st.binary(max_size=300), st.sampled_from([*reference.FINISH_REASONS, "tool_calls", "text", "data"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=12), inner, max_size=20),
    max_leaves=12,
)
U32 = st.integers(0, 2**32 - 1)
TOKENS = st.lists(U32, max_size=40) | st.lists(st.integers(-5, 2**33), max_size=4) | VALUES
ITEMS = st.builds(
    lambda base, extra: base | extra,
    st.fixed_dictionaries(
        {"token_ids": TOKENS},
        optional={
            "finish_reason": st.sampled_from([None, *reference.FINISH_REASONS]) | VALUES,
            "index": st.none() | U32,
            "completion_usage": st.none() | st.dictionaries(st.text(max_size=20), VALUES, max_size=4),
            "output_type": st.sampled_from([None, "text", "image"]),
            "cum_log_probs": st.none() | st.floats(allow_nan=False) | st.integers(-9, 9),
        },
    ),
    st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=8), st.none() | VALUES, max_size=4),
)
ENVELOPES = st.one_of(
    st.builds(lambda item: {"data": item}, ITEMS),
    st.fixed_dictionaries(
        {}, optional={key: st.none() | VALUES for key in ("id", "event", "comment", "error")} | {"data": ITEMS | VALUES}
    ),
    VALUES,
)
FRAMES = st.one_of(
    st.builds(lambda envelope: {"data": envelope, "complete_final": False}, ENVELOPES),
    st.fixed_dictionaries({}, optional={"data": ENVELOPES, "complete_final": st.booleans() | VALUES, "x": VALUES}),
    st.just({"complete_final": True}),
)
CONTROLS = st.sampled_from([b'{"error":null}', b'"sentinel"', b'{"subject":"s","stream_type":"response"}'])


def plain(value: Any) -> Any:
    if value is codec.FINAL or value is reference.FINAL:
        return "final marker"
    if isinstance(value, codec.OutputItem | reference.OutputItem):
        return (value.token_ids, value.finish_reason, value.index, value.usage, value.raw)
    return value


def outcome(decoder: Any, pieces: list[bytes]) -> list[Any]:
    """Everything a decoder says about these pieces, a refusal at the place where it came."""
    said: list[Any] = []
    for piece in pieces:
        try:
            said += map(plain, decoder.feed(piece))
        except ValueError as error:
            said += map(plain, error.items)  # type: ignore[attr-defined]
            said.append(str(error))
    return said


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]


def assert_equal(name: str, args: tuple[Any, ...], data: bytes, places: list[int]) -> None:
    pieces = cut(data, places)
    expected = outcome(getattr(reference, name)(*args), pieces)
    assert outcome(getattr(codec, name)(*args), pieces) == expected


CUTS = st.lists(st.integers(0, 1 << 20), max_size=8)


@given(st.lists(FRAMES | CONTROLS, max_size=5), CUTS, st.booleans())
def test_whole_streams(frames: list[Any], places: list[int], greeted: bool) -> None:
    data = reference.two_part(b'{"error":null}', b"") if greeted else b""
    for frame in frames:
        control = isinstance(frame, bytes)
        data += reference.two_part(frame, b"") if control else reference.two_part(b"", msgspec.msgpack.encode(frame))
    assert_equal("ResponseDecoder", ("msgpack", MAX_FRAME_BYTES), data, places)


@given(FRAMES, st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4), st.integers(0, 8))
def test_mangled_msgpack_frames(frame: Any, changes: list[tuple[int, int]], lost: int) -> None:
    data = bytearray(msgspec.msgpack.encode(frame))
    for place, byte in changes:
        data[place % len(data)] = byte
    body = bytes(data[: len(data) - lost])
    stream = reference.two_part(b"{}", b"") + reference.two_part(b"", body)
    assert_equal("ResponseDecoder", ("msgpack", MAX_FRAME_BYTES), stream, [])


@given(st.binary(min_size=1, max_size=60))
def test_msgpack_noise(noise: bytes) -> None:
    for body in (noise, b"\x82\xa4data" + noise + b"\xaecomplete_final\xc2", b"\x81\xa4data\x81\xa4data" + noise):
        stream = reference.two_part(b"{}", b"") + reference.two_part(b"", body)
        assert_equal("ResponseDecoder", ("msgpack", MAX_FRAME_BYTES), stream, [])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\{}[],: é\n', max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='d"\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)
JSON_FRAMES = st.fixed_dictionaries(
    {}, optional={"data": JSON_VALUES, "complete_final": st.booleans() | JSON_VALUES, "x": JSON_VALUES}
)


JSON_CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 127)), max_size=2)


@given(JSON_FRAMES, st.sampled_from([None, 1]), CUTS, JSON_CHANGES)
def test_json_frames(frame: Any, indent: int | None, places: list[int], changes: list[tuple[int, int]]) -> None:
    data = bytearray(json.dumps(frame, indent=indent).encode())
    for place, byte in changes:
        data[place % len(data)] = byte
    stream = reference.two_part(b"{}", b"") + reference.two_part(b"", bytes(data))
    assert_equal("ResponseDecoder", ("json", MAX_FRAME_BYTES), stream, places)


@given(st.text(alphabet='{}[]",:\\ datcomple_finrus01\n', min_size=1, max_size=40))
def test_json_noise(noise: str) -> None:
    for text in (noise, '{"data":' + noise + ',"complete_final":false}', '{"complete_final":true' + noise):
        stream = reference.two_part(b"{}", b"") + reference.two_part(b"", text.encode())
        assert_equal("ResponseDecoder", ("json", MAX_FRAME_BYTES), stream, [])


SIZES = st.sampled_from([0, 1, 2, 14, 300, 4096, 4097, 1 << 20, (1 << 20) + 1, 1 << 32, 1 << 63, (1 << 64) - 1])


@given(SIZES, SIZES, st.binary(max_size=40), CUTS)
def test_declared_lengths(header: int, data: int, rest: bytes, places: list[int]) -> None:
    stream = header.to_bytes(8) + data.to_bytes(8) + bytes(8) + rest
    assert_equal("ResponseDecoder", ("msgpack", MAX_FRAME_BYTES), stream, places)


@given(st.lists(st.binary(max_size=80), max_size=5), CUTS)
def test_acknowledgements(texts: list[bytes], places: list[int]) -> None:
    stream = b"".join(len(text).to_bytes(4) + text for text in texts)
    assert_equal("AckDecoder", (64,), stream, places)


PARTS = st.tuples(*[st.binary(max_size=40)] * 4)


@given(st.lists(PARTS | st.binary(max_size=60), max_size=4), CUTS, st.sampled_from([90, 1 << 20]))
def test_requests(requests: list[Any], places: list[int], max_bytes: int) -> None:
    stream = b""
    for request in requests:
        if isinstance(request, bytes):
            stream += b"\0\1p\0\2{}" + len(request).to_bytes(4) + request
        else:
            assert codec.request_frame(*request) == reference.request_frame(*request)
            stream += codec.request_frame(*request)
    assert_equal("RequestDecoder", (max_bytes,), stream, places)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_two_part(header: bytes, data: bytes) -> None:
    assert codec.two_part(header, data) == reference.two_part(header, data)


def test_a_large_frame_in_many_reads_is_handed_over_whole() -> None:
    item = {"token_ids": [1], "text": "x" * 3_000_000}
    body = msgspec.msgpack.encode({"data": {"data": item}, "complete_final": False})
    stream = reference.two_part(b"{}", b"") + reference.two_part(b"", body) + reference.two_part(b'"sentinel"', b"")
    decoder = codec.ResponseDecoder("msgpack", 1 << 24)
    source = random.Random(7)
    said: list[Any] = []
    at = 0
    while at < len(stream):
        size = source.randrange(1, 65536)
        said += decoder.feed(stream[at : at + size])
        at += size
    assert said[0] == b"{}" and said[2] == b'"sentinel"' and len(said) == 3
    assert msgspec.msgpack.decode(said[1].raw)["data"]["text"] == "x" * 3_000_000


QUICK_ITEMS = st.fixed_dictionaries(
    {"token_ids": st.lists(st.integers(0, 0xFFFF_FFFF), max_size=20)},
    optional={
        "tokens": st.none(),
        "text": st.none(),
        "output_type": st.just("text"),
        "cum_log_probs": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        "log_probs": st.none(),
        "finish_reason": st.sampled_from([None, "stop", "length", "eos", "cancelled", "content_filter", "abort"]),
        "index": st.one_of(st.none(), st.integers(0, 127)),
        "engine_data": st.none(),
    },
)


@given(QUICK_ITEMS)
def test_everyday_items_are_read_quickly_and_say_what_the_typed_decoder_says(fields: dict[str, Any]) -> None:
    envelope = msgspec.msgpack.encode({"data": fields})
    frame = msgspec.msgpack.encode({"data": msgspec.Raw(envelope), "complete_final": False})
    decoder = codec.ResponseDecoder("msgpack", 1 << 20)
    _, item = decoder.feed(codec.two_part(b"{}", b"") + codec.two_part(b"", frame))
    assert isinstance(item, codec.OutputItem) and item.raw is None
    typed = decode_envelope(envelope, "msgpack").data
    assert typed is not None
    assert (item.token_ids, item.finish_reason, item.index) == (typed.token_ids, typed.finish_reason, typed.index or 0)
