"""Messages of the ZMQ event plane, read by the compiled module and by its plain-Python statement."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext.event_frames import read_frames
from tests.reference.event_frames import read_frames as reference

WORD = st.integers(0, 2**64 - 1)
ANYTHING = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary() | st.lists(WORD)
NAMES = ("publisher_id", "sequence", "published_at", "topic", "payload")
ENVELOPE = st.fixed_dictionaries(
    {"publisher_id": WORD, "sequence": WORD, "published_at": WORD, "topic": st.text(), "payload": st.binary()}
)
MORE = st.dictionaries(st.text(max_size=12).filter(lambda name: name not in NAMES), ANYTHING, max_size=3)


def framed(envelope: Any, publisher_id: int, sequence: int) -> list[bytes]:
    body = msgspec.msgpack.encode(envelope)
    return [
        b"topic",
        struct.pack(">Q", publisher_id),
        struct.pack(">Q", sequence),
        struct.pack(">BI", 1, len(body)) + body,
    ]


@given(ENVELOPE, MORE, st.randoms(use_true_random=False))
def test_what_was_sent_is_read_in_any_order_with_more_beside_it(
    envelope: dict[str, Any], more: dict[str, Any], order: Any
) -> None:
    entries = list((envelope | more).items())
    order.shuffle(entries)
    frames = framed(dict(entries), envelope["publisher_id"], envelope["sequence"])
    assert read_frames(frames) == reference(frames) == tuple(envelope[name] for name in NAMES)


@given(ENVELOPE, st.dictionaries(st.sampled_from(NAMES) | st.text() | st.integers(0, 9), ANYTHING), WORD, WORD)
def test_what_is_not_just_so_is_left_to_others(
    envelope: dict[str, Any], instead: dict[Any, Any], publisher_id: int, sequence: int
) -> None:
    for value in (envelope | instead, instead, [envelope]):
        for told in ((publisher_id, sequence), (envelope["publisher_id"], envelope["sequence"])):
            frames = framed(value, *told)
            assert read_frames(frames) == reference(frames)


@given(ENVELOPE, st.data())
def test_damaged_frames_are_read_alike_or_left_to_others(envelope: dict[str, Any], data: st.DataObject) -> None:
    frames = framed(envelope, envelope["publisher_id"], envelope["sequence"])
    at = data.draw(st.integers(0, 3))
    damaged = bytearray(frames[at])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    frames[at] = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    found = read_frames(frames)
    assert found is None or found == reference(frames)


def test_other_counts_of_frames_and_other_types_are_left_to_others() -> None:
    frames = framed(dict.fromkeys(NAMES[:3], 1) | {"topic": "t", "payload": b""}, 1, 1)
    assert read_frames(frames) == (1, 1, 1, "t", b"")
    for other in ([], frames[:3], [*frames, b""], [*frames[:3], memoryview(frames[3])], [None, *frames[1:]]):
        assert read_frames(other) is None  # type: ignore[arg-type]
