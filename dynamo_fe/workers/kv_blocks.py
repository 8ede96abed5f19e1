"""The mock engine's KV cache: prompt blocks with a prefix cache, counted but not stored."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

HASH_BYTES = 8


class Held(msgspec.Struct, frozen=True):
    """The blocks of one running prompt. `cached_tokens` of it were in the cache and need no prefill."""

    hashes: tuple[bytes, ...]  # of the full blocks, each over its tokens and all before them
    partial_blocks: int  # 1 if a block is begun but not full; such a block is never shared
    cached_tokens: int


class KvBlocks:
    """A pool of `total_blocks` blocks of `block_tokens` tokens.

    Blocks of running prompts are shared by their hash; when the last user goes they stay cached until the room is
    needed, the longest unused first.
    """

    def __init__(self, total_blocks: int, block_tokens: int) -> None:
        self.total_blocks = total_blocks
        self.block_tokens = block_tokens
        self._users: dict[bytes, int] = {}
        self._idle: OrderedDict[bytes, None] = OrderedDict()
        self._partial_blocks = 0

    @property
    def used_blocks(self) -> int:
        """Blocks that running prompts hold; cached ones are not counted, they can be had."""
        return len(self._users) + self._partial_blocks

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt of that length could run if it were alone."""
        return -(-prompt_tokens // self.block_tokens) <= self.total_blocks

    def acquire(self, prompt: Sequence[int]) -> Held | None:
        """Takes the blocks of a prompt, or None if too many are in use."""
        hashes = self._hash(prompt)
        partial = 1 if len(prompt) % self.block_tokens else 0
        fresh = sum(1 for key in hashes if key not in self._users) + partial
        if self.used_blocks + fresh > self.total_blocks:
            return None
        cached = 0
        for key in hashes:
            if key not in self._users and key not in self._idle:
                break
            cached += 1
        for key in hashes:
            self._idle.pop(key, None)
            self._users[key] = self._users.get(key, 0) + 1
        self._partial_blocks += partial
        self._evict()
        # The last token is always computed, or there would be nothing to sample from.
        usable = min(cached, max(len(prompt) - 1, 0) // self.block_tokens)
        return Held(hashes, partial, usable * self.block_tokens)

    def release(self, held: Held) -> None:
        """Gives the blocks back; the full ones stay cached."""
        self._partial_blocks -= held.partial_blocks
        # Reversed: the end of a prompt is evicted before its beginning, which more prompts share.
        for key in reversed(held.hashes):
            users = self._users[key] - 1
            if users:
                self._users[key] = users
            else:
                del self._users[key]
                self._idle[key] = None

    def _evict(self) -> None:
        while self._idle and self.used_blocks + len(self._idle) > self.total_blocks:
            self._idle.popitem(last=False)

    def _hash(self, prompt: Sequence[int]) -> tuple[bytes, ...]:
        size = self.block_tokens
        data = array("Q", prompt).tobytes()
        width = size * 8
        chain = hashlib.blake2b(digest_size=HASH_BYTES)
        hashes = []
        for block in range(len(prompt) // size):
            chain.update(data[block * width : (block + 1) * width])
            hashes.append(chain.digest())
        return tuple(hashes)
