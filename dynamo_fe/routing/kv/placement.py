"""A request on its rank, from the choice to its end: what the pipeline holds of it."""

from __future__ import annotations

from typing import Protocol

from dynamo_fe.routing.kv.output_blocks import OutputBlocks
from dynamo_fe.routing.kv.request import Choice


class Watcher(Protocol):
    """Who is told of a placement's steps, each at most once."""

    def began(self, placement: Placement) -> None:
        """Its first output has come."""

    def over(self, placement: Placement) -> None:
        """It has ended."""


class Placement:
    """Every method may be called more than once and in any order: what came before its time or after it counts not.

    `tracks_output` says whether `tokens` wants to be told; output blocks are counted as the original counts them: one
    each time that prompt and output reach into a new block. `outputs` wants the tokens themselves, where it is there.
    """

    __slots__ = ("_began", "_expected", "_generated", "_over", "_watcher", "block_tokens", "choice", "outputs",
                 "prompt_tokens", "request_id", "session_id", "tracks_output")  # fmt: skip

    def __init__(
        self, request_id: str, session_id: str | None, choice: Choice, watcher: Watcher, prompt_tokens: int,
        block_tokens: int, expected: int | None, tracks_output: bool,
    ) -> None:  # fmt: skip
        self.request_id = request_id
        self.session_id = session_id
        self.choice = choice
        self.prompt_tokens = prompt_tokens
        self.block_tokens = block_tokens
        self.tracks_output = tracks_output
        self.outputs: OutputBlocks | None = None
        self._watcher = watcher
        self._expected = expected
        self._generated = 0
        self._began = self._over = False

    @property
    def worker_id(self) -> int:
        """The worker."""
        return self.choice.key[0]

    @property
    def dp_rank(self) -> int:
        """The rank of it."""
        return self.choice.key[1]

    @property
    def generated(self) -> int:
        """Output tokens that `tokens` was told of."""
        return self._generated

    def began(self) -> None:
        """The first output has come, by the stream or by the worker's own word."""
        if self._began or self._over:
            return
        self._began = True
        self.choice.booking.prefill_done()
        self._watcher.began(self)

    def tokens(self, count: int) -> None:
        """So many output tokens have come."""
        if self._over:
            return
        size = self.block_tokens
        blocks = -(-(self.prompt_tokens + self._generated) // size)
        for total in range(self._generated + 1, self._generated + count + 1):
            if -(-(self.prompt_tokens + total) // size) > blocks:
                blocks += 1
                weight = None if not self._expected else max(0.0, 1 - total / self._expected)
                self.choice.booking.output_block(weight)
        self._generated += count

    def over(self) -> None:
        """It has ended, in whatever way."""
        if self._over:
            return
        self._over = True
        self.choice.booking.free()
        self._watcher.over(self)
