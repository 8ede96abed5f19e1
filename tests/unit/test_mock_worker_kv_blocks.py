"""The mock engine's prompt blocks: counted, shared by prefix, evicted when the room is needed."""

from dynamo_fe.workers.kv_blocks import Held, KvBlocks, RemovedBlocks, StoredBlocks


def acquire(blocks: KvBlocks, prompt: list[int]) -> Held:
    held = blocks.acquire(prompt)
    assert held is not None
    return held


def test_counts_full_and_begun_blocks() -> None:
    blocks = KvBlocks(10, 4)
    held = acquire(blocks, list(range(9)))
    assert (blocks.used_blocks, blocks.total_blocks) == (3, 10)
    blocks.release(held)
    assert blocks.used_blocks == 0


def test_a_repeated_prompt_is_cached_up_to_its_last_token() -> None:
    blocks = KvBlocks(10, 4)
    blocks.release(acquire(blocks, list(range(8))))
    assert acquire(blocks, list(range(8))).cached_tokens == 4
    assert acquire(blocks, list(range(9))).cached_tokens == 8


def test_only_a_common_beginning_is_cached() -> None:
    blocks = KvBlocks(20, 4)
    blocks.release(acquire(blocks, [1, 1, 1, 1, 2, 2, 2, 2, 3]))
    assert acquire(blocks, [1, 1, 1, 1, 9, 9, 9, 9, 3]).cached_tokens == 4
    assert acquire(blocks, [9, 9, 9, 9, 2, 2, 2, 2, 3]).cached_tokens == 0


def test_running_prompts_share_their_full_blocks() -> None:
    blocks = KvBlocks(5, 4)
    first = acquire(blocks, list(range(9)))
    second = acquire(blocks, list(range(9)))
    assert second.cached_tokens == 8
    assert blocks.used_blocks == 4
    blocks.release(first)
    assert blocks.used_blocks == 3


def test_refuses_when_too_many_are_in_use_and_changes_nothing() -> None:
    blocks = KvBlocks(3, 4)
    held = acquire(blocks, list(range(8)))
    assert blocks.acquire(list(range(100, 108))) is None
    assert blocks.used_blocks == 2
    blocks.release(held)
    assert blocks.acquire(list(range(100, 108))) is not None


def test_the_longest_unused_go_first() -> None:
    blocks = KvBlocks(4, 2)
    for prompt in ([1, 1, 9], [2, 2, 9], [3, 3, 9]):
        blocks.release(acquire(blocks, prompt))
    blocks.release(acquire(blocks, [1, 1, 9]))
    held = acquire(blocks, [4, 4, 5, 5, 9])
    blocks.release(held)
    assert acquire(blocks, [1, 1, 9]).cached_tokens == 2
    assert acquire(blocks, [2, 2, 9]).cached_tokens == 0


def test_the_end_of_a_prompt_is_evicted_before_its_beginning() -> None:
    blocks = KvBlocks(3, 2)
    blocks.release(acquire(blocks, [1, 1, 2, 2, 3, 3]))
    blocks.release(acquire(blocks, [8, 8]))
    assert acquire(blocks, [1, 1, 2, 2, 9]).cached_tokens == 4


def test_says_whether_a_prompt_can_ever_run() -> None:
    blocks = KvBlocks(2, 4)
    assert blocks.fits(8)
    assert not blocks.fits(9)


def stored(blocks: KvBlocks) -> list[tuple[int | None, list[int]]]:
    return [
        (change.parent, change.hashes.tolist()) for change in blocks.take_changes() if isinstance(change, StoredBlocks)
    ]


def test_a_generated_block_is_stored_when_the_token_after_it_comes() -> None:
    blocks = KvBlocks(10, 4)
    held = acquire(blocks, list(range(6)))
    (_, [first]), *_ = stored(blocks)
    blocks.extend(held, [6, 7])
    assert stored(blocks) == [] and blocks.used_blocks == 2
    blocks.extend(held, [8])
    ((parent, [second]),) = stored(blocks)
    assert parent == first and blocks.used_blocks == 3
    blocks.extend(held, [9, 10, 11, 12])
    ((parent, _),) = stored(blocks)
    assert parent == second and blocks.used_blocks == 4
    blocks.release(held)
    assert blocks.used_blocks == 0
    assert acquire(blocks, list(range(14))).cached_tokens == 12


def test_generated_blocks_of_a_prompt_of_less_than_one_begin_a_chain() -> None:
    blocks = KvBlocks(10, 4)
    held = acquire(blocks, [0])
    blocks.extend(held, [1, 2, 3, 4])
    ((parent, hashes),) = stored(blocks)
    assert parent is None
    assert hashes == acquire(KvBlocks(10, 4), [0, 1, 2, 3]).hashes.tolist()


def test_what_another_has_generated_already_is_shared() -> None:
    blocks = KvBlocks(10, 4)
    first, second = acquire(blocks, [0, 1]), acquire(blocks, [0, 1])
    for held in (first, second):
        blocks.extend(held, [2, 3, 4])
    assert len(stored(blocks)) == 1 and blocks.used_blocks == 3
    blocks.release(first)
    assert blocks.used_blocks == 2


def test_generating_evicts_what_is_unused_and_goes_on_uncached_where_all_are_in_use() -> None:
    blocks = KvBlocks(3, 4)
    blocks.release(acquire(blocks, list(range(100, 108))))
    held = acquire(blocks, list(range(4)))
    blocks.take_changes()
    blocks.extend(held, [4])
    blocks.extend(held, [5, 6, 7, 8])
    removed = [change for change in blocks.take_changes() if isinstance(change, RemovedBlocks)]
    assert [len(change.hashes) for change in removed] == [1, 1] and blocks.used_blocks == 3
    blocks.extend(held, list(range(9, 40)))
    assert blocks.used_blocks == 3
    blocks.release(held)
    assert blocks.used_blocks == 0
    assert acquire(blocks, list(range(12))).cached_tokens == 8
