"""A sink of the event plane: writes down what it is told, and lets a test wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_SECS = 30.0


class Hearing:
    """`payloads` as (publisher, payload) in order; `joined` and `left` in order, repeats included."""

    def __init__(self) -> None:
        self.payloads: list[tuple[int, bytes]] = []
        self.joined: list[int] = []
        self.left: list[int] = []
        self._news = asyncio.Event()

    def on_event(self, publisher_id: int, payload: bytes) -> None:
        self.payloads.append((publisher_id, payload))
        self._news.set()

    def on_joined(self, publisher_id: int) -> None:
        self.joined.append(publisher_id)
        self._news.set()

    def on_left(self, publisher_id: int) -> None:
        self.left.append(publisher_id)
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until `holds()`; looks again after everything it is told."""
        try:
            async with asyncio.timeout(PATIENCE_SECS):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            told = f"{len(self.payloads)} events, joined {self.joined}, left {self.left}"
            raise AssertionError(f"not in {PATIENCE_SECS:g} s; told so far: {told}") from None
