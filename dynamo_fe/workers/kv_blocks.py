"""The mock engine's KV cache of one rank: blocks with a prefix cache, counted but not stored."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from dynamo_fe._cext.block_hash import local_hashes, sequence_hashes


class Held(msgspec.Struct, eq=False):
    """The blocks of one running request. `cached_tokens` of its prompt were in the cache and need no prefill."""

    hashes: array[int]  # of the full blocks, each over its tokens and all before them
    tail: list[int] | None  # tokens of the begun block, which is never shared; None: no room was left to go on
    cached_tokens: int


class StoredBlocks(msgspec.Struct, frozen=True):
    """Blocks that are new in the cache, a chain that follows `parent` (None: they begin a prompt)."""

    parent: int | None
    hashes: array[int]
    local: array[int]  # over the tokens of each block alone


class RemovedBlocks(msgspec.Struct, frozen=True):
    """Blocks that were evicted, ends of chains first."""

    hashes: array[int]


CacheChange = StoredBlocks | RemovedBlocks


class KvBlocks:
    """A pool of `total_blocks` blocks of `block_tokens` tokens.

    Blocks of running requests are shared by their hash; when the last user goes they stay cached until the room is
    needed, the longest unused first. A block is as recent as its latest follower, so that chains lose their ends first.
    """

    def __init__(self, total_blocks: int, block_tokens: int) -> None:
        self.total_blocks = total_blocks
        self.block_tokens = block_tokens
        self._users: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._places: dict[int, tuple[int | None, int]] = {}  # parent and local hash of all that is cached
        self._partial_blocks = 0
        self._changes: list[CacheChange] = []

    @property
    def used_blocks(self) -> int:
        """Blocks that running prompts hold; cached ones are not counted, they can be had."""
        return len(self._users) + self._partial_blocks

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt of that length could run if it were alone."""
        return -(-prompt_tokens // self.block_tokens) <= self.total_blocks

    def acquire(self, prompt: Sequence[int]) -> Held | None:
        """Takes the blocks of a prompt, or None if too many are in use."""
        local = local_hashes(list(prompt), self.block_tokens)
        hashes = sequence_hashes(local)
        tail = list(prompt[len(hashes) * self.block_tokens :])
        partial = 1 if tail else 0
        fresh = sum(1 for key in hashes if key not in self._users) + partial
        if self.used_blocks + fresh > self.total_blocks:
            return None
        cached = 0
        while cached < len(hashes) and hashes[cached] in self._places:
            cached += 1
        for key in hashes:
            self._idle.pop(key, None)
            self._users[key] = self._users.get(key, 0) + 1
        self._partial_blocks += partial
        self._evict()
        self._store(hashes, local, cached)
        # The last token is always computed, or there would be nothing to sample from.
        usable = min(cached, max(len(prompt) - 1, 0) // self.block_tokens)
        return Held(hashes, tail, usable * self.block_tokens)

    def extend(self, held: Held, tokens: Sequence[int]) -> None:
        """These tokens were generated. A full block is stored when the token after it comes, as the real mock engine
        does: what was said last is not computed yet. Where no room is left, what follows is not cached.
        """
        for token in tokens:
            if held.tail is None:
                return
            if len(held.tail) == self.block_tokens:
                self._seal(held, held.tail)
            if not held.tail and not self._begin_block(held):
                return
            held.tail.append(token)

    def release(self, held: Held) -> None:
        """Gives the blocks back; the full ones stay cached."""
        self._partial_blocks -= 1 if held.tail else 0
        # Reversed: the end of a prompt is evicted before its beginning, which more prompts share.
        for key in reversed(held.hashes):
            users = self._users[key] - 1
            if users:
                self._users[key] = users
            else:
                del self._users[key]
                self._idle[key] = None

    def take_changes(self) -> list[CacheChange]:
        """What was stored and removed since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    def dump(self) -> list[StoredBlocks]:
        """All that is cached, as stores of one block each in an order in which parents come first."""
        return [
            StoredBlocks(parent, array("Q", [key]), array("Q", [local]))
            for key, (parent, local) in self._places.items()
        ]

    def _begin_block(self, held: Held) -> bool:
        if self.used_blocks == self.total_blocks:
            held.tail = None
            return False
        self._partial_blocks += 1
        self._evict()
        return True

    def _seal(self, held: Held, tail: list[int]) -> None:
        """The begun block is full: it has a name now, and may be one that is cached already."""
        before = held.hashes[-1:]
        local = local_hashes(tail, self.block_tokens)
        # the hash of a first block is its local one: put there, that of the block before is what the chain goes on from
        (key,) = sequence_hashes(before + local)[len(before) :]
        self._partial_blocks -= 1
        self._idle.pop(key, None)
        self._users[key] = self._users.get(key, 0) + 1
        if key not in self._places:
            parent = before[0] if before else None
            self._changes.append(StoredBlocks(parent, array("Q", [key]), local))
            self._places[key] = (parent, local[0])
        held.hashes.append(key)
        tail.clear()

    def _store(self, hashes: array[int], local: array[int], cached: int) -> None:
        parent = hashes[cached - 1] if cached else None
        if cached < len(hashes):
            self._changes.append(StoredBlocks(parent, hashes[cached:], local[cached:]))
        for at in range(cached, len(hashes)):
            self._places[hashes[at]] = (hashes[at - 1] if at else None, local[at])

    def _evict(self) -> None:
        evicted = array("Q")
        while self._idle and self.used_blocks + len(self._idle) > self.total_blocks:
            key, _ = self._idle.popitem(last=False)
            del self._places[key]
            evicted.append(key)
        if evicted:
            self._changes.append(RemovedBlocks(evicted))
