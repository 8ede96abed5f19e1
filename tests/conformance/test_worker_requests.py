"""What requests become on their way to a worker, against captures of the real frontend: guidance, thinking switches,
tools, templates and media.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.worker_request import encode_request
from tests.support.prepared import CHAT, Desk, runtime_config

REQUESTS = Path(__file__).parent.parent / "fixtures" / "parsers" / "requests"
NAMED_TOOLS: dict[str, Any] = json.loads((REQUESTS.parent / "tools.json").read_text())
SWITCHES = ("enable_thinking", "thinking", "thinking_mode", "reasoning_effort")
SHOWN = "".join(f"{{{{ {name} | tojson if {name} is defined else '' }}}}|" for name in SWITCHES)


def records(name: str) -> dict[str, dict[str, Any]]:
    lines = (REQUESTS / f"{name}.jsonl").read_text().splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


CHOICES, STRUCTURED, THINKING = records("tool_choice"), records("structured_output"), records("thinking_switches")
TEMPLATES, MEDIA = records("chat_template"), records("multimodal")


def twin(record: dict[str, Any]) -> str:
    keys = ("tool_parser", "tools", "request", "worker_options", "prompt_tail")
    return json.dumps([record.get(key) for key in keys], sort_keys=True)


# Where both generations of the original have a shape for a request, the newer is the target.
NEWER = json.loads((REQUESTS / "newer_shapes.json").read_text()) | {
    twin(record): record["expected"]["worker"]
    for record in STRUCTURED.values()
    if record.get("generation") == "streaming" and "worker" in record["expected"]
}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    pool = TokenizePool(threads=1, inline_bytes=1 << 20, queue_limit=4)
    yield await Desk.open(pool)
    pool.close()


async def prepared(desk: Desk, record: dict[str, Any], template: str) -> Prepared | int:
    """The request on its way, or the status of its refusal."""
    tools = NAMED_TOOLS[record["tools"]] if isinstance(record.get("tools"), str) else record.get("tools")
    body = record["request"] if tools is None else {**record["request"], "tools": tools}
    try:
        return await desk.prepared(body, desk.model(runtime_config(record), template))
    except Refusal as refusal:
        assert refusal.error_class == "InvalidRequest"
        return 400


def on_the_wire(request: Prepared) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(encode_request(request.body, "json"))
    return body


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", [*CHOICES, *STRUCTURED])
async def test_what_holds_the_answer_to_its_form(desk: Desk, name: str) -> None:
    record = CHOICES.get(name) or STRUCTURED[name]
    found = await prepared(desk, record, CHAT.replace("@TAIL@", record.get("prompt_tail", "")))
    if record["expected"].get("status", 200) != 200:
        assert found == record["expected"]["status"]
        return
    assert isinstance(found, Prepared)
    captured = record.get("worker") or record["expected"]["worker"]
    newer = NEWER.get(name) or NEWER.get(twin(record)) if "generation" not in record else None
    body, wanted = on_the_wire(found), newer or captured
    assert without_nulls(body["sampling_options"]["guided_decoding"]) == without_nulls(wanted["guided_decoding"])
    assert body.get("require_reasoning") in {captured.get("require_reasoning"), wanted.get("require_reasoning")}
    if captured.get("skip_special_tokens") is False:
        assert body["output_options"]["skip_special_tokens"] is False


@pytest.mark.parametrize("name", THINKING)
async def test_thinking_switches(desk: Desk, name: str) -> None:
    record = THINKING[name]
    found = await prepared(desk, record, SHOWN + "{{ messages[0].content }}")
    wanted = record["expected"]
    if wanted["status"] != 200:
        assert found == wanted["status"]
        return
    assert isinstance(found, Prepared) and found.formatted_prompt is not None
    shown = zip(SWITCHES, re.split(r"\|", found.formatted_prompt), strict=False)
    assert {switch: json.loads(text) for switch, text in shown if text} == wanted["template_variables"]
    # that parser splits nothing whatever it is told
    if record["reasoning_parser"] != "minimax_append_think":
        assert found.parse is not None
        assert (found.parse.reasoning_parser is not None) is wanted["reasoning_is_parsed"]


@pytest.mark.parametrize("name", [*TEMPLATES, *MEDIA])
async def test_prompts_and_media(desk: Desk, name: str) -> None:
    record = TEMPLATES.get(name) or MEDIA[name]
    found = await prepared(desk, record, record["template"])
    accepted = [record["expected"], *record.get("also_accept", ())]
    if isinstance(found, int):
        assert found in [wanted["status"] for wanted in accepted]
        return
    body = on_the_wire(found)
    shown = {
        "status": 200,
        "prompt": found.formatted_prompt,
        "multi_modal_data": body.get("multi_modal_data"),
        "mm_processor_kwargs": body.get("mm_processor_kwargs"),
        "extra_args": body.get("extra_args"),
    }
    assert any(
        without_nulls({key: shown[key] for key in wanted if key in shown})
        == without_nulls({key: wanted[key] for key in wanted if key in shown})
        for wanted in accepted
    ), shown
