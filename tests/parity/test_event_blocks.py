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
    assert event_blocks.read_changes(head, 1, 0, 1) is None


TIER = st.sampled_from(["device", "host_pinned", "disk", "external"])
STORED = st.fixed_dictionaries(
    {
        "parent_hash": st.none() | WORD,
        "start_position": st.none() | st.integers(0, 2**32 - 1),
        "blocks": st.lists(BLOCK),
    }
)
DATA = st.one_of(
    st.builds(lambda stored: {"stored": stored}, STORED),
    st.builds(lambda hashes: {"removed": {"block_hashes": hashes}}, st.lists(WORD)),
)
TOLD = st.fixed_dictionaries(
    {}, optional={"storage_tier": TIER, "residency_domain": st.just("worker"), "more": ANYTHING}
)


def batch_of(
    changes: list[tuple[dict[str, Any], dict[str, Any]]], worker_id: int, dp_rank: int, first_id: int
) -> list[Any]:
    return [
        told | {"worker_id": worker_id, "event": {"event_id": first_id + at, "data": data, "dp_rank": dp_rank}}
        for at, (told, data) in enumerate(changes)
    ]


@given(st.lists(st.tuples(TOLD, DATA), max_size=4), WORD, st.integers(0, 2**32 - 1), st.integers(0, 2**63))
def test_changes_of_a_rank_are_read(changes: list[Any], worker_id: int, dp_rank: int, first_id: int) -> None:
    payload = msgspec.msgpack.encode(batch_of(changes, worker_id, dp_rank, first_id))
    found = event_blocks.read_changes(payload, worker_id, dp_rank, first_id)
    assert found is not None
    assert found == reference.read_changes(payload, worker_id, dp_rank, first_id)


@given(st.lists(st.tuples(TOLD, DATA), min_size=1, max_size=3), st.data())
def test_a_batch_with_anything_else_in_it_is_left_to_others(changes: list[Any], data: st.DataObject) -> None:
    batch = batch_of(changes, 7, 0, 5)
    event = data.draw(st.sampled_from(batch))
    kind, change = next(iter(event["event"]["data"].items()))
    places = [(event, name) for name in event] + [(event["event"], name) for name in event["event"]]
    place, name = data.draw(
        st.sampled_from([*places, *((change, name) for name in change), (event["event"]["data"], kind)])
    )
    if data.draw(st.booleans()):
        del place[name]
    else:
        place[name] = data.draw(ANYTHING)
    payload = msgspec.msgpack.encode(batch)
    assert event_blocks.read_changes(payload, 7, 0, 5) == reference.read_changes(payload, 7, 0, 5)


@given(st.lists(st.tuples(TOLD, DATA), min_size=1, max_size=2), st.data())
def test_damaged_batches_are_read_alike_or_left_to_others(changes: list[Any], data: st.DataObject) -> None:
    whole = bytearray(msgspec.msgpack.encode(batch_of(changes, 7, 0, 5)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    found, expected = (module.read_changes(damaged, 7, 0, 5) for module in (event_blocks, reference))
    assert found is None or found == expected or expected is None
