"""Texts that are written to hurt a parser: each ends soon, by count of what is done and not by a clock, and clearly."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dynamo_fe.parsers.machine import Machine
from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.parsers.tool_calls.values import items_of, kinds_of, property_of, typed
from tests.support.parser_compare import aggregate
from tests.support.parser_records import deltas, read
from tests.unit.test_parser_properties import TOOL_PARSERS

SCHEMAS: dict[str, dict[str, Any]] = {"f": {"properties": {"a": {"type": "string"}}}}


def steps_of(work: Callable[[], object]) -> int:
    """Lines of Python that the work takes."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def answer(tool: str, text: str, size: int = 0, **plan: Any) -> dict[str, Any]:
    pieces = [text[at : at + size] for at in range(0, len(text), size)] if size else [text]
    events, finish = read(ParsePlan(tool_parser=tool, reasoning_parser="qwen3", schemas=SCHEMAS, **plan), pieces)
    return aggregate(deltas(events, finish))[0]


@pytest.mark.parametrize("tool", TOOL_PARSERS)
@pytest.mark.parametrize("char", ["<", "[", "{", "\n", "`"])
def test_a_flood_of_one_character_is_text(tool: str, char: str) -> None:
    text = char * 20_000
    assert answer(tool, text)["content"] == text
    assert answer(tool, text, size=7)["content"] == text


def test_a_megabyte_of_angle_brackets_is_text() -> None:
    assert answer("hermes", "<" * 1_000_000, size=1000)["content"] == "<" * 1_000_000


OPENERS = {
    "hermes": '<tool_call>{"name": "f", "arguments": {"a": %s',
    "pythonic": "[f(a=%s",
    "gemma4": "<|tool_call>call:f{a:%s",
    "lfm2": "<|tool_call_start|>[f(a=%s",
    "mistral": '[TOOL_CALLS]f{"a": %s',
    "gpt_oss": '<|channel|>commentary to=functions.f<|message|>{"a": %s',
}


@pytest.mark.parametrize("tool", OPENERS)
@pytest.mark.parametrize("bracket", ["[", "{", '{"k":', "("])
def test_a_hundred_thousand_open_brackets_end_without_a_call(tool: str, bracket: str) -> None:
    text = OPENERS[tool] % (bracket * 100_000)
    events, finish = read(ParsePlan(tool_parser=tool, schemas=SCHEMAS), [text], "length")
    assert finish == "length"
    for call in aggregate(deltas(events, finish))[0]["tool_calls"]:
        with pytest.raises(ValueError):
            json.loads(call["arguments"])


def test_nested_function_objects_do_not_recurse() -> None:
    text = "<tool_call>" + '{"function": ' * 50_000
    assert answer("hermes", text)["tool_calls"] == []


def test_tags_nested_without_end_are_text() -> None:
    text = ']<]minimax[>[<invoke name="f">' + "]<]minimax[>[<k>" * 10_000
    assert answer("minimax_m3", text)["finish_reason"] == "stop"


CYCLE: dict[str, Any] = {"$ref": "#/$defs/a"}
CYCLIC = {
    "properties": {"p": CYCLE, "q": {"anyOf": [CYCLE, {"$ref": "#/properties/q"}]}},
    "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": CYCLE},
}


@pytest.mark.parametrize("name", ["p", "q"])
def test_a_schema_that_refers_to_itself_says_nothing(name: str) -> None:
    schema = property_of(CYCLIC, name, CYCLIC)
    assert kinds_of(schema, CYCLIC) == frozenset()
    assert items_of(schema, CYCLIC) is None
    assert property_of(schema, "x", CYCLIC) is None


CODE = [
    "__import__('os').system('touch x')",
    "[__import__('os')]",
    "{'a': open('secrets').read()}",
    "[x for x in ().__class__.__base__.__subclasses__()]",
    "['a' * 9999999999]",
    "9**9**9",
    "(lambda: 1)()",
    "f'{1+1}'",
]


@pytest.mark.parametrize("code", CODE)
def test_code_is_never_run(code: str) -> None:
    """It is the string that was written in a typed parameter, and text where a call was to be."""
    assert json.loads(typed(code, frozenset({"array", "object", "integer"}))) == code
    text = f"[f(a={code})]"
    assert answer("pythonic", text)["content"] == text


