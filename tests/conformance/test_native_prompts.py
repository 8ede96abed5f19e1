"""Prompts of families that ship no chat template, against captures of the real frontend."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.models.native.by_type import native_renderer
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.pipeline.refusal import Refusal
from tests.support.prepared import Desk

NATIVE = Path(__file__).parent.parent / "fixtures" / "native"
CASES: dict[str, dict[str, Any]] = {
    case["id"]: case
    for path in sorted(NATIVE.glob("*.jsonl"))
    for case in map(json.loads, path.read_text().splitlines())
}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    pool = TokenizePool(threads=1, inline_bytes=1 << 20, queue_limit=4)
    yield await Desk.open(pool)
    pool.close()


@pytest.mark.parametrize("name", CASES)
async def test_prompt(desk: Desk, name: str) -> None:
    case = CASES[name]
    renderer = native_renderer({"model_type": case["model_type"]})
    assert renderer is not None
    body = case["request"] | ({"tools": case["tools"]} if "tools" in case else {})
    try:
        found = {"status": 200, "prompt": (await desk.prepared(body, desk.model({}, renderer))).formatted_prompt}
    except Refusal:
        found = {"status": 400}
    assert found == case["expected"]


async def test_cut_arguments_of_an_earlier_turn_are_shown_as_they_are(desk: Desk) -> None:
    renderer = native_renderer({"model_type": "deepseek_v4"})
    assert renderer is not None
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"cut":'}}
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    found = await desk.prepared({"messages": messages}, desk.model({}, renderer))
    assert found.formatted_prompt is not None
    assert 'name="arguments" string="true">{"cut":</' in found.formatted_prompt


def test_other_models_have_templates() -> None:
    assert native_renderer({"model_type": "llama"}) is None
    assert native_renderer({"model_type": ["x"]}) is None and native_renderer({}) is None
