"""What holds for every text and every pair of parsers."""

from __future__ import annotations

import json
import random
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynamo_fe.parsers.channels import CHANNEL_FORMATS
from dynamo_fe.parsers.events import Arguments, CallStart, Event
from dynamo_fe.parsers.grammar import grammar
from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.parsers.reasoning.formats import REASONING_FORMATS
from dynamo_fe.parsers.tool_calls.formats import TOOL_FORMATS
from tests.support.parser_compare import aggregate
from tests.support.parser_records import deltas, read, whole

TOOL_PARSERS = sorted({*TOOL_FORMATS, *CHANNEL_FORMATS})
REASONING_PARSERS = sorted({*REASONING_FORMATS, *CHANNEL_FORMATS})
SCHEMAS = {
    "f": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "n": {"type": "integer"}, "l": {"type": "array"}, "u": {}},
    }
}
# What the formats are made of, beside their markers.
SHARDS = (
    [
        "f",
        "f(a='x",
        "[f(n=1)]",
        '{"name": "f", "arguments": {"a": "b"}}',
        '{"name": "f", "arg',
        '"arguments": {"n": 1',
    ]
    + ["<parameter=a>", "</parameter>", "</function>", ' name="f">', ' string="true">x', "<arg_key>a</arg_key>"]
    + [
        "<arg_value>",
        "</arg_value>",
        "call:f{a:",
        ",",
        "}",
        "]",
        '"',
        "'",
        "\\",
        "\n",
        " ",
        "\u00e9",
        "\U0001f36e",
        "0",
    ]
    + ["functions.f:0", "to=functions.f", "<|message|>", "<|sep|>", "```json\n", "```", "[ARGS]", "</think>", "<think>"]
)


def markers_of(tool: str | None, reasoning: str | None) -> list[str]:
    found = grammar(tool, reasoning)
    return sorted(found.content.markers.words | found.thought.markers.words)


def texts(tool: str | None, reasoning: str | None) -> st.SearchStrategy[str]:
    """Mixtures of markers, bits of markers, bits of calls and anything."""
    marker = st.sampled_from(markers_of(tool, reasoning) or ["<"])
    bit = st.builds(lambda word, size: word[:size], marker, st.integers(1, 12))
    return st.lists(st.one_of(marker, bit, st.sampled_from(SHARDS), st.text(max_size=5)), max_size=16).map("".join)


@st.composite
def answers(draw: st.DrawFn) -> tuple[ParsePlan, str, list[str], str]:
    """A plan, a text, one way to cut it, and the engine's finish reason."""
    tool = draw(st.sampled_from([None, *TOOL_PARSERS]))
    reasoning = draw(st.sampled_from([None, *REASONING_PARSERS]))
    forced = draw(st.booleans())
    plan = ParsePlan(
        tool_parser=tool,
        reasoning_parser=reasoning,
        schemas=SCHEMAS,
        forced=forced,
        named=draw(st.sampled_from([None, "f"])) if forced else None,
        parallel=draw(st.booleans()),
        prompt_tail=draw(st.sampled_from(["", "<think>\n", "<think>\n\n</think>\n\n"])),
    )
    text = draw(texts(tool, reasoning))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return plan, text, pieces, draw(st.sampled_from(["stop", "length"]))


def told(events: list[Event]) -> list[Event]:
    """Comparable over cuts: joined neighbours, ids aside."""
    joined: list[Event] = []
    for event in events:
        if isinstance(event, CallStart):
            event = CallStart(event.index, "", event.name)
        last = joined[-1] if joined else None
        if hasattr(event, "text") and type(event) is type(last):
            assert hasattr(last, "text")
            joined[-1] = (
                Arguments(event.index, last.text + event.text)
                if isinstance(event, Arguments)
                else type(event)(last.text + event.text)
            )
        else:
            joined.append(event)
    return joined


def is_json_or_has_a_mistake_inside(arguments: str) -> bool:
    """A mistake passes as the model wrote it; arguments that are only cut are closed."""
    try:
        json.loads(arguments)
    except json.JSONDecodeError as error:
        return error.pos < len(arguments) and not error.msg.startswith("Unterminated")
    return True