@pytest.mark.parametrize(
    ("tool", "opener"),
    [
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "'),
        ("hermes", '<tool_call>{"arguments": {"a": "'),
        ("qwen3_coder", "<function=f><parameter=a>"),
        ("glm47", "<tool_call>f<arg_key>a</arg_key><arg_value>"),
        ("gemma4", '<|tool_call>call:f{a:<|"|>'),
        ("lfm2", '<|tool_call_start|>[f(a="'),
        ("pythonic", '[f(a="'),
        ("hermes", ""),
        ("pythonic", ""),
    ],
)
def test_cost_is_linear_in_the_text(tool: str, opener: str) -> None:
    """Pieces of the same size cost the same however much came before; 200 kB of them are nothing special."""
    plan = ParsePlan(tool_parser=tool, reasoning_parser="qwen3", schemas=SCHEMAS)
    body = "lorem <ipsum> dolor [sit] 'amet' \\n "

    def work(times: int) -> int:
        machine = Machine(plan)
        machine.push(opener)

        def run() -> None:
            for at in range(times):
                machine.push(body[at % len(body) :][:9])

        return steps_of(run)

    work(10)
    assert work(4000) < 4.4 * work(1000)


def test_held_text_does_not_grow_with_what_was_told() -> None:
    """A long argument goes out as it comes; what waits is never more than a marker."""
    machine = Machine(ParsePlan(tool_parser="hermes", schemas=SCHEMAS))
    machine.push('<tool_call>{"name": "f", "arguments": {"a": "')
    for _ in range(100):
        (event,) = machine.push("x" * 2000)
        assert len(getattr(event, "text", "")) == 2000


def test_a_lone_surrogate_in_an_argument_can_be_sent() -> None:
    text = '<tool_call>{"name": "f", "arguments": "{\\"a\\": \\"\\\\ud800 \\ud800\\"}"}</tool_call>'
    (call,) = answer("hermes", text)["tool_calls"]
    call["arguments"].encode()


@pytest.mark.parametrize(
    "arguments",
    [
        r'{"a":"b\q"}',
        r'{"a":"b\u12"}',
        r'{"a":"b\q</tool_call>","c":{"d":"\""}}',
        '{"a":"b",}',
        '{"a":"b","c":True}',
        '{"a":["b" "c"]}',
        '{"a":"b","c":[1}}',
    ],
)
@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_mistake_inside_arguments_is_passed_on_as_written(arguments: str, size: int) -> None:
    """They were begun to be sent, so the call stays whole and what follows it is content."""
    told = answer("hermes", f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>!', size)
    assert [call["arguments"] for call in told["tool_calls"]] == [arguments]
    assert told["content"] == "!"
    told = answer("mistral", f"[TOOL_CALLS]f{arguments}", size)
    assert [call["arguments"] for call in told["tool_calls"]] == [arguments]


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_mistake_before_arguments_have_begun_leaves_the_region_text(size: int) -> None:
    text = '<tool_call>{"name": "f", "arguments": {a: 1}}</tool_call>!'
    assert answer("hermes", text, size)["content"] == text


@pytest.mark.parametrize("size", [0, 1, 3])
def test_what_is_no_call_behind_a_call_is_text_without_the_closer(size: int) -> None:
    told = answer("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1, </tool_call>!', size)
    assert (told["content"], len(told["tool_calls"])) == ("!", 1)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_quote_too_many_does_not_take_in_what_follows_the_call(size: int) -> None:
    told = answer("hermes", '<tool_call>{"name": "f", "arguments": {"a": "5" <tall"}}</tool_call>!', size)
    assert (told["content"], len(told["tool_calls"])) == ('<tall"}}!', 1)
    told = answer("hermes", '<tool_call>{"name": "f", "arguments": {"a": "5" tall<"}}</tool_call>!', size)
    assert (told["content"], len(told["tool_calls"])) == ('<"}}!', 1)
    told = answer("hermes", '<tool_call>{"name": "f", "arguments": {"a": "5" tall"}}</tool_call>!', size)
    assert [call["arguments"] for call in told["tool_calls"]] == ['{"a": "5" tall"}}']
    assert told["content"] == "!"


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_comma_behind_the_last_call_is_no_text(size: int) -> None:
    told = answer("hermes", '<tool_call>[{"name": "f", "arguments": {}}, ]</tool_call>!', size)
    assert (told["content"], len(told["tool_calls"])) == ("!", 1)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_an_opener_written_twice_leaves_no_marker(size: int) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"a": "<tool_call>"}}\n</tool_call>'
    told = answer("hermes", f"a<tool_call>\n{call}\n</tool_call>z", size)
    assert (told["content"], len(told["tool_calls"])) == ("az", 1)
