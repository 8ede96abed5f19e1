"""Workers that take text: what they see and what their clients get, compared with the real frontend on the same one."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import ask
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.peer import ScriptedWorker
from tests.support.stores import FileStore

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


def chunk(delta: Any, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "w1", "object": "chat.completion.chunk", "created": 11, "model": "mm", "choices": [choice]} | more


def text(said: str, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "text": said, "finish_reason": finish}
    return {"id": "c1", "object": "text_completion", "created": 12, "model": "cc", "choices": [choice]} | more


def call(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": part} | more]}


PLAIN = [chunk({"role": "assistant", "content": "he"}, foo=1), chunk({"content": "llo"}), chunk({}, "stop")]
CALLS = [
    chunk({"role": "assistant", "content": "txt"}),
    chunk(call({"name": "f", "arguments": '{"a"'}, id="i1", type="function")),
    chunk(call({"arguments": ":1}"})),
    chunk({}, "tool_calls"),
]
HEAD = {"id": "w", "object": "chat.completion.chunk", "created": 11, "model": "mm"}
STORY = [
    {"role": "developer", "content": "s"},
    {"role": "system", "content": [{"type": "text", "text": "s2", "x": 1}], "name": "n"},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}, "uuid": "u"}], "foo": 1},
    {"role": "assistant", "content": None, "reasoning": "r", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}, "index": 0}
    ]},
    {"role": "tool", "tool_call_id": "1", "content": "r", "name": "f"},
    {"role": "user", "content": ""},
]

CHAT_CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "plain": (PLAIN, {}),
    "fields": (
        PLAIN,
        {
            "temperature": 0.9, "top_k": 0, "max_completion_tokens": None, "logit_bias": {"5": 1}, "stop": "x",
            "chat_template_kwargs": {"a": 1}, "reasoning_effort": "low", "metadata": {"a": "b"}, "min_tokens": 2,
            "ignore_eos": True, "stop_token_ids": [3], "guided_json": {"a": 0.1}, "cache_salt": "s", "user": "u",
            "web_search_options": {}, "detokenize": True, "seed": 3, "skip_special_tokens": False, "min_p": 0.1,
        },
    ),
    "nvext": (PLAIN, {"nvext": {"annotations": [], "greed_sampling": True, "token_data": [], "prefill_worker_id": 5}}),
    "messages": (PLAIN, {"messages": STORY}),
    "usage": ([*PLAIN, HEAD | {"choices": [], "usage": USAGE}], {}),
    "calls without tools": (CALLS, {}),
    "calls": (CALLS, {"tools": TOOLS}),
    "two choices": ([chunk({"content": "a"}), chunk({"content": "b"}, "length", 1), chunk({}, "stop")], {}),
    "logprobs": (
        [HEAD | {"system_fingerprint": "fp", "service_tier": "default", "nvext": {"x": 1}, "choices": [
            {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [LOGPROB], "refusal": None}}
        ]}, chunk({"content": "b"}, "stop")],
        {"logprobs": True},
    ),
    "reasoning": ([chunk({"reasoning": "a"}), chunk({"reasoning_content": "b"}), chunk({"content": "c"}, "stop")], {}),
    "empty chunks": (
        [chunk({"role": "assistant"}), chunk({"content": ""}), chunk({"role": "assistant"}), chunk({}, "stop")],
        {},
    ),
    "content parts": ([chunk({"content": [{"type": "text", "text": "abc"}]}, "stop")], {}),
    "no finish": ([chunk({"content": "a"})], {}),
    "several names": ([chunk({"content": "a"}), chunk({"content": "b"}, "stop") | {"id": "w2", "model": "zz"}], {}),
    "later failure": ([chunk({"content": "a"}), {"!raise": "boom"}], {}),
    "later 429": ([chunk({"content": "a"}), {"!http": [429, "slow"]}], {}),
    "later rubbish": ([chunk({"content": "a"}), {"foo": 1}], {}),
}
COMPLETION_CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "plain": ([text(""), text("he"), text("llo", "stop")], {"echo": True, "suffix": "s", "logprobs": 2, "best_of": 1}),
    "one in a list": ([text("a", "stop")], {"prompt": ["a"]}),
    "tokens": ([text("a", "stop")], {"prompt": [1, 2, 300_000]}),
    "two choices": ([text("a"), text("b", "length", 1), text("c", "stop")], {}),
    "usage": ([text("a", "stop", usage=USAGE)], {}),
    "no finish": ([text("a")], {}),
}
FAILURES: dict[str, list[Any]] = {
    "rubbish": [{"foo": 1}],
    "no chunk": ["abc"],
    "eos is no finish reason here": [chunk({"content": "a"}, "eos")],
    "whole answer": [HEAD | {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}]}],
    "exception": [{"!raise": "boom"}],
    "refusal": [{"!raise": ["InvalidArgument", "bad thing"]}],
    "429": [{"!http": [429, "slow"]}],
    "503": [{"!http": [503, "slow"]}],
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScriptedWorker, Frontend, Frontend]]:
    home = tmp_path_factory.mktemp("text-in")
    with Cluster(FileStore(home / "store"), home) as cluster:
        worker = cluster.scripted_worker(name="text", arguments=("--input", "Text"))
        yield worker, cluster.frontend("text"), cluster.real_frontend("text")


def shown(answer: tuple[int, str]) -> tuple[int, Any]:
    """An answer without what differs by design: comments, and the OpenAI form of errors beside the flat one."""
    status, body = answer
    if body.startswith("{"):
        decoded = json.loads(body)
        if status >= 400:
            decoded.pop("error", None)
        return status, decoded
    events = [block for block in body.split("\n\n") if block.strip() and not block.startswith(":")]
    return status, [json.loads(event[6:]) if event.startswith("data: {") else event for event in events]


def compare(stage: tuple[ScriptedWorker, Frontend, Frontend], path: str, script: list[Any], body: Any) -> None:
    worker, *frontends = stage
    worker.say(script)
    seen, answers = [], []
    for frontend in frontends:
        worker.forget()
        answers.append(shown(ask(frontend.url + path, {"model": "text"} | body, {"x-dynamo-meta-k": "v"})))
        seen.append([(entry["request"], entry["metadata"]) for entry in worker.requests()])
    assert answers[0] == answers[1]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CHAT_CASES)
def test_chat(stage: tuple[ScriptedWorker, Frontend, Frontend], name: str, stream: bool) -> None:
    script, fields = CHAT_CASES[name]
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    compare(stage, CHAT, script, {"messages": [{"role": "user", "content": "hi"}]} | fields | options)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", COMPLETION_CASES)
def test_completions(stage: tuple[ScriptedWorker, Frontend, Frontend], name: str, stream: bool) -> None:
    script, fields = COMPLETION_CASES[name]
    compare(stage, COMPLETIONS, script, {"prompt": "hi", "stream": stream} | fields)


def test_a_batch_is_split(stage: tuple[ScriptedWorker, Frontend, Frontend]) -> None:
    worker, ours, theirs = stage
    worker.say([text("he"), text("llo", "stop"), text("x", "stop", 1)])
    worker.forget()
    body = {"model": "text", "prompt": ["a", "b"], "n": 2, "temperature": 0.5}
    answers = [shown(ask(frontend.url + COMPLETIONS, body)) for frontend in (ours, theirs)]
    assert answers[0] == answers[1]
    assert sorted(entry["request"]["prompt"] for entry in worker.requests()) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_before_the_first_chunk(stage: tuple[ScriptedWorker, Frontend, Frontend], name: str) -> None:
    """Streams too get the status that the original gives folded answers."""
    body = {"messages": [{"role": "user", "content": "hi"}]}
    compare(stage, CHAT, FAILURES[name], body)
    worker, ours, _ = stage
    unary = ask(ours.url + CHAT, {"model": "text"} | body)
    assert ask(ours.url + CHAT, {"model": "text", "stream": True} | body) == unary


def test_the_worker_hears_of_a_client_that_leaves(stage: tuple[ScriptedWorker, Frontend, Frontend]) -> None:
    worker, ours, _ = stage
    worker.say([chunk({"content": "a"}), {"!wait_cancel": 30}])
    worker.forget()
    connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=10)
    body = {"model": "text", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    connection.request("POST", CHAT, json.dumps(body), {"content-type": "application/json"})
    assert connection.getresponse().readline().startswith(b"data: ")
    connection.close()
    worker.wait_for(1, ends=1)
    assert worker.ends()[0]["killed"] or worker.ends()[0]["stopped"]