@settings(max_examples=1500)
@given(answers())
@example(
    (
        ParsePlan(tool_parser=None, reasoning_parser=None, schemas=SCHEMAS, forced=True, named="f"),
        '{"name": "f", "arg{"name": "f", "arg<',
        ['{"name": "f", "arg{"name": "f", "arg<'],
        "stop",
    )
)
def test_where_the_text_is_cut_never_matters(answer: tuple[ParsePlan, str, list[str], str]) -> None:
    plan, text, pieces, reason = answer
    expected, finish = read(plan, [text], reason)
    for other in (pieces, list(text)):
        events, other_finish = read(plan, other, reason)
        assert (told(events), other_finish) == (told(expected), finish)
    for shown in (expected, whole(expected)):
        assert not aggregate(deltas(shown, finish))[1]
    for call in aggregate(deltas(whole(expected), finish))[0]["tool_calls"]:
        assert is_json_or_has_a_mistake_inside(call["arguments"])


@settings(max_examples=300)
@given(st.sampled_from([None, *TOOL_PARSERS]), st.sampled_from([None, *REASONING_PARSERS]), st.binary(max_size=200))
def test_bytes_of_any_kind_are_shown_whole(tool: str | None, reasoning: str | None, data: bytes) -> None:
    """Without a marker in it nothing of a text is lost, wherever it is shown."""
    text = data.decode("utf-8", "replace")
    if any(marker in text for marker in markers_of(tool, reasoning)):
        return
    plan = ParsePlan(tool_parser=tool, reasoning_parser=reasoning, schemas=SCHEMAS)
    result = aggregate(deltas(read(plan, list(text))[0], "stop"))[0]
    prefix = "<think>" if reasoning == "minimax_append_think" and text else ""
    assert (result["content"] or "") + (result["reasoning"] or "") == prefix + text


WORDS = st.text(string.ascii_letters + string.digits + " .,!?-", min_size=1, max_size=20).filter(str.strip)
VALUES = st.text(max_size=30).map(lambda text: text.replace("\r", ""))

