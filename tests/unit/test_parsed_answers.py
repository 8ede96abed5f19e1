"""From a worker's items, through a parser, to the chunks and the body of a chat answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.http.chat_shape import ChatAnswer, ChatChunks
from dynamo_fe.http.dispatch_events import DispatchEvents
from dynamo_fe.http.shape import usage_of
from dynamo_fe.http.token_names import TokenNames
from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.pipeline.delta import Thought
from dynamo_fe.protocol.openai import ChatRequest
from tests.support.parser_compare import Result, aggregate
from tests.unit.test_deliver import EOS, Endpoint, Letters, delivery, items

PLAN = ParsePlan(
    tool_parser="hermes", reasoning_parser="qwen3", schemas={"f": {}, "g": {}}, parallel=True, counts_reasoning=True
)
CALL = '<tool_call>{"name": "f", "arguments": {"a": "b"}}</tool_call>'
ANSWER = "<think>hm</think>Hi." + CALL
NAMES = TokenNames(Letters(), ChatRequest(model="m", messages=[]))  # type: ignore[arg-type]


def chunks(dispatches: DispatchEvents | None = None, field: str = "reasoning_content") -> ChatChunks:
    return ChatChunks("chatcmpl-1", 1, "m", NAMES, None, field, dispatches)


def choices_of(frames: bytes) -> list[dict[str, Any]]:
    found = [json.loads(frame.split(b"data: ", 1)[1]) for frame in frames.split(b"\n\n") if frame]
    return [choice for chunk in found for choice in chunk.get("choices", [])]


def streamed(endpoint: Endpoint, index: int = 0) -> tuple[Result, list[str]]:
    """The message that the frames make, and their breaches of the rules of deltas."""
    shape = chunks()
    frames = b"".join(shape.frames([piece]) for piece in endpoint.pieces)
    deltas = [
        choice["delta"] | ({"finish_reason": choice["finish_reason"]} if choice["finish_reason"] else {})
        for choice in choices_of(frames)
        if choice["index"] == index
    ]
    assert deltas[0]["role"] == "assistant"
    return aggregate(deltas)


def folded(endpoint: Endpoint) -> list[dict[str, Any]]:
    answer = ChatAnswer(NAMES, None, False, "reasoning_content")
    answer.add(endpoint.pieces)
    return answer.choices()


def test_a_stream_and_a_body_tell_the_same() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items([*items(ANSWER), OutputItem([], "stop")])
    result, breaches = streamed(endpoint)
    (choice,) = folded(endpoint)
    assert not breaches
    call = {"id": result["tool_calls"][0]["id"], "name": "f", "arguments": '{"a": "b"}'}
    expected = {"content": "Hi.", "reasoning": "hm", "tool_calls": [call], "finish_reason": "tool_calls"}
    assert result == expected
    function = {"name": "f", "arguments": '{"a": "b"}'}
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hi.",
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [{"id": call["id"], "type": "function", "function": function}],
    }
    assert choice["finish_reason"] == "tool_calls"


def test_a_message_of_calls_alone_has_no_content() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items([OutputItem([ord(letter) for letter in CALL], "stop")])
    (choice,) = folded(endpoint)
    assert choice["message"]["content"] is None and "reasoning_content" not in choice["message"]


@pytest.mark.parametrize(
    ("said", "reason", "expected"),
    [
        (ANSWER, "stop", "tool_calls"),
        (ANSWER, "eos", "tool_calls"),
        (ANSWER, "length", "length"),
        (CALL[:-14], "length", "length"),
        (CALL[:-14], "stop", "stop"),
        ("<think>hm</think>Hi.", "stop", "stop"),
        (CALL, "content_filter", "content_filter"),
    ],
)
def test_finish_reasons(said: str, reason: str, expected: str) -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items([*items(said), OutputItem([], reason)])
    result, breaches = streamed(endpoint)
    assert (result["finish_reason"], breaches) == (expected, [])


def test_calls_end_an_answer_whose_worker_gave_no_reason() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items(items(CALL))
    made.on_end(None)
    assert streamed(endpoint)[0]["finish_reason"] == "tool_calls"


def test_withheld_text_is_told_when_the_worker_gave_no_reason() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items(items("a <tool"))
    made.on_end(None)
    assert streamed(endpoint)[0]["content"] == "a <tool"


def test_a_stop_string_in_the_closing_marker_leaves_the_call_complete() -> None:
    made, endpoint, _ = delivery(parse=PLAN, stop={"stop": ["</tool"]})
    made.on_items(items(CALL))
    result, breaches = streamed(endpoint)
    assert (result["finish_reason"], len(result["tool_calls"]), breaches) == ("tool_calls", 1, [])


def test_a_token_that_ends_the_turn_is_no_text_for_the_parser() -> None:
    made, endpoint, _ = delivery(parse=PLAN, output={"skip_special_tokens": False})
    made.on_items([*items(CALL), OutputItem([EOS])])
    result, _ = streamed(endpoint)
    assert (result["content"], result["finish_reason"]) == (None, "tool_calls")


def test_choices_are_parsed_apart() -> None:
    made, endpoint, _ = delivery(choices=2, parse=PLAN)
    for one, other in zip(ANSWER, "<think>so</think>" + CALL.replace('"f"', '"g"') + "   ", strict=True):
        made.on_items([OutputItem([ord(one)]), OutputItem([ord(other)], index=1)])
    made.on_items([OutputItem([], "stop"), OutputItem([], "length", index=1)])
    first, second = (streamed(endpoint, index) for index in (0, 1))
    assert (first[0]["reasoning"], second[0]["reasoning"]) == ("hm", "so")
    assert [call["name"] for call in first[0]["tool_calls"] + second[0]["tool_calls"]] == ["f", "g"]
    assert (first[0]["finish_reason"], second[0]["finish_reason"]) == ("tool_calls", "length")
    assert first[1] == second[1] == []


def test_reasoning_tokens_are_counted() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items([*items(ANSWER), OutputItem([], "stop")])
    details = usage_of(made.usage(), False)["completion_tokens_details"]
    # the thought with its closer; the opener became one with its last letter
    assert details == {"reasoning_tokens": len("hm</think>")}


def test_a_model_that_thinks_and_did_not_counts_none() -> None:
    made, endpoint, _ = delivery(parse=ParsePlan(counts_reasoning=True))
    made.on_items([*items("<think>"), OutputItem([], "stop")])
    assert endpoint.text() == "<think>"
    assert usage_of(made.usage(), False)["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_plain_text_and_thoughts_stay_bare_pieces() -> None:
    """What is most frequent costs no more than it must."""
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items(items("<think>hm hm</think>Hi there"))
    assert endpoint.pieces[-6:] == [*" there"]
    assert [piece for piece in endpoint.pieces if isinstance(piece, Thought)] == [Thought(char) for char in "hm hm"]


def test_the_reasoning_field_is_named_by_the_operator() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items([*items(ANSWER), OutputItem([], "stop")])
    shape = chunks(field="reasoning")
    told = choices_of(b"".join(shape.frames([piece]) for piece in endpoint.pieces))
    assert "".join(choice["delta"].get("reasoning", "") for choice in told) == "hm"
    answer = ChatAnswer(NAMES, None, False, "reasoning")
    answer.add(endpoint.pieces)
    assert answer.choices()[0]["message"]["reasoning"] == "hm"


def test_dispatch_events_carry_the_whole_piece_before_what_follows_it() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items([*items(ANSWER), OutputItem([], "stop")])
    shape = chunks(DispatchEvents(calls=True, reasoning=True))
    frames = b"".join(shape.frames([piece]) for piece in endpoint.pieces).split(b"\n\n")
    names = [frame.split(b"\n")[0] for frame in frames]
    (thought,) = [at for at, name in enumerate(names) if name == b"event: reasoning_dispatch"]
    (call,) = [at for at, name in enumerate(names) if name == b"event: tool_call_dispatch"]
    assert json.loads(frames[thought].split(b"data: ")[1]) == {"index": 0, "reasoning_content": "hm"}
    told = json.loads(frames[call].split(b"data: ")[1])
    assert told["choice_index"] == 0 and told["tool_call"]["index"] == 0
    assert told["tool_call"]["function"] == {"name": "f", "arguments": '{"a": "b"}'}
    assert b'"content":"H"' in frames[thought + 1]


def test_unwanted_dispatch_events_are_not_sent() -> None:
    made, endpoint, _ = delivery(parse=PLAN)
    made.on_items([*items(ANSWER), OutputItem([], "stop")])
    shape = chunks(DispatchEvents(calls=True, reasoning=False))
    assert b"reasoning_dispatch" not in b"".join(shape.frames([piece]) for piece in endpoint.pieces)
