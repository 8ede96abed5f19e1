"""What is asked of a frontend before the load: its models, and one request that shows that it answers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from dynamo_fe.cli.bench.answer_text import Refusal, TextError, WholeText
from dynamo_fe.cli.bench.connection import Connection, Target
from dynamo_fe.cli.bench.http_answer import AnswerError, HttpAnswer
from dynamo_fe.cli.bench.load import CHAT_PATH
from dynamo_fe.cli.bench.options import BenchError, BenchOptions
from dynamo_fe.cli.bench.prompts import Prompts

_LIST_SECS: Final = 10.0
_POLL_SECS: Final = 0.05
_MOST_NAMED: Final = 5


class Frontend:
    """The one at `url`. Every method raises BenchError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.target = Target.of(url)
        self._connection = Connection(self.target)

    async def choose_model(self, wanted: str | None, patience_secs: float) -> str:
        """The model asked for, or the first one listed; waits so long for any."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_secs
        while True:
            names = await self._models()
            if wanted in names or (wanted is None and names):
                return wanted or names[0]
            if names or loop.time() >= deadline:
                break
            await asyncio.sleep(_POLL_SECS)
        if not names:
            raise BenchError(f"{self.url} serves no model")
        raise BenchError(f"{self.url} does not serve {wanted}; it has {', '.join(names[:_MOST_NAMED])}")

    async def fitting_prompts(self, options: BenchOptions, model: str) -> Prompts:
        """Prompts of about as many tokens as asked for, by what one request of as many words turned out to have."""
        words = options.prompt_tokens
        body = Prompts(model, words, 1, stream=False).next()
        text = WholeText()
        await self._ask("POST", CHAT_PATH, body, text, options.timeout_secs)
        try:
            text.end()
        except TextError as error:
            raise BenchError(f"{self.url}{CHAT_PATH}: {error}") from None
        if text.prompt_tokens:
            words = max(1, round(words * options.prompt_tokens / text.prompt_tokens))
        return Prompts(model, words, options.output_tokens, options.stream)

    def close(self) -> None:
        self._connection.close()

    async def _models(self) -> list[str]:
        body = _Body()
        await self._ask("GET", "/v1/models", b"", body, _LIST_SECS)
        try:
            return [str(entry["id"]) for entry in msgspec.json.decode(body.data)["data"]]
        except (msgspec.MsgspecError, KeyError, TypeError):
            raise BenchError(f"{self.url}/v1/models: not a list of models, so no OpenAI-compatible frontend") from None

    async def _ask(self, method: str, path: str, body: bytes, sink: Any, secs: float) -> None:
        refusal = Refusal()
        answer = HttpAnswer(lambda data: (sink if answer.status == 200 else refusal).feed(data))
        try:
            async with asyncio.timeout(secs):
                await self._connection.ask(self.target.request(method, path, body), answer)
        except TimeoutError:
            raise BenchError(f"{self.url}{path}: no answer within {secs:g} s") from None
        except (AnswerError, OSError) as error:
            raise BenchError(f"{self.url}: {getattr(error, 'strerror', None) or error}") from None
        if answer.status != 200:
            raise BenchError(f"{self.url}{path}: {answer.status} {refusal.text()}".rstrip())


class _Body:
    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> None:
        self.data += data