# How a family writes a thought and a call with one string argument; the strings are given as JSON where it is JSON.
FAMILIES = {
    "hermes+qwen3": ("<think>%s</think>", '<tool_call>\n{"name": "f", "arguments": {"a": %s}}\n</tool_call>'),
    "mistral+mistral": ("[THINK]%s[/THINK]", '[TOOL_CALLS]f[ARGS]{"a": %s}'),
    "kimi_k2+kimi_k25": (
        "<think>%s</think>",
        '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": %s}'
        "<|tool_call_end|><|tool_calls_section_end|>",
    ),
    "deepseek_v3_1+basic": (
        "<think>%s</think>",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": %s}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ),
    "nemotron_deci+nemotron_deci": (
        "<think>%s</think>",
        '<TOOLCALL>[{"name": "f", "arguments": {"a": %s}}]</TOOLCALL>',
    ),
    "inkling+inkling": (
        "<|content_thinking|>%s<|end_message|>",
        '<|message_model|>f<|content_invoke_tool_json|>{"name": "f", "args": {"a": %s}}<|end_message|>',
    ),
    "gpt_oss+gpt_oss": (
        "<|channel|>analysis<|message|>%s<|end|>",
        '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": %s}<|call|>',
    ),
}
TAG_FAMILIES = {
    "qwen3_coder+qwen3": (
        "<think>%s</think>",
        "<tool_call>\n<function=f>\n<parameter=a>\n%s\n</parameter>\n</function>\n</tool_call>",
    ),
    "glm47+glm45": (
        "<think>%s</think>",
        "<tool_call>f<arg_key>a</arg_key><arg_value>%s</arg_value></tool_call>",
    ),
    "minimax_m2+basic": (
        "<think>%s</think>",
        '<minimax:tool_call><invoke name="f"><parameter name="a">%s</parameter></invoke></minimax:tool_call>',
    ),
    "deepseek_v4+deepseek_v4": (
        "<think>%s</think>",
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="true">%s'
        "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
    ),
    "minimax_m3+minimax_m3": (
        "<mm:think>%s</mm:think>",
        ']<]minimax[>[<tool_call>]<]minimax[>[<invoke name="f">]<]minimax[>[<a>%s]<]minimax[>[</a>'
        "]<]minimax[>[</invoke>]<]minimax[>[</tool_call>",
    ),
    "gemma4+gemma4": ("<|channel>thought\n%s<channel|>", '<|tool_call>call:f{a:<|"|>%s<|"|>}<tool_call|>'),
    "kimi_k3+kimi_k3": (
        "<|open|>think<|sep|>%s<|close|>think<|sep|>",
        '<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|><|open|>argument key="a" type="string"<|sep|>%s'
        "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
    ),
}
PART = st.one_of(
    st.tuples(st.just("text"), WORDS), st.tuples(st.just("thought"), WORDS), st.tuples(st.just("call"), VALUES)
)


@pytest.mark.parametrize("family", [*FAMILIES, *TAG_FAMILIES])
@settings(max_examples=60)
@given(parts=st.lists(PART, max_size=6), size=st.integers(1, 9))
def test_a_mixture_comes_back_as_its_parts(family: str, parts: list[tuple[str, str]], size: int) -> None:
    thought, call = (FAMILIES | TAG_FAMILIES)[family]
    tool, _, reasoning = family.partition("+")
    plan = ParsePlan(tool_parser=tool, reasoning_parser=reasoning, schemas=SCHEMAS)
    marks = [mark for mark in (*markers_of(tool, reasoning), "</", "]<]", "<|", "<｜") if len(mark) > 1]
    text, wanted = "", [list[str](), list[str](), list[str]()]
    if family == "mistral+mistral":
        text = "[THINK][/THINK]"  # it begins inside a thought
    for kind, value in parts:
        if kind == "call":
            if family in TAG_FAMILIES and any(mark in value for mark in marks) or value.endswith(("\n", "<", "]")):
                continue
            text += call % (value if family in TAG_FAMILIES else json.dumps(value, ensure_ascii=False))
            wanted[2].append(value)
        elif kind == "thought":
            text += thought % value
            wanted[1].append(value)
        else:
            text += value
            wanted[0].append(value)
    events, _ = read(plan, [text[at : at + size] for at in range(0, len(text), size)])
    result = aggregate(deltas(events, "stop"))[0]
    calls = [json.loads(call["arguments"])["a"] for call in result["tool_calls"]]
    found = ["".join((result["content"] or "").split()), result["reasoning"] or "", calls]
    assert found == ["".join("".join(wanted[0]).split()), "".join(wanted[1]), wanted[2]]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_markers_inside_arguments_are_data(family: str) -> None:
    tool, _, reasoning = family.partition("+")
    value = " ".join(markers_of(tool, reasoning)) + ' {"}[ \\ '
    text = FAMILIES[family][1] % json.dumps(value, ensure_ascii=False)
    plan = ParsePlan(tool_parser=tool, reasoning_parser=reasoning, schemas=SCHEMAS)
    for size in (1, 3, len(text)):
        events, finish = read(plan, [text[at : at + size] for at in range(0, len(text), size)])
        (call,) = aggregate(deltas(events, finish))[0]["tool_calls"]
        assert (json.loads(call["arguments"]), finish) == ({"a": value}, "tool_calls")


@pytest.mark.parametrize("family", [*FAMILIES, *TAG_FAMILIES])
def test_two_calls_ended_and_begun_in_one_piece(family: str) -> None:
    tool, _, reasoning = family.partition("+")
    call = (FAMILIES | TAG_FAMILIES)[family][1]
    first, second = (call % (value if family in TAG_FAMILIES else f'"{value}"') for value in ("one", "two"))
    both, at = first + second, len(first)
    plan = ParsePlan(tool_parser=tool, reasoning_parser=reasoning, schemas=SCHEMAS)
    chance = random.Random(7)
    for _ in range(30):
        start, end = at - chance.randrange(1, at), at + chance.randrange(1, len(second))
        events, _ = read(plan, [both[:start], both[start:end], both[end:]])
        result, breaches = aggregate(deltas(events, "stop"))
        assert [json.loads(call["arguments"])["a"] for call in result["tool_calls"]] == ["one", "two"]
        assert not breaches
