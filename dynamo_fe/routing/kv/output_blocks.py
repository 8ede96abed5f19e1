"""The blocks that a request generates, hashed as the prompt of the conversation's next turn will be.

Source: Dynamo 1.6.1's approximate index by size. The newest token of an answer is not in the KV cache yet, since it is
computed with the next one: a block counts once there is a token behind it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from dynamo_fe._cext.block_hash import local_hashes, sequence_hashes
from dynamo_fe.routing.kv.approximate import Running


class _Answer:
    """One of a request's answers: its blocks so far, the prompt's first, and the tokens behind them."""

    __slots__ = ("hashes", "tail")

    def __init__(self, hashes: array[int], tail: list[int]) -> None:
        self.hashes = hashes
        self.tail = tail


class OutputBlocks:
    """Told of the tokens of each answer, it tells `running` of their blocks. `hashes` are the sequence hashes of the
    prompt's blocks, `seed` and `chain_seed` what they were hashed with.
    """

    __slots__ = ("_answers", "_block_tokens", "_chain_seed", "_eagle", "_hashes", "_partial", "_running", "_seed",
                 "_tail")  # fmt: skip

    def __init__(
        self, running: Running, token_ids: Sequence[int], hashes: array[int], block_tokens: int, seed: int,
        chain_seed: int, eagle: bool,
    ) -> None:  # fmt: skip
        self._running = running
        self._hashes = hashes
        self._tail = list(token_ids[len(hashes) * block_tokens :])
        self._block_tokens = block_tokens
        self._seed = seed
        self._chain_seed = chain_seed
        self._eagle = eagle
        self._answers: dict[int, _Answer] = {}
        self._partial = -1

    def take(self, index: int, token_ids: Sequence[int]) -> None:
        """These tokens have come for the answer of that number."""
        if not token_ids:
            return
        answer = self._answers.get(index)
        if answer is None:
            answer = self._answers[index] = _Answer(self._hashes, self._tail.copy())
        answer.tail.extend(token_ids)
        blocks = (len(answer.tail) - 1) // self._block_tokens
        if blocks:
            self._close(answer, blocks)
        partial = sum(map(self._has_partial, self._answers.values()))
        if blocks or partial != self._partial:
            self._partial = partial
            self._running.grow(index, answer.hashes, partial)

    def _close(self, answer: _Answer, blocks: int) -> None:
        end = blocks * self._block_tokens
        local = local_hashes(answer.tail[: end + self._eagle], self._block_tokens, self._seed, self._eagle)
        # the hash of a first block is its local one: put there, that of the block before is what the chain goes on from
        before = answer.hashes[-1:]
        answer.hashes = answer.hashes + sequence_hashes(before + local, self._chain_seed)[len(before) :]
        del answer.tail[:end]

    def _has_partial(self, answer: _Answer) -> bool:
        return ends_within_a_block(len(answer.tail) - 1, len(answer.hashes), self._eagle)


def ends_within_a_block(tail_tokens: int, blocks: int, eagle: bool) -> bool:
    """Whether so many tokens behind so many blocks have begun another; with Eagle the first is the last block's."""
    return tail_tokens > (eagle and blocks > 0)
