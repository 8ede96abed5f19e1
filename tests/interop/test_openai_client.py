"""The real openai client against our frontend over real mockers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai
import pytest

from tests.support.cluster import Cluster
from tests.support.load import burst, client

TOKENS = 12
MESSAGES = [{"role": "user", "content": "hello"}]


async def test_chat_and_completions(cluster: Cluster, large_model_dir: Path) -> None:
    # The mocker's ids are random; only a large vocabulary has text for them.
    await asyncio.to_thread(cluster.mocker, model_dir=large_model_dir, speedup_ratio=0)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    async with client(frontend.url) as source:
        answer = await source.chat.completions.create(model="mock", messages=MESSAGES, max_tokens=TOKENS)
        assert answer.object == "chat.completion" and answer.model == "mock"
        assert answer.choices[0].message.role == "assistant"
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None and answer.usage.completion_tokens == TOKENS

        stream = await source.chat.completions.create(model="mock", messages=MESSAGES, max_tokens=TOKENS, stream=True)
        chunks = [chunk async for chunk in stream]
        assert {chunk.id for chunk in chunks} == {chunks[0].id}
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices[0].finish_reason == "length"
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

        text = await source.completions.create(model="mock", prompt="hello", max_tokens=TOKENS)
        assert text.object == "text_completion" and text.choices[0].text
        assert text.usage is not None and text.usage.completion_tokens == TOKENS

        parts = await source.completions.create(model="mock", prompt="hello", max_tokens=TOKENS, stream=True)
        pieces = [part async for part in parts]
        assert pieces[-1].choices[0].finish_reason == "length"
        assert "".join(piece.choices[0].text for piece in pieces)


async def test_200_streams_at_once(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mocker, speedup_ratio=10, workers=2)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    outcome = await burst(frontend.url, "mock", streams=200, tokens=TOKENS)
    assert outcome.failures == []
    assert outcome.complete == 200


async def test_two_models(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mocker, "first", speedup_ratio=0, endpoint="dyn://dynamo.first.generate")
    await asyncio.to_thread(cluster.mocker, "second", speedup_ratio=0, endpoint="dyn://dynamo.second.generate")
    frontend = await asyncio.to_thread(cluster.frontend, "first", "second")
    async with client(frontend.url) as source:
        for name in ("first", "second"):
            answer = await source.chat.completions.create(model=name, messages=MESSAGES, max_tokens=TOKENS)
            assert answer.model == name
        with pytest.raises(openai.NotFoundError, match="not found"):
            await source.chat.completions.create(model="third", messages=MESSAGES)
