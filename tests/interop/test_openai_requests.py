"""The real openai client: structured output by pydantic models, two turns with a strict tool, refused tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.support.cluster import Cluster
from tests.support.generated_requests import BYTE
from tests.support.load import client
from tests.support.peer import ScriptedWorker

PARSERS = {"tool_call_parser": "hermes", "reasoning_parser": "qwen3"}
CALL = '<think>hm</think><tool_call>\n{"name": "Weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>'


class Place(BaseModel):
    name: str
    country: str | None


class Trip(BaseModel):
    places: list[Place]


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


@pytest.fixture
async def worker(cluster: Cluster) -> ScriptedWorker:
    return await asyncio.to_thread(cluster.scripted_worker, runtime_config=PARSERS)


@pytest.fixture
async def source(cluster: Cluster, worker: ScriptedWorker) -> AsyncIterator[AsyncOpenAI]:
    frontend = await asyncio.to_thread(cluster.frontend, "tiny")
    async with client(frontend.url) as opened:
        yield opened


def says(worker: ScriptedWorker, text: str) -> None:
    worker.say([*({"token_ids": [BYTE + byte]} for byte in text.encode()), {"token_ids": [], "finish_reason": "stop"}])


def asked(content: str) -> list[Any]:
    return [{"role": "user", "content": content}]


async def test_an_answer_in_the_shape_of_a_model(worker: ScriptedWorker, source: AsyncOpenAI) -> None:
    says(worker, '{"places": [{"name": "Rome", "country": null}]}')
    answer = await source.chat.completions.parse(model="tiny", messages=asked("hello"), response_format=Trip)
    assert answer.choices[0].message.parsed == Trip(places=[Place(name="Rome", country=None)])
    saw = worker.requests()[-1]["request"]
    schema = saw["sampling_options"]["guided_decoding"]["json"]
    assert schema["additionalProperties"] is False and schema["$defs"]["Place"]["required"] == ["name", "country"]
    assert saw["require_reasoning"] is True


async def test_two_turns_with_a_strict_tool(worker: ScriptedWorker, source: AsyncOpenAI) -> None:
    tools = [openai.pydantic_function_tool(Weather)]
    says(worker, CALL)
    messages = asked("hello")
    answer = await source.chat.completions.parse(model="tiny", messages=messages, tools=tools)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and message.content is None
    assert message.tool_calls is not None
    [call] = message.tool_calls
    assert call.function.parsed_arguments == Weather(city="Rome", days=2)

    says(worker, "sunny")
    turn = [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "sun"}]
    again = await source.chat.completions.parse(
        model="tiny", messages=[*messages, *turn], tools=tools, tool_choice="required", parallel_tool_calls=False
    )
    assert again.choices[0].message.content == "sunny"
    guided = worker.requests()[-1]["request"]["sampling_options"]["guided_decoding"]["json"]
    assert guided["maxItems"] == 1
    [option] = guided["items"]["anyOf"]
    assert option["properties"]["name"]["enum"] == ["Weather"]


async def test_a_token_of_another_model_is_named(worker: ScriptedWorker, source: AsyncOpenAI) -> None:
    for prompt, nvext, place in (
        ([1, 2, 9_999_999], None, r"prompt\[2\]"),
        ([[1], [2, 9_999_999]], None, r"prompt\[1\]\[1\]"),
        ("a", {"token_data": [9_999_999]}, r"nvext\.token_data\[0\]"),
    ):
        said = rf"Invalid request: `{place}`: token id 9999999 is outside the model's vocabulary of (\d+) \(0 to \d+\)"
        with pytest.raises(openai.BadRequestError, match=said):
            await source.completions.create(model="tiny", prompt=prompt, extra_body={"nvext": nvext})
    assert worker.requests() == []
