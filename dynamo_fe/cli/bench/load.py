"""The load: lanes that ask one request after the other, each on a connection of its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

from dynamo_fe.cli.bench.answer_text import Refusal, StreamedText, TextError, WholeText
from dynamo_fe.cli.bench.connection import Connection, Target
from dynamo_fe.cli.bench.http_answer import AnswerError, HttpAnswer
from dynamo_fe.cli.bench.options import BenchOptions
from dynamo_fe.cli.bench.prompts import Prompts
from dynamo_fe.cli.bench.tally import Tally

# A lane that fails at once must not spin.
_AFTER_FAILURE_SECS = 0.05
_LATE_SECS = 0.1
CHAT_PATH = "/v1/chat/completions"


class Load:
    """One run. `tally` may be read at any time."""

    def __init__(self, options: BenchOptions, target: Target, prompts: Prompts) -> None:
        self.tally = Tally()
        self._options = options
        self._target = target
        self._prompts = prompts
        self._left = options.requests
        self._random = random.Random()
        self._next_due = self._end = 0.0

    async def run(self) -> None:
        """Returns when the last request has ended; when cancelled, those that run are given up."""
        self._next_due = time.perf_counter()
        self._end = self._next_due + (self._options.duration_secs or float("inf"))
        lanes = self._options.concurrency
        if self._options.requests is not None:
            lanes = min(lanes, self._options.requests)
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._lane())

    async def _lane(self) -> None:
        connection = Connection(self._target)
        try:
            async for due in self._dues():
                self.tally.running += 1
                try:
                    failed = await self._one(connection, due)
                except asyncio.CancelledError:
                    self.tally.unfinished += 1
                    raise
                finally:
                    self.tally.running -= 1
                if failed:
                    await asyncio.sleep(_AFTER_FAILURE_SECS)
        finally:
            connection.close()

    async def _dues(self) -> AsyncIterator[float]:
        """The moments at which this lane is to ask."""
        while self._left is None or self._left > 0:
            now = time.perf_counter()
            due = now
            if self._options.rate is not None:
                due = self._next_due
                self._next_due += self._random.expovariate(self._options.rate)
            if max(due, now) >= self._end:
                return
            if self._left is not None:
                self._left -= 1
            if due > now:
                await asyncio.sleep(due - now)
            elif now - due > _LATE_SECS:
                self.tally.late += 1
            yield due

    async def _one(self, connection: Connection, due: float) -> bool:
        """Whether it failed."""
        request = self._target.request("POST", CHAT_PATH, self._prompts.next())
        asked = _Asked(self.tally, due) if self._options.stream else None
        text = WholeText() if asked is None else StreamedText(asked.on_text)
        refusal = Refusal()
        answer = HttpAnswer(lambda data: (text if answer.status == 200 else refusal).feed(data))
        try:
            async with asyncio.timeout(self._options.timeout_secs):
                await connection.ask(request, answer)
            if answer.status == 200:
                text.end()
        except TimeoutError:
            self.tally.fail("timeout", f"not through after {self._options.timeout_secs:g} s")
        except TextError as error:
            self.tally.fail(error.kind, str(error))
        except AnswerError as error:
            self.tally.fail("connection lost" if answer.status else "no answer", str(error))
        except OSError as error:
            self.tally.fail("connection lost" if answer.status else "no connection", error.strerror or str(error))
        else:
            if answer.status == 200:
                self._count(text, due)
                return False
            self.tally.fail(f"HTTP {answer.status}", refusal.text())
        return True

    def _count(self, text: StreamedText | WholeText, due: float) -> None:
        self.tally.complete += 1
        self.tally.e2e.add(time.perf_counter() - due)
        self.tally.prompt_tokens += text.prompt_tokens
        self.tally.completion_tokens += text.completion_tokens


class _Asked:
    """The times of one streamed answer."""

    __slots__ = ("_last", "_started", "_tally")

    def __init__(self, tally: Tally, due: float) -> None:
        self._tally, self._last, self._started = tally, due, False

    def on_text(self) -> None:
        now = time.perf_counter()
        (self._tally.itl if self._started else self._tally.ttft).add(now - self._last)
        self._last, self._started = now, True
