"""Our mock worker behind the real Dynamo frontend, on file discovery and on a real etcd."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.load import burst, client
from tests.support.mock_workers import mock_worker
from tests.support.processes import Process
from tests.support.stores import FileStore, Store

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]

StartWorker = Callable[..., Process]


@pytest.fixture
def start_worker(store: Store, tmp_path: Path) -> Iterator[StartWorker]:
    with contextlib.ExitStack() as running:
        numbers = itertools.count()
        yield lambda *arguments: running.enter_context(
            mock_worker(store, tmp_path / f"worker-{next(numbers)}.log", *arguments)
        )


@pytest.fixture
def frontend(cluster: Cluster) -> Frontend:
    return cluster.real_frontend()


async def listed(frontend: Frontend) -> openai.AsyncOpenAI:
    await asyncio.to_thread(frontend.wait_listed, "mock")
    return client(frontend.url)


async def chat(source: openai.AsyncOpenAI, **options: Any) -> Any:
    return await source.chat.completions.create(model="mock", messages=MESSAGES, **options)


async def test_chat_and_completions(start_worker: StartWorker, frontend: Frontend) -> None:
    start_worker("--speedup-ratio", "10")
    async with await listed(frontend) as source:
        whole = await chat(source)
        assert whole.choices[0].finish_reason == "stop"
        text = whole.choices[0].message.content
        assert text.rstrip().endswith(".") and len(text.split()) > 50
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

        chunks = [chunk async for chunk in await chat(source, stream=True)]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
        assert chunks[-1].choices[0].finish_reason == "stop"

        cut = await chat(source, max_tokens=7)
        assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 7)
        assert text.startswith(cut.choices[0].message.content)

        several = await source.completions.create(model="mock", prompt="hello", n=2, max_tokens=9)
        assert [choice.index for choice in several.choices] == [0, 1]
        assert several.choices[0].text != several.choices[1].text


WEATHER: list[Any] = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
SAID = [
    {"token_ids": [], "text": "<think>Rain?</think>Let me see. "},
    {"token_ids": [], "text": '<tool_call>{"name": "get_weather", "arguments": {"city": "Ro'},
    {"token_ids": [], "text": 'me"}}</tool_call>'},
    {"token_ids": [], "finish_reason": "stop"},
]


async def test_a_script_with_a_thought_and_a_tool_call(
    start_worker: StartWorker, cluster: Cluster, frontend: Frontend, tmp_path: Path
) -> None:
    """The parsers that the card names read what the script says, in the real frontend and in ours."""
    script = tmp_path / "say.json"
    script.write_text(json.dumps(SAID))
    start_worker("--tool-call-parser", "hermes", "--dyn-reasoning-parser", "qwen3", "--say", str(script))
    ours = await asyncio.to_thread(cluster.frontend, "mock")
    for served in (frontend, ours):
        async with await listed(served) as source:
            choice = (await chat(source, tools=WEATHER)).choices[0]
        (call,) = choice.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})
        assert (choice.message.reasoning_content, choice.message.content.strip()) == ("Rain?", "Let me see.")
        assert choice.finish_reason == "tool_calls"


async def test_a_repeated_prompt_reports_cached_tokens(start_worker: StartWorker, frontend: Frontend) -> None:
    start_worker("--speedup-ratio", "0", "--kv-block-size", "8")
    async with await listed(frontend) as source:
        cached = [(await chat(source, max_tokens=2)).usage.prompt_tokens_details.cached_tokens for _ in range(2)]
    assert cached == [0, 8]


async def test_50_streams_at_once(start_worker: StartWorker, frontend: Frontend) -> None:
    start_worker("--speedup-ratio", "10")
    start_worker("--speedup-ratio", "10")
    await asyncio.to_thread(frontend.wait_listed, "mock")
    outcome = await burst(frontend.url, "mock", streams=50, tokens=40)
    assert (outcome.complete, outcome.failures) == (50, [])


async def test_a_client_that_leaves_kills_its_request(start_worker: StartWorker, frontend: Frontend) -> None:
    worker = start_worker()
    async with await listed(frontend) as source:
        stream = await chat(source, stream=True, max_tokens=5000, extra_body={"ignore_eos": True})
        async for _ in stream:
            break
        await stream.close()
    await asyncio.to_thread(worker.wait_for_output, "ends by b'\"kill\"'")


@pytest.mark.parametrize(
    ("kind", "status"),
    [("error-first", 500), ("error-mid", 500), ("disconnect", 503), ("refuse", 529), ("garbage", 500)],
)
async def test_faults_give_the_status_they_stand_for(
    start_worker: StartWorker, frontend: Frontend, kind: str, status: int
) -> None:
    start_worker("--speedup-ratio", "10", "--fail-every", "1", "--fail-kind", kind)
    async with await listed(frontend) as source:
        with pytest.raises(openai.APIStatusError) as failed:
            await chat(source, max_tokens=8)
    assert failed.value.status_code == status


@pytest.mark.parametrize("kind", ["no-callback", "stall"])
async def test_silence_lasts_until_the_client_leaves(start_worker: StartWorker, frontend: Frontend, kind: str) -> None:
    start_worker("--speedup-ratio", "10", "--fail-every", "2", "--fail-kind", kind)
    async with await listed(frontend) as source:
        await chat(source, max_tokens=8)
        with pytest.raises(openai.APITimeoutError):
            await chat(source, max_tokens=8, timeout=1.5)
        assert (await chat(source, max_tokens=8)).usage.completion_tokens == 8


async def test_a_stream_that_moves_to_another_worker_goes_on_where_it_broke_off(
    start_worker: StartWorker, cluster: Cluster
) -> None:
    steady = start_worker("--speedup-ratio", "10")
    frontend = cluster.real_frontend(arguments=["--migration-limit", "3"])
    async with await listed(frontend) as source:
        whole = (await chat(source)).choices[0].message.content
        steady.stop()
        broken = start_worker("--speedup-ratio", "10", "--fail-every", "1", "--fail-kind", "disconnect")
        await asyncio.to_thread(frontend.wait_listed, "mock")
        start_worker("--speedup-ratio", "10")
        answers = [(await chat(source)).choices[0].message.content for _ in range(4)]
    assert answers == [whole] * 4
    assert "fault on purpose: disconnect" in broken.output()


async def test_an_orderly_end(start_worker: StartWorker, frontend: Frontend, store: Store) -> None:
    worker = start_worker()
    async with await listed(frontend) as source:
        stream = await chat(source, stream=True, max_tokens=60, extra_body={"ignore_eos": True})
        pieces = 0
        async for chunk in stream:
            if not pieces:
                worker.send_signal(signal.SIGTERM)
            pieces += 1
            finish_reason = chunk.choices[0].finish_reason
        assert (finish_reason, pieces > 50) == ("length", True)
    assert await asyncio.to_thread(worker.wait_for_exit) == 0
    assert [key for key in store.keys() if "/dynamo/backend/generate/" in key] == []


def test_records_have_the_shape_of_the_real_mockers(file_store: FileStore, tmp_path: Path) -> None:
    with Cluster(file_store, tmp_path) as cluster, mock_worker(file_store, tmp_path / "worker.log"):
        cluster.mocker("mock", endpoint="dyn://dynamo.other.generate")
        for bucket in ("instances", "mdc"):
            ours, theirs = (record(file_store, bucket, component) for component in ("backend", "other"))
            assert shape(ours) == shape(theirs)


def record(store: FileStore, bucket: str, component: str) -> Any:
    """The value of the only worker of a component."""
    [path] = (store.directory / "v1" / bucket).glob(f"dynamo%2F{component}%2Fgenerate%2F*")
    return json.loads(path.read_text())


def shape(value: Any) -> Any:
    """Keys in their order, kinds of values."""
    if isinstance(value, dict):
        return [(key, shape(member)) for key, member in value.items() if key != "runtime_data"]
    return [shape(member) for member in value] if isinstance(value, list) else type(value)
