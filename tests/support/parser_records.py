"""The parser corpus: its records, the plan each asks for, and a machine's events in the shapes of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dynamo_fe.parsers.events import Arguments, CallEnd, CallStart, Content, Event, Thought
from dynamo_fe.parsers.machine import Machine
from dynamo_fe.parsers.plan import ParsePlan

FIXTURES = Path(__file__).parent.parent / "fixtures" / "parsers"
CUTS = (1, 2, 3, 5, 7, 40)
_TOOLS: dict[str, Any] = json.loads((FIXTURES / "tools.json").read_text())

# Parsers that a request can switch off, and those that it must switch on.
_OFF_BY_SWITCH = {
    "deepseek_r1",
    "deepseek_v3_2",
    "deepseek_v4",
    "deepseek_v41",
    "minimax_m2",
    "kimi_k25",
    "kimi_k3",
    "minimax_m3",
    "nemotron3",
    "nemotron_nano",
    "nemotron_v3",
    "muse_glimmer",
}
_ON_BY_SWITCH = {"deepseek_v3", "deepseek_v3_1", "gemma4", "gemma-4"}

Record = dict[str, Any]


def record_files() -> list[str]:
    """The corpus's files of texts and the messages they become."""
    folders = ("tool_calls", "reasoning", "combined")
    found = [path for folder in folders for path in sorted((FIXTURES / folder).glob("*.jsonl"))]
    return [str(path.relative_to(FIXTURES)) for path in [*found, FIXTURES / "requests" / "tool_choice.jsonl"]]


def records(file: str) -> list[Record]:
    """The records of a file that have a message for an answer, and no tokens that a tokenizer would hide."""
    found = map(json.loads, (FIXTURES / file).read_text().splitlines())
    return [record for record in found if "content" in record["expected"] and _shows_its_tokens(record)]


def _shows_its_tokens(record: Record) -> bool:
    return bool(record["tool_parser"] or record["reasoning_parser"] or not record.get("special_tokens"))


def cuts(record: Record) -> Iterator[Sequence[str]]:
    """The ways a record's text may arrive in."""
    if "chunks" in record:
        yield record["chunks"]
        return
    text = record["input"]
    yield [text]
    for size in CUTS:
        yield [text[at : at + size] for at in range(0, len(text), size)]


def plan_of(record: Record) -> ParsePlan:
    request = record.get("request") or {}
    tools = record.get("tools")
    tools = _TOOLS[tools] if isinstance(tools, str) else tools or []
    choice = request.get("tool_choice")
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    return ParsePlan(
        tool_parser=record["tool_parser"] if tools and choice != "none" else None,
        reasoning_parser=record["reasoning_parser"] if _thinks(record["reasoning_parser"], request) else None,
        schemas={tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools},
        forced=named is not None or choice == "required",
        named=named,
        parallel=request.get("parallel_tool_calls", True),
        guided="response_format" in request,
        prompt_tail=record.get("prompt_tail", ""),
    )


def _thinks(parser: str | None, request: dict[str, Any]) -> bool:
    switches = request.get("chat_template_kwargs") or request.get("chat_template_args") or {}
    given = switches.get("enable_thinking", switches.get("thinking"))
    if "reasoning_effort" in request:
        given = request["reasoning_effort"] != "none"
    if parser == "mistral":
        return "reasoning_effort" in request and bool(given)
    return bool(given) if parser in _ON_BY_SWITCH else parser not in _OFF_BY_SWITCH or given is not False


def read(plan: ParsePlan, pieces: Sequence[str], reason: str = "stop") -> tuple[list[Event], str]:
    """The events of an answer in these pieces, and the finish reason it is to have."""
    machine = Machine(plan)
    events = [event for piece in pieces for event in machine.push(piece)]
    events += machine.finish(reason == "length")
    return events, "tool_calls" if reason == "stop" and machine.completed_calls else reason


def deltas(events: list[Event], reason: str) -> list[dict[str, Any]]:
    """The events as the deltas of a stream."""
    found = [delta for event in events if (delta := _delta(event)) is not None]
    return [*found, {"finish_reason": reason}]


def _delta(event: Event) -> dict[str, Any] | None:
    if isinstance(event, Content):
        return {"content": event.text}
    if isinstance(event, Thought):
        return {"reasoning_content": event.text}
    if isinstance(event, CallStart):
        call = {"index": event.index, "id": event.call_id, "type": "function", "function": {"name": event.name}}
        return {"tool_calls": [call]}
    if isinstance(event, Arguments):
        return {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]}
    return None


def whole(events: list[Event]) -> list[Event]:
    """The events without the calls that have no end, as an answer in one piece tells them."""
    complete = {event.index for event in events if isinstance(event, CallEnd)}
    return [event for event in events if isinstance(event, (Content, Thought)) or event.index in complete]
