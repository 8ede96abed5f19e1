"""What chat templates render, against captures of the real frontend and the reference renderer's definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.models.errors import TemplateError
from dynamo_fe.models.template import ChatTemplate

FIXTURES = Path(__file__).parent.parent / "fixtures" / "parsers"
SPECIAL_TOKENS = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}

# These show how a request becomes messages, tools and variables, which happens before a template sees anything.
PREPARED_BY_THE_PIPELINE = {
    f"chat_template/{name}"
    for name in (
        "assistant-tool-call-arguments-become-objects",
        "continue-and-generation-conflict",
        "continue-final-message-with-end-marker",
        "empty-text-parts",
        "history-reasoning-field-spelling",
        "null-assistant-content",
        "request-chat-template",
        "strict-consecutive-users",
        "strict-late-system-message",
        "strict-two-leading-systems",
        "string-content-for-array-template",
        "text-parts-joined",
        "tool-choice-none-drops-tools",
        "tool-role-message",
        "tools-key-order-and-extras",
        "tools-schema-backfill",
    )
}

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case
    for case in map(json.loads, (FIXTURES / "requests" / "chat_template.jsonl").read_text().splitlines())
}
NAMED_TOOLS: dict[str, Any] = json.loads((FIXTURES / "tools.json").read_text())


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    request = case["request"]
    tools = NAMED_TOOLS[case["tools"]] if isinstance(case["tools"], str) else case["tools"]
    variables = request.get("chat_template_kwargs") or request.get("chat_template_args") or {}
    template = ChatTemplate({"default": case["template"]}, SPECIAL_TOKENS)
    try:
        prompt = template.render(request["messages"], tools, request.get("add_generation_prompt", True), variables)
    except TemplateError:
        return {"status": 400}
    return {"status": 200, "prompt": prompt}


@pytest.mark.parametrize("name", sorted(CASES.keys() - PREPARED_BY_THE_PIPELINE))
def test_renders_as_expected(name: str) -> None:
    case = CASES[name]
    accepted = [
        {key: wanted[key] for key in ("status", "prompt") if key in wanted}
        for wanted in (case["expected"], *case.get("also_accept", ()))
    ]
    assert outcome(case) in accepted


def test_every_case_set_aside_exists() -> None:
    assert PREPARED_BY_THE_PIPELINE <= CASES.keys()
