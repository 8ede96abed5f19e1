"""Blocks of generated tokens are those of a prompt that repeats them."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext.block_hash import local_hashes, sequence_hashes
from dynamo_fe.routing.kv.approximate import ApproximateIndex
from dynamo_fe.routing.kv.output_blocks import OutputBlocks, ends_within_a_block

BLOCK = 4
SEED, CHAIN_SEED = 7, 9
TOKENS = st.lists(st.integers(0, 99), max_size=15)


def hashes_of(tokens: list[int], eagle: bool) -> array[int]:
    return sequence_hashes(local_hashes(tokens, BLOCK, SEED, eagle), CHAIN_SEED)


@given(TOKENS, st.lists(st.tuples(st.integers(0, 2), TOKENS), max_size=12), st.booleans())
def test_they_are_those_of_a_prompt_of_all_tokens_but_the_newest(
    prompt: list[int], steps: list[tuple[int, list[int]]], eagle: bool
) -> None:
    index = ApproximateIndex(1.0, by_size=True)
    known = hashes_of(prompt, eagle)
    tail = len(prompt) - len(known) * BLOCK
    running = index.begin(0, known, ends_within_a_block(tail, len(known), eagle), 1000, 0.0)
    assert running is not None
    blocks = OutputBlocks(running, prompt, known, BLOCK, SEED, CHAIN_SEED, eagle)
    whole = set(known)
    answers: dict[int, list[int]] = {}
    for number, tokens in steps:
        blocks.take(number, tokens)
        if tokens:
            answers.setdefault(number, []).extend(tokens)
        computed = [prompt + answer[:-1] for answer in answers.values()] or [prompt]
        # with Eagle a block's hash covers the token behind it
        hashed = [prompt + answer for answer in answers.values()] if eagle else computed
        wanted = [hashes_of(each, eagle) for each in hashed] or [known]
        assert [index.depths(each, 0.0).get(0, 0) for each in wanted] == [len(each) for each in wanted]
        begun = sum(
            ends_within_a_block(len(each) - len(path) * BLOCK, len(path), eagle)
            for each, path in zip(computed, wanted, strict=False)
        )
        whole = {block for path in wanted for block in path}
        assert index.blocks == len(whole) + begun
    running.end()
    assert index.blocks == len(whole)
