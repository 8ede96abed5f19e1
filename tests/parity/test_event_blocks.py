"""The blocks of stored events, read by the compiled module and by its plain-Python statement."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext import event_blocks
from tests.reference import event_blocks as reference

WORD = st.integers(0, 2**64 - 1)
LEAF = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
ANYTHING = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
NAME = st.sampled_from(["block_hash", "tokens_hash", "mm_extra_info"]) | st.text(max_size=12)
BLOCK = st.builds(
    lambda block, tokens, more: more | {"block_hash": block, "tokens_hash": tokens},
    WORD,
    WORD,
    st.dictionaries(st.text(max_size=12), ANYTHING, max_size=3),
)
ALMOST = st.lists(BLOCK | st.dictionaries(NAME | st.integers(0, 9), ANYTHING, max_size=4) | ANYTHING, max_size=4)


def outcome(module: Any, data: bytes) -> tuple[array[int], array[int]] | None:
    try:
        found: tuple[array[int], array[int]] = module.unpack_blocks(data)
    except ValueError:
        return None
    return found


@given(st.lists(BLOCK, max_size=20))
def test_blocks_are_read_whatever_else_they_carry(blocks: list[dict[str, Any]]) -> None:
    data = msgspec.msgpack.encode(blocks)
    found = event_blocks.unpack_blocks(data)
    assert found == reference.unpack_blocks(data)
    assert [list(hashes) for hashes in found] == [
        [block[name] for block in blocks] for name in ("block_hash", "tokens_hash")
    ]


@given(ALMOST | ANYTHING, st.binary(max_size=2))
def test_what_is_no_list_of_blocks_is_refused(value: Any, behind: bytes) -> None:
    data = msgspec.msgpack.encode(value) + behind
    assert outcome(event_blocks, data) == outcome(reference, data)


@given(st.lists(BLOCK, min_size=1, max_size=3), st.data())
def test_damaged_bytes_are_read_alike_or_refused(blocks: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = bytearray(msgspec.msgpack.encode(blocks))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    found, expected = outcome(event_blocks, damaged), outcome(reference, damaged)
    # The reference reads all strings and refuses those that are not UTF-8; the compiled module passes over them.
    assert found == expected or expected is None


@pytest.mark.parametrize(
    "head", [b"", b"\xdd", b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\x91", b"\x91\xdf\xff\xff\xff\xff"]
)
def test_a_count_without_what_it_counts_allocates_nothing_much(head: bytes) -> None:
    with pytest.raises(ValueError):
        event_blocks.unpack_blocks(head)
