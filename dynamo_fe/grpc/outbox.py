"""Answers of a stream that wait for their client: bounded in bytes, with back-pressure towards the worker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Write = Callable[[bytes], Awaitable[None]]


class Outbox:
    """Filled from the worker's side, emptied by one writer. Over `most_bytes` the worker is paused, until half of them
    are gone.
    """

    def __init__(self, most_bytes: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._most_bytes = most_bytes
        self._pause = pause
        self._resume = resume
        self._paused = False
        self._waiting: deque[bytes] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self.held_bytes = 0

    def put(self, messages: list[bytes]) -> None:
        """Adds answers."""
        self._waiting.extend(messages)
        for message in messages:
            self.held_bytes += len(message)
        if self.held_bytes > self._most_bytes and not self._paused:
            self._paused = True
            self._pause()
        self._notify()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._notify()

    async def empty_into(self, write: Write) -> None:
        """Writes everything that comes until `close`."""
        waiting, make_future = self._waiting, asyncio.get_running_loop().create_future
        while True:
            while waiting:
                message = waiting.popleft()
                await write(message)
                self.held_bytes -= len(message)
                if self._paused and self.held_bytes <= self._most_bytes // 2:
                    self._paused = False
                    self._resume()
            if self._closed:
                return
            self._wake = make_future()
            await self._wake

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
