"""Answers of a stream that wait for their client: bounded in bytes, with back-pressure towards the worker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from dynamo_fe.grpc.status import Code, Status

Write = Callable[[bytes], Coroutine[Any, Any, None]]


class Outbox:
    """Filled from the worker's side. Over `most_bytes` the worker is paused, until half of them are gone.

    A write is a coroutine that waits for the library once. It is stepped here, from the callbacks of the worker's
    socket and of the library, so that no task is woken for an answer (10 of 90 µs).
    """

    def __init__(
        self,
        most_bytes: int,
        write: Write,
        pause: Callable[[], None],
        resume: Callable[[], None],
        stalled_secs: float = 0.0,
    ) -> None:
        """A client that takes nothing for `stalled_secs` fails the stream, with a Status; 0 waits for ever."""
        self._most_bytes = most_bytes
        self._stalled_secs = stalled_secs
        self._watching: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._write = write
        self._pause = pause
        self._resume = resume
        self._paused = False
        self._waiting: deque[bytes] = deque()
        self._writing: Coroutine[Any, Any, None] | None = None
        self._written_bytes = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._empty: asyncio.Future[None] = self._loop.create_future()
        self.held_bytes = 0
        self.used = False

    def put(self, messages: list[bytes]) -> None:
        """Adds answers."""
        self.used = self.used or bool(messages)
        self._waiting.extend(messages)
        for message in messages:
            self.held_bytes += len(message)
        if self._writing is None:
            self._write_on()
        if self.held_bytes > self._most_bytes and not self._paused:
            self._paused = True
            self._pause()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        if self._writing is None:
            self._write_on()

    async def emptied(self) -> None:
        """Returns when all is written and nothing more comes; raises what a write raised."""
        try:
            await self._empty
        finally:
            self._waiting.clear()
            if self._watching is not None:
                self._watching.cancel()
            if self._writing is not None:
                self._writing.close()

    def _write_on(self) -> None:
        while self._waiting and not self._empty.done():
            message = self._waiting.popleft()
            self._written_bytes = len(message)
            self._writing = self._write(message)
            self._began = self._loop.time()
            if not self._step():
                if self._watching is None and self._stalled_secs:
                    self._watching = self._loop.call_later(self._stalled_secs, self._watch)
                return
        if self._closed and not self._empty.done():
            self._empty.set_result(None)

    def _step(self) -> bool:
        """Takes the write in hand further; False while it waits."""
        assert self._writing is not None
        try:
            future = self._writing.send(None)
        except StopIteration:
            self._writing = None
            self._note_written()
            return True
        except asyncio.CancelledError:
            self._writing = None
            self._empty.cancel()
            return False
        except Exception as error:
            self._writing = None
            if not self._empty.done():
                self._empty.set_exception(error)
            return False
        if future is None:
            self._loop.call_soon(self._go_on)
        else:
            # what a task does with a future that it is given
            future._asyncio_future_blocking = False
            future.add_done_callback(self._go_on)
        return False

    def _go_on(self, future: Any = None) -> None:
        if self._writing is not None and self._step():
            self._write_on()

    def _watch(self) -> None:
        """One timer for all writes: it looks how long the one in hand has waited."""
        self._watching = None
        if self._writing is None or self._empty.done():
            return
        due = self._began + self._stalled_secs
        if due > self._loop.time():
            self._watching = self._loop.call_at(due, self._watch)
        else:
            self._empty.set_exception(Status(Code.UNAVAILABLE, f"no answer was taken for {self._stalled_secs:g} s"))

    def _note_written(self) -> None:
        self.held_bytes -= self._written_bytes
        if self._paused and self.held_bytes <= self._most_bytes // 2:
            self._paused = False
            self._resume()
