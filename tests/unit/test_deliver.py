"""From a worker's items to pieces of text."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamo_fe._cext.stream_codec import OutputItem, ResponseDecoder, two_part
from dynamo_fe.models.served import ServedModel
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.pipeline.deliver import Delivery
from dynamo_fe.pipeline.delta import Delta, Piece, Usage
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker_request import OutputOptions, SamplingOptions, StopConditions, WorkerRequest

EOS = 0


class Letters:
    """A tokenizer whose id is the character; id 0 is special, and 200 and up are held back until the next one."""

    vocab_size = 256

    def decoder(self, skip_special_tokens: bool, prompt_ids: list[int]) -> LetterDecoder:
        return LetterDecoder(skip_special_tokens)


class LetterDecoder:
    def __init__(self, skip: bool) -> None:
        self.skip, self.held = skip, ""

    def push(self, ids: list[int]) -> str:
        text = ""
        for number in ids:
            if number == EOS:
                text += "" if self.skip else "</s>"
            elif number >= 200:
                self.held = "~"
            else:
                text += self.flush() + chr(number)
        return text

    def flush(self) -> str:
        held, self.held = self.held, ""
        return held


class Handle:
    def __init__(self) -> None:
        self.cancelled = 0
        self.paused = False

    def cancel(self) -> None:
        self.cancelled += 1

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Endpoint:
    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.usage: Usage | None = None
        self.error: RequestError | None = None
        self.ends = 0

    def on_deltas(self, pieces: list[Piece]) -> None:
        self.pieces += pieces

    def on_finish(self, usage: Usage, error: RequestError | None) -> None:
        self.usage, self.error, self.ends = usage, error, self.ends + 1

    def text(self, index: int = 0) -> str:
        return "".join(self._text(piece, index) for piece in self.pieces)

    def finishes(self) -> list[str]:
        return [piece.finish_reason for piece in self.pieces if isinstance(piece, Delta) and piece.finish_reason]

    def _text(self, piece: Piece, index: int) -> str:
        if isinstance(piece, str):
            return piece if index == 0 else ""
        return piece.text if piece.index == index else ""


def delivery(
    choices: int = 1,
    rich: bool = False,
    stop: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
    parse: ParsePlan | None = None,
) -> tuple[Delivery, Endpoint, Handle]:
    body = WorkerRequest(
        model="m",
        token_ids=[65, 66, 67],
        stop_conditions=StopConditions(**{"stop_token_ids_hidden": [EOS], **(stop or {})}),
        sampling_options=SamplingOptions(**(sampling or {})),
        output_options=OutputOptions(**(output or {})),
        eos_token_ids=[EOS],
        mdc_sum="",
        annotations=[],
        routing={},
    )
    model = ServedModel("m", ModelCard(display_name="m"), "", 0, [EOS], None, Letters())  # type: ignore[arg-type]
    endpoint, handle = Endpoint(), Handle()
    prepared = Prepared(model, body, 3, choices, None)
    prepared.parse = parse
    made = Delivery(prepared, endpoint, FrontendMetrics().of_model("m"), rich)
    made.attach(handle, "msgpack")
    return made, endpoint, handle


def items(text: str) -> list[OutputItem]:
    return [OutputItem([ord(letter)]) for letter in text]


def raw(**envelope: Any) -> OutputItem:
    return OutputItem([], raw=msgspec.msgpack.encode(envelope))


def test_plain_text_comes_as_bare_strings_and_ends_with_the_final_marker() -> None:
    made, endpoint, handle = delivery()
    made.on_items(items("ab"))
    made.on_items([OutputItem([], "length")])
    made.on_end(None)
    assert endpoint.pieces[:2] == ["a", "b"] and endpoint.finishes() == ["length"]
    assert endpoint.usage == Usage(3, 2, True, None) and endpoint.ends == 1 and handle.cancelled == 0


def test_a_first_item_without_text_is_told_and_later_ones_are_not() -> None:
    made, endpoint, _ = delivery()
    made.on_items([OutputItem([200])])
    made.on_items([OutputItem([200])])
    assert endpoint.pieces == [""]
    made.on_items(items("a"))
    assert endpoint.pieces == ["", "~a"]


def test_a_hidden_stop_ends_the_answer_and_tells_the_worker() -> None:
    made, endpoint, handle = delivery()
    made.on_items([*items("ab"), OutputItem([ord("c"), EOS, ord("d")]), *items("xyz")])
    assert endpoint.text() == "abc" and endpoint.finishes() == ["stop"]
    assert handle.cancelled == 1 and endpoint.ends == 1 and endpoint.error is None
    assert endpoint.usage is not None and endpoint.usage.completion_tokens == 4
    made.on_end(None)
    made.on_items(items("more"))
    assert endpoint.text() == "abc" and endpoint.ends == 1


def test_a_hidden_stop_before_min_tokens_is_no_stop() -> None:
    made, endpoint, _ = delivery(stop={"min_tokens": 2})
    made.on_items([OutputItem([EOS]), *items("a"), OutputItem([EOS]), *items("b")])
    assert endpoint.text() == "a" and endpoint.usage is not None and endpoint.usage.completion_tokens == 3


@pytest.mark.parametrize(("include", "text"), [(False, "ab"), (True, "abSTOP")])
def test_a_stop_string_across_items_ends_the_answer(include: bool, text: str) -> None:
    made, endpoint, handle = delivery(stop={"stop": ["STOP"]}, sampling={"include_stop_str_in_output": include})
    made.on_items(items("abST"))
    made.on_items(items("OPcd"))
    assert endpoint.text() == text and endpoint.finishes() == ["stop"] and handle.cancelled == 1


def test_withheld_text_comes_out_with_the_workers_finish() -> None:
    made, endpoint, _ = delivery(stop={"stop": ["STOP"]})
    made.on_items([*items("aSTO"), OutputItem([200], "length")])
    made.on_end(None)
    assert endpoint.text() == "aSTO~" and endpoint.finishes() == ["length"]


def test_withheld_text_comes_out_of_a_stream_without_a_finish() -> None:
    made, endpoint, _ = delivery(stop={"stop": ["STOP"]})
    made.on_items(items("aST"))
    made.on_end(None)
    assert endpoint.text() == "aST" and endpoint.usage == Usage(3, 3, True, None) and endpoint.finishes() == ["stop"]


def test_no_stop_trim_keeps_the_stop_token() -> None:
    made, endpoint, _ = delivery(output={"no_stop_trim": True, "skip_special_tokens": False})
    made.on_items([*items("a"), OutputItem([EOS], "stop")])
    assert endpoint.text() == "a</s>"


def test_choices_are_kept_apart_and_one_that_stops_leaves_the_other() -> None:
    made, endpoint, handle = delivery(choices=2)
    made.on_items([OutputItem([97]), OutputItem([98], index=1), OutputItem([EOS]), OutputItem([99], index=1)])
    assert (endpoint.text(0), endpoint.text(1), handle.cancelled) == ("a", "bc", 0)
    made.on_items([OutputItem([], "length", index=1)])
    made.on_end(None)
    assert endpoint.finishes() == ["stop", "length"] and endpoint.ends == 1
    assert endpoint.usage is not None and endpoint.usage.completion_tokens == 4


def test_all_choices_stopped_ends_the_request_early() -> None:
    made, endpoint, handle = delivery(choices=2)
    made.on_items([OutputItem([EOS]), OutputItem([EOS], index=1)])
    assert endpoint.ends == 1 and handle.cancelled == 1


@pytest.mark.parametrize("stop", [{"stop": ["b"]}, {"stop_token_ids": [98]}, {}])
@pytest.mark.parametrize("behind", ["error", "engine", "nonsense"])
def test_what_a_worker_says_behind_the_stop_does_not_count(stop: dict[str, Any], behind: str) -> None:
    error = {"error_type": {"Backend": "Unknown"}, "class": "Internal", "reason": "backend.unknown", "message": "boom"}
    later = {
        "error": raw(event="error", error=error),
        "engine": raw(data={"token_ids": [], "finish_reason": {"error": "gpu"}}),
        "nonsense": raw(data={"token_ids": "x"}),
    }[behind]
    made, endpoint, handle = delivery(stop=stop)
    made.on_items([*items("ab"), OutputItem([EOS]), later])
    assert endpoint.text() == ("ab" if not stop else "a") and endpoint.finishes() == ["stop"]
    assert endpoint.error is None and endpoint.ends == 1 and handle.cancelled == 1


def test_an_index_beyond_the_choices_is_an_internal_error() -> None:
    made, endpoint, handle = delivery()
    made.on_items([OutputItem([97], index=1)])
    assert endpoint.error is not None and endpoint.error.error_class == "Internal" and handle.cancelled == 1


def test_text_of_the_worker_is_passed_through_with_its_tokens_counted() -> None:
    made, endpoint, _ = delivery()
    made.on_items([raw(data={"token_ids": [97], "text": "HELLO"}), OutputItem([], "stop")])
    made.on_end(None)
    assert endpoint.text() == "HELLO" and endpoint.usage == Usage(3, 1, True, None)


def test_the_workers_usage_report_is_kept_from_either_form() -> None:
    report = {
        "prompt_tokens": 11,
        "completion_tokens": 9,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    for item in (
        OutputItem([97], usage=msgspec.msgpack.encode(report)),
        raw(data={"token_ids": [97], "completion_usage": report, "cum_log_probs": 1.0}),
    ):
        made, endpoint, _ = delivery()
        made.on_items([item, OutputItem([], "stop")])
        made.on_end(None)
        assert endpoint.usage is not None and (endpoint.usage.prompt_tokens, endpoint.usage.completion_tokens) == (
            11,
            1,
        )
        details = endpoint.usage.reported and endpoint.usage.reported.prompt_tokens_details
        assert details is not None and details.cached_tokens == 4


def test_logprobs_come_with_each_token_when_asked_for() -> None:
    made, endpoint, _ = delivery(output={"logprobs": 1})
    made.on_items([raw(data={"token_ids": [97], "log_probs": [-0.5]})])
    [delta] = endpoint.pieces
    assert isinstance(delta, Delta) and delta.logprobs is not None
    assert (delta.logprobs[0].token_id, delta.logprobs[0].logprob) == (97, -0.5)


def test_an_error_item_ends_the_request_and_is_first_only_when_nothing_came_before() -> None:
    error = {"error_type": {"Backend": "Unknown"}, "class": "Internal", "reason": "backend.unknown", "message": "boom"}
    made, endpoint, handle = delivery()
    made.on_items([raw(event="error", error=error)])
    assert endpoint.error is not None and endpoint.error.first_event and handle.cancelled == 1
    made, endpoint, _ = delivery()
    made.on_items([*items("a"), raw(event="error", error=error)])
    assert endpoint.text() == "a" and endpoint.error is not None and not endpoint.error.first_event


@pytest.mark.parametrize(
    "data", [{"token_ids": "x"}, {"finish_reason": "stop"}, {"token_ids": [1], "finish_reason": "tool_calls"}]
)
def test_an_item_that_is_none_is_an_internal_error(data: dict[str, Any]) -> None:
    made, endpoint, _ = delivery()
    made.on_items([raw(data=data)])
    assert endpoint.error is not None and endpoint.error.status == 500


def test_a_failure_before_anything_was_shown_may_be_taken_over() -> None:
    made, endpoint, _ = delivery()
    asked: list[tuple[str, bool]] = []
    made.on_failure = lambda error, nothing_shown: asked.append((error.reason, nothing_shown)) or True  # type: ignore[func-returns-value]
    made.on_end(RequestError.disconnected("gone"))
    assert asked == [("transport.disconnected", True)] and endpoint.ends == 0
    made.on_items(items("a"))
    made.on_failure = lambda error, nothing_shown: asked.append((error.reason, nothing_shown)) or False  # type: ignore[func-returns-value]
    made.on_end(RequestError.disconnected("gone"))
    assert asked[-1] == ("transport.disconnected", False)
    assert endpoint.error is not None and endpoint.ends == 1


def test_after_cancel_the_endpoint_hears_nothing() -> None:
    made, endpoint, handle = delivery()
    made.cancel()
    made.on_items(items("a"))
    made.on_end(None)
    assert endpoint.pieces == [] and endpoint.ends == 0 and handle.cancelled == 1


@pytest.mark.parametrize("finish", ["error", {"error": "engine fell over"}])
def test_a_finish_that_reports_an_error_is_a_500_and_no_lost_worker(finish: Any) -> None:
    made, endpoint, handle = delivery()
    decoder = ResponseDecoder("msgpack", 1 << 20)
    prologue = two_part(b'{"error":null}', b"")
    frame = {"data": {"data": {"token_ids": [97], "finish_reason": finish}}, "complete_final": False}
    _, item = decoder.feed(prologue + two_part(b"", msgspec.msgpack.encode(frame)))
    assert isinstance(item, OutputItem)
    made.on_items([item])
    assert endpoint.error is not None and endpoint.error.status == 500 and handle.cancelled == 1
    assert not endpoint.error.inhibits and not endpoint.error.may_retry and endpoint.text() == ""


def test_a_fault_of_ours_ends_the_request_and_nothing_else() -> None:
    made, endpoint, handle = delivery()
    made.on_items([OutputItem([-1])])
    assert endpoint.error is not None and endpoint.error.status == 500 and handle.cancelled == 1
    assert not endpoint.error.inhibits


def test_a_worker_that_takes_over_is_paused_like_the_one_before() -> None:
    made, _, first = delivery()
    made.pause()
    second = Handle()
    made.attach(second, "json")
    assert first.paused and second.paused
    made.resume()
    assert first.paused and not second.paused
    made.cancel()
    third = Handle()
    made.attach(third, "json")
    assert third.cancelled == 1
