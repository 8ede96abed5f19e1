"""From a chat request to what a worker is sent: where the work is done, and what bad input costs."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from dynamo_fe.models.renderer import ContentKind
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.pipeline.refusal import Refusal
from tests.support.prepared import CHAT, Desk

PLAIN = CHAT.replace("@TAIL@", "")
CYCLE = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"], "additionalProperties": False}


class Witness:
    """A renderer that remembers whether it was called on the thread of the event loop."""

    content_kind: ContentKind = "string"
    media_mark = ""
    mentions_reasoning = True
    keeps_argument_strings = False
    shows_demands = False
    is_slow = False
    fault = ""

    def __init__(self) -> None:
        self.on_loop: bool | None = None

    def render(self, messages: list[Any], tools: list[Any] | None, prompt: bool, variables: Mapping[str, Any]) -> str:
        self.on_loop = threading.current_thread() is threading.main_thread()
        return "hello"


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    pool = TokenizePool(threads=1, inline_bytes=1 << 20, queue_limit=4)
    yield await Desk.open(pool)
    pool.close()


def said(*contents: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


@pytest.mark.parametrize(
    ("body", "on_loop"),
    [(said("hello"), True), (said(*["hello"] * 100), False), (said("x" * 100_000), False)],
    ids=["short", "many messages", "long message"],
)
async def test_long_conversations_are_rendered_beside_the_event_loop(
    desk: Desk, body: dict[str, Any], on_loop: bool
) -> None:
    witness = Witness()
    await desk.prepared(body, desk.model({}, witness))
    assert witness.on_loop is on_loop


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "f"}}])
@pytest.mark.parametrize("parser", ["hermes", "kimi_k2", "kimi_k3"])
async def test_a_schema_that_refers_to_itself_is_passed_on(desk: Desk, strict: bool, choice: Any, parser: str) -> None:
    function = {"name": "f", "parameters": CYCLE, "strict": strict}
    body = said("hello") | {"tools": [{"type": "function", "function": function}], "tool_choice": choice}
    config = {"tool_call_parser": parser, "structural_tag": {"scope": "always"}}
    found = await desk.prepared(body, desk.model(config, PLAIN))
    assert found.body.sampling_options.guided_decoding is not None


async def test_schemas_nested_too_deeply_are_refused(desk: Desk) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        schema = {"type": "object", "properties": {"a": schema}}
    body = said("hello") | {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}
    with pytest.raises(Refusal, match="recursion limit"):
        await desk.prepared(body, desk.model({}, PLAIN))


async def test_tens_of_thousands_of_required_properties(desk: Desk) -> None:
    names = [f"p{number}" for number in range(20_000)]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names[:-1],
        "additionalProperties": False,
    }
    function = {"name": "f", "parameters": schema, "strict": True}
    body = said("hello") | {"tools": [{"type": "function", "function": function}]}
    with pytest.raises(Refusal, match="must include property 'p19999'"):
        await desk.prepared(body, desk.model({}, PLAIN))


async def test_a_template_without_end_is_the_clients_400_and_tried_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamo_fe.models.template_engine.MOST_RENDER_SECS", 0.1)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    two_systems = {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}] * 2}
    with pytest.raises(Refusal, match="took too long"):
        await desk.prepared(two_systems, desk.model({}, loop))


@pytest.mark.parametrize("words", [25_000, 200_000])
async def test_a_prompt_has_a_bound_where_the_model_gives_none(desk: Desk, words: int) -> None:
    model = desk.model({}, PLAIN)
    with pytest.raises(Refusal) as caught:
        await desk.prepared(said("hello " * words), model)
    assert caught.value.status == 400
    assert "DYN_FE_MAX_PROMPT_TOKENS allows 20000 tokens" in caught.value.message


@pytest.mark.parametrize("words", [10, 25_000, 200_000])
async def test_a_refused_prompt_leaves_no_cycle_behind(desk: Desk, words: int) -> None:
    """It would be kept until the garbage collector comes, which is seldom."""
    model = desk.model({}, PLAIN if words > 10 else "{{ raise_exception('no') }}")

    async def refused() -> None:
        with pytest.raises(Refusal):
            await desk.prepared(said("hello " * words), model)

    await refused()
    gc.collect()
    gc.disable()
    try:
        await refused()
        await asyncio.sleep(0)
        assert gc.collect() == 0
    finally:
        gc.enable()
