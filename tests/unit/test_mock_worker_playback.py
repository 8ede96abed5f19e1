"""What the mock worker says step by step: answers, scripts, and faults in the middle of either."""

from __future__ import annotations

from typing import Any

import pytest

from dynamo_fe.workers.faults import FaultKind, FaultPlan
from dynamo_fe.workers.generator import Answer
from dynamo_fe.workers.playback import AnswerPlayback, FaultyPlayback, Playback, Progress, ScriptPlayback, Usage


class Notebook:
    """A sink that writes everything down."""

    paused = False

    def __init__(self) -> None:
        self.items: list[tuple[list[int], str | None, int | None]] = []
        self.usages: list[Usage] = []
        self.values: list[Any] = []
        self.errors: list[str] = []
        self.marks: list[str] = []

    def begin(self) -> None:
        self.marks.append("begin")

    def send_item(
        self, token_ids: list[int], finish_reason: str | None, index: int | None, usage: Usage | None
    ) -> None:
        self.items.append((token_ids, finish_reason, index))
        if usage is not None:
            self.usages.append(usage)

    def send_value(self, value: Any) -> None:
        self.values.append(value)

    def send_error(self, error: dict[str, Any]) -> None:
        self.errors.append(error["class"])

    def send_garbage(self) -> None:
        self.marks.append("garbage")

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self.marks.append("finish")

    def break_off(self) -> None:
        self.marks.append("break off")


def answer(*tokens: int, reason: str = "stop") -> Answer:
    return Answer(list(tokens), reason)


def play(playback: Playback, steps: int, now: float = 0.0) -> tuple[Progress, Notebook]:
    sink = Notebook()
    return playback.advance(steps, now, sink), sink


def test_one_token_a_step_and_the_finish_reason_in_an_item_of_its_own() -> None:
    playback = AnswerPlayback([answer(1, 2, 3)], prompt_tokens=5, tokens_per_item=1)
    playback.begin(4)
    progress, sink = play(playback, 1)
    assert (progress, sink.items, sink.usages) == (Progress.GOING, [([1], None, None)], [Usage(5, 1, 4)])
    progress, sink = play(playback, 2)
    assert progress is Progress.FINISHED
    assert sink.items == [([2], None, None), ([3], None, None), ([], "stop", None)]
    assert sink.usages == [Usage(5, 3, 4)]


def test_larger_items_wait_for_their_tokens() -> None:
    playback = AnswerPlayback([answer(1, 2, 3, 4, 5)], prompt_tokens=1, tokens_per_item=2)
    assert play(playback, 1)[1].items == []
    assert play(playback, 2)[1].items == [([1, 2], None, None)]
    progress, sink = play(playback, 2)
    assert progress is Progress.FINISHED
    assert sink.items == [([3, 4], None, None), ([5], None, None), ([], "stop", None)]


def test_choices_side_by_side_end_each_by_itself() -> None:
    playback = AnswerPlayback([answer(1, reason="length"), answer(7, 8)], prompt_tokens=1, tokens_per_item=1)
    progress, sink = play(playback, 9)
    assert progress is Progress.FINISHED
    assert sink.items == [([1], None, 0), ([], "length", 0), ([7], None, 1), ([8], None, 1), ([], "stop", 1)]
    assert sink.usages[-1] == Usage(1, 3, 0)


def test_a_script_is_played_as_it_is() -> None:
    playback = ScriptPlayback([{"token_ids": [9]}, "anything", {"!error": {"class": "Conflict"}}])
    progress, sink = play(playback, 2)
    assert (progress, sink.values) == (Progress.GOING, [{"token_ids": [9]}, "anything"])
    progress, sink = play(playback, 1)
    assert (progress, sink.errors) == (Progress.FINISHED, ["Conflict"])


def test_a_script_sleeps() -> None:
    playback = ScriptPlayback([{"!sleep": 2.0}, {"token_ids": [1]}])
    assert play(playback, 9, now=10.0)[1].values == []
    assert play(playback, 9, now=11.9)[1].values == []
    progress, sink = play(playback, 1, now=12.0)
    assert (progress, sink.values) == (Progress.FINISHED, [{"token_ids": [1]}])


def test_an_empty_script_finishes_at_once() -> None:
    assert play(ScriptPlayback([]), 1)[0] is Progress.FINISHED


def faulty(kind: FaultKind, stall_secs: float = 0.0) -> FaultyPlayback:
    return FaultyPlayback(AnswerPlayback([answer(1, 2, 3, 4)], 1, 1), kind, stall_secs)


def test_error_first_says_nothing_else() -> None:
    progress, sink = play(faulty(FaultKind.ERROR_FIRST), 9)
    assert (progress, sink.items, sink.errors) == (Progress.FINISHED, [], ["Internal"])


@pytest.mark.parametrize(
    ("kind", "progress", "errors", "marks"),
    [
        (FaultKind.ERROR_MID, Progress.FINISHED, ["Internal"], []),
        (FaultKind.DISCONNECT, Progress.BROKEN, [], ["break off"]),
        (FaultKind.GARBAGE, Progress.BROKEN, [], ["garbage"]),
    ],
)
@pytest.mark.parametrize("steps", [[9], [1, 1, 1, 1]])
def test_half_of_the_answer_comes_before_the_fault(
    kind: FaultKind, progress: Progress, errors: list[str], marks: list[str], steps: list[int]
) -> None:
    playback, sink, last = faulty(kind), Notebook(), Progress.GOING
    for count in steps:
        if last is Progress.GOING:
            last = playback.advance(count, 0.0, sink)
    assert (last, sink.errors, sink.marks) == (progress, errors, marks)
    assert sink.items == [([1], None, None), ([2], None, None)]


def test_a_stall_ends_when_its_time_is_over() -> None:
    playback = faulty(FaultKind.STALL, stall_secs=5.0)
    assert play(playback, 9, now=100.0)[1].items == [([1], None, None), ([2], None, None)]
    assert play(playback, 9, now=104.9)[1].items == []
    assert play(playback, 9, now=105.0)[0] is Progress.FINISHED


def test_a_stall_may_last_for_ever() -> None:
    playback = faulty(FaultKind.STALL)
    play(playback, 9, now=0.0)
    assert play(playback, 9, now=1e9)[0] is Progress.GOING


def test_a_fault_every_so_many_requests() -> None:
    plan = FaultPlan(3, FaultKind.REFUSE)
    assert [plan.next() for _ in range(6)] == [None, None, FaultKind.REFUSE] * 2
    never = FaultPlan(0, FaultKind.REFUSE)
    assert [never.next() for _ in range(3)] == [None] * 3
