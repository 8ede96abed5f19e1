"""Load from the real openai client: many streams, each of which brings all its tokens or is counted as failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import openai


def client(url: str) -> openai.AsyncOpenAI:
    """A client that neither retries nor waits long, so that a failure shows."""
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)


async def stream_chat(
    source: openai.AsyncOpenAI, model: str, tokens: int, prompt: str = "hello", began: Callable[[], None] = lambda: None
) -> int:
    """One streamed chat; the completion tokens that its usage reports. `began` is called when its answer has begun.
    Raises what the client raises.
    """
    stream = await source.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=tokens,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    began()
    reported = 0
    finished = None
    async for chunk in stream:
        if chunk.usage is not None:
            reported = chunk.usage.completion_tokens
        for choice in chunk.choices:
            finished = choice.finish_reason or finished
    assert finished == "length", f"the stream ended with {finished} after {reported} tokens"
    return reported


@dataclass
class Outcome:
    """What became of the streams."""

    complete: int = 0
    failures: list[BaseException] = field(default_factory=list)
    _begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def begun(self, streams: int) -> None:
        """Returns when so many more answers have begun."""
        for _ in range(streams):
            await self._begun.acquire()

    async def one(self, source: openai.AsyncOpenAI, model: str, tokens: int) -> None:
        try:
            reported = await stream_chat(source, model, tokens, began=self._begun.release)
            assert reported == tokens, f"{reported} of {tokens} tokens"
        except (openai.OpenAIError, AssertionError) as error:
            self.failures.append(error)
        else:
            self.complete += 1


async def burst(url: str, model: str, streams: int, tokens: int) -> Outcome:
    """So many streams at once, waited for."""
    outcome = Outcome()
    async with client(url) as source:
        await asyncio.gather(*(outcome.one(source, model, tokens) for _ in range(streams)))
    return outcome


class SteadyLoad:
    """So many streams at any time, each followed by the next, between `start()` and `finish()`."""

    def __init__(self, url: str, model: str, *, streams: int, tokens: int) -> None:
        self.outcome = Outcome()
        self._client = client(url)
        self._model, self._streams, self._tokens = model, streams, tokens
        self._finishing = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._streams)]

    async def finish(self) -> Outcome:
        """Let the running streams come to their end."""
        self._finishing = True
        await asyncio.gather(*self._tasks)
        await self._client.close()
        return self.outcome

    async def completes(self, more: int) -> None:
        """Wait until so many more streams have come to their end."""
        target = self.outcome.complete + more
        while self.outcome.complete < target:
            assert not all(task.done() for task in self._tasks), self.outcome.failures
            await asyncio.sleep(0.02)

    async def _lane(self) -> None:
        while not self._finishing:
            await self.outcome.one(self._client, self._model, self._tokens)
            if self.outcome.failures:
                # A lane that fails at once must not spin.
                await asyncio.sleep(0.05)
