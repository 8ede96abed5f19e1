"""The compiled block hashes equal their plain-Python statement, and the hash equals the xxhash package."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from dynamo_fe._cext import block_hash
from tests.reference import block_hash as reference

TOKEN = st.integers(0, 2**32 - 1)
WORD = st.integers(0, 2**64 - 1)
NAMES = st.none() | st.text(max_size=12)


@given(st.one_of(st.binary(max_size=300), st.binary(min_size=1000, max_size=3000)), WORD)
def test_the_hash_is_xxh3(data: bytes, seed: int) -> None:
    assert block_hash.xxh3(data, seed) == xxh3_64_intdigest(data, seed)


def test_the_hash_is_xxh3_at_every_length() -> None:
    data = bytes(number * 7 % 251 for number in range(2200))
    for size in range(len(data)):
        assert block_hash.xxh3(data[:size], size) == xxh3_64_intdigest(data[:size], size), size


@given(NAMES, NAMES)
def test_seeds(lora_name: str | None, cache_namespace: str | None) -> None:
    assert block_hash.block_seed(lora_name, cache_namespace) == reference.block_seed(lora_name, cache_namespace)


@given(
    st.lists(TOKEN, max_size=300),
    st.integers(1, 130),
    WORD,
    st.booleans(),
    st.none() | st.lists(st.none() | st.lists(WORD, max_size=4), max_size=20),
)
def test_local_hashes(
    tokens: list[int], block_tokens: int, seed: int, eagle: bool, mm_hashes: list[list[int] | None] | None
) -> None:
    expected = reference.local_hashes(tokens, block_tokens, seed, eagle, mm_hashes)
    assert block_hash.local_hashes(tokens, block_tokens, seed, eagle, mm_hashes) == expected
    assert block_hash.local_hashes(array("I", tokens), block_tokens, seed, eagle, mm_hashes) == expected


@given(st.lists(WORD, max_size=50), WORD)
def test_sequence_hashes(local: list[int], chain_seed: int) -> None:
    expected = reference.sequence_hashes(local, chain_seed)
    assert block_hash.sequence_hashes(array("Q", local), chain_seed) == expected


@given(st.lists(TOKEN, max_size=60), st.integers(1, 5), st.integers(1, 4))
def test_buffers_that_do_not_lie_in_one_piece(tokens: list[int], step: int, block_tokens: int) -> None:
    spread = memoryview(array("I", tokens))[::step]
    assert block_hash.local_hashes(spread, block_tokens) == reference.local_hashes(tokens[::step], block_tokens)


def test_a_million_tokens_and_one() -> None:
    tokens = array("I", (number * 2654435761 % 2**32 for number in range(10**6 + 1)))
    hashes = block_hash.local_hashes(tokens, 7)
    assert len(hashes) == (10**6 + 1) // 7
    for block in (0, 1, 70_000, len(hashes) - 1):
        assert hashes[block] == reference.local_hashes(tokens[7 * block : 7 * block + 7], 7)[0]


@given(st.lists(st.one_of(st.integers(), st.booleans(), st.text(max_size=2), st.none()), max_size=6))
def test_what_is_no_token_id_is_refused_alike(ids: list[int]) -> None:
    try:
        expected = reference.pack_tokens(ids)
    except (TypeError, ValueError) as error:
        with pytest.raises(type(error), match="token id"):
            block_hash.pack_tokens(ids)
    else:
        assert block_hash.pack_tokens(ids) == expected


@pytest.mark.parametrize("block_tokens", [0, -1])
def test_a_block_size_below_one_is_refused(block_tokens: int) -> None:
    with pytest.raises(ValueError, match="block size"):
        block_hash.local_hashes(array("I", [1]), block_tokens)


@pytest.mark.parametrize("tokens", [array("i", [1]), array("H", [1]), array("Q", [1]), b"1234", array("f", [1.0])])
def test_other_buffers_are_refused(tokens: object) -> None:
    with pytest.raises(ValueError, match="32-bit"):
        block_hash.local_hashes(tokens, 1)


def test_a_block_size_beyond_memory_gives_no_block() -> None:
    assert block_hash.local_hashes(array("I", [1, 2, 3]), 2**62) == array("Q")
