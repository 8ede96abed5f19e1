"""What the benchmark of the prefix index fills both indexes with; the real library's interpreter imports it as well."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

BLOCK_TOKENS = 64
BLOCKS = 128
SHARED = 64
TOKENS = BLOCKS * BLOCK_TOKENS
SYSTEM_PROMPTS = 8


def words(rnd: random.Random, count: int) -> array[int]:
    """Random u64."""
    return array("Q", rnd.randbytes(8 * count))


def tokens(rnd: random.Random, blocks: int) -> array[int]:
    """Random ids of a vocabulary of 131,072, as u32."""
    size = 4 * blocks * BLOCK_TOKENS
    mask = int.from_bytes((131_071).to_bytes(4, "little") * (size // 4), "little")
    return array("I", (int.from_bytes(rnd.randbytes(size), "little") & mask).to_bytes(size, "little"))


class Sessions:
    """Conversations of 128 blocks on one worker each: one of eight system prompts of 64 blocks, then 64 of their own.

    The system prompts and the first `asked` conversations have token ids, of which queries can be made; of the others
    only hashes exist.
    """

    def __init__(self, blocks: int, workers: int, asked: int, seed: int = 7) -> None:
        self.count = max(blocks // (BLOCKS - SHARED), asked)
        self.workers = workers
        self.asked = asked
        self.seed = seed

    def prompts(self) -> list[array[int]]:
        """8,192 token ids each, as u32."""
        rnd = random.Random(self.seed)
        systems = [tokens(rnd, SHARED) for _ in range(SYSTEM_PROMPTS)]
        return [systems[number % SYSTEM_PROMPTS] + tokens(rnd, BLOCKS - SHARED) for number in range(self.asked)]

    def stores(self, asked: list[array[int]]) -> Iterator[tuple[int, array[int], array[int]]]:
        """(worker, ids, local hashes) of every conversation; `asked` are the local hashes of the prompts."""
        rnd = random.Random(self.seed + 1)
        ids_of_systems = [words(rnd, SHARED) for _ in range(SYSTEM_PROMPTS)]
        for number in range(self.count):
            system = number % SYSTEM_PROMPTS
            own = asked[number] if number < self.asked else asked[system][:SHARED] + words(rnd, BLOCKS - SHARED)
            # Every system prompt comes to every worker, if there are conversations enough.
            worker = number // SYSTEM_PROMPTS % self.workers + 1
            yield worker, ids_of_systems[system] + words(rnd, BLOCKS - SHARED), own
