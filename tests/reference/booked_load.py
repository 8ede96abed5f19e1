"""What is booked on one rank, in plain Python."""

from __future__ import annotations

import math


class BookedLoad:
    def __init__(self) -> None:
        self.all = self.own = 0.0
        self.extra = self.extra_own = 0.0
        self.prefill_tokens = self.prefill_own = 0
        self.requests = self.requests_own = 0

    @property
    def active_blocks(self) -> int:
        return math.floor(self.all + self.extra + 0.5)

    @property
    def words(self) -> list[int]:
        """What siblings read."""
        blocks = round(max(self.own + self.extra_own, 0.0) * 1_000_000)
        return [max(self.prefill_own, 0), blocks, max(self.requests_own, 0)]

    def book(self, private_blocks: float, prefill_tokens: int, own: bool) -> None:
        self._add(private_blocks, prefill_tokens, 1, own)

    def prefill_done(self, tokens: int, own: bool) -> None:
        self._add(0.0, -tokens, 0, own)

    def grow(self, blocks: float, own: bool) -> None:
        self._add(blocks, 0, 0, own)

    def release(self, private_blocks: float, prefill_tokens: int, own: bool) -> None:
        self._add(-private_blocks, -prefill_tokens, -1, own)
        if not self.requests:
            self.all = self.own = self.extra = self.extra_own = 0.0

    def _add(self, blocks: float, tokens: int, requests: int, own: bool) -> None:
        self.extra += blocks
        self.prefill_tokens += tokens
        self.requests += requests
        if own:
            self.extra_own += blocks
            self.prefill_own += tokens
            self.requests_own += requests
