"""Ids of calls: what each family's template wants to see again, and never the same twice in an answer."""

from __future__ import annotations

import re
import uuid

from dynamo_fe.parsers.events import CallStart
from dynamo_fe.parsers.plan import ParsePlan
from tests.support.parser_records import read


def ids(tool: str, text: str) -> list[str]:
    events, _ = read(ParsePlan(tool_parser=tool, schemas={"f": {}}), [text])
    return [event.call_id for event in events if isinstance(event, CallStart)]


def test_a_call_has_a_random_id_of_its_own() -> None:
    found = ids("hermes", '<tool_call>{"name": "f", "arguments": {}}</tool_call>' * 2)
    assert len(set(found)) == 2
    assert all(uuid.UUID(call_id.removeprefix("call-")).version == 4 for call_id in found)


def test_kimi_keeps_the_model_s_ids_and_counts_on_where_one_comes_again() -> None:
    call = "<|tool_call_begin|>functions.f:%d<|tool_call_argument_begin|>{}<|tool_call_end|>"
    assert ids("kimi_k2", "".join(call % number for number in (7, 8))) == ["functions.f:7", "functions.f:8"]
    assert ids("kimi_k2", "".join(call % number for number in (0, 0, 1))) == [f"functions.f:{n}" for n in (0, 1, 2)]


def test_kimi_k3_counts_from_zero() -> None:
    call = '<|open|>call tool="f" index="1"<|sep|><|close|>call<|sep|>'
    assert ids("kimi_k3", f"<|open|>tools<|sep|>{call}{call}<|close|>tools<|sep|>") == ["f:0", "f:1"]


def test_mistral_s_ids_have_nine_characters() -> None:
    given, other, long = ids(
        "mistral",
        "[TOOL_CALLS]f[CALL_ID]a1B2c3D4e[ARGS]{}[TOOL_CALLS]f[CALL_ID]a1B2c3D4e[ARGS]{}[TOOL_CALLS]f[CALL_ID]toolong123[ARGS]{}",
    )
    assert given == "a1B2c3D4e"
    assert len({given, other, long}) == 3
    assert all(re.fullmatch("[A-Za-z0-9]{9}", call_id) for call_id in (other, long))
