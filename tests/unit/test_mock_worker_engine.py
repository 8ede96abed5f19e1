"""The mock engine by a clock that the test turns: turns, prefill, steps, capacity, ends."""

from __future__ import annotations

from typing import Any

import pytest

from dynamo_fe.workers.engine import Engine, Job, Overloaded
from dynamo_fe.workers.generator import Answer
from dynamo_fe.workers.kv_blocks import KvBlocks
from dynamo_fe.workers.pacing import StepClock
from dynamo_fe.workers.playback import AnswerPlayback, Usage

STEP_SECS = 0.125


class Recorder:
    """A sink that knows only what was said how often."""

    def __init__(self) -> None:
        self.paused = False
        self.said: list[str] = []
        self.cached_tokens = 0

    def begin(self) -> None:
        self.said.append("begin")

    def send_item(
        self, token_ids: list[int], finish_reason: str | None, index: int | None, usage: Usage | None
    ) -> None:
        self.said.append(finish_reason or "token")
        if usage is not None:
            self.cached_tokens = usage.cached_tokens

    def send_value(self, value: Any) -> None:
        self.said.append("value")

    def send_error(self, error: dict[str, Any]) -> None:
        self.said.append(error["class"])

    def send_garbage(self) -> None:
        self.said.append("garbage")

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self.said.append("finish")

    def break_off(self) -> None:
        self.said.append("break off")


def engine(
    *, prefill: float = 0.0, running: int = 10, waiting: int = 10, blocks: int = 100, step_secs: float = STEP_SECS
) -> Engine:
    return Engine(
        [KvBlocks(blocks, 4)],
        StepClock(step_secs),
        prefill_tokens_per_sec=prefill,
        max_running=running,
        max_waiting=waiting,
    )


def submit(target: Engine, now: float = 0.0, *, prompt: int = 5, tokens: int = 3) -> tuple[Job, Recorder]:
    sink = Recorder()
    playback = AnswerPlayback([Answer(list(range(tokens)), "stop")], prompt, 1)
    job = Job(list(range(prompt)), playback, sink)
    target.submit(job, now)
    return job, sink


def test_one_token_a_step_then_the_end() -> None:
    target = engine()
    job, sink = submit(target, 1.0)
    assert sink.said == ["begin"]
    wake_at = target.advance(1.0)
    assert (sink.said, wake_at) == (["begin", "token"], 1.125)
    target.advance(1.125)
    assert target.advance(1.25) is None
    assert sink.said == ["begin", "token", "token", "token", "stop", "finish"]
    assert job.ended and target.running == 0 and target.ranks[0].used_blocks == 0


def test_all_running_requests_take_part_in_the_same_step() -> None:
    target = engine()
    sinks = [submit(target)[1] for _ in range(3)]
    target.advance(0.0)
    assert [sink.said for sink in sinks] == [["begin", "token"]] * 3


def test_prefill_delays_the_first_token_but_not_the_other_requests() -> None:
    target = engine(prefill=10.0)
    _, long = submit(target, prompt=15)
    assert target.advance(0.0) == 1.5
    _, short = submit(target, 1.0, prompt=2)
    assert target.advance(1.0) == 1.2
    target.advance(1.2)
    assert (short.said, long.said) == (["begin", "token"], ["begin"])
    target.advance(1.5)
    assert "token" in long.said


def test_a_cached_beginning_needs_no_prefill() -> None:
    target = engine(prefill=10.0)
    job, _ = submit(target, prompt=9)
    assert target.advance(0.0) == 0.9
    target.cancel(job, 0.5)
    _, sink = submit(target, 1.0, prompt=9)
    assert target.advance(1.0) == 1.1
    target.advance(1.1)
    assert sink.cached_tokens == 8


def test_over_the_places_they_wait_in_order_and_over_the_queue_they_are_refused() -> None:
    target = engine(running=1, waiting=2)
    first, _ = submit(target)
    _, second = submit(target)
    _, third = submit(target)
    with pytest.raises(Overloaded):
        submit(target)
    assert (target.running, target.waiting, second.said) == (1, 2, [])
    target.cancel(first, 0.0)
    assert (second.said, third.said) == (["begin"], [])


def test_a_request_waits_for_blocks() -> None:
    target = engine(blocks=3)
    first, _ = submit(target, prompt=10)
    sink = Recorder()
    target.submit(Job([90, 91, 92, 93, 94], AnswerPlayback([Answer([1], "stop")], 5, 1), sink), 0.0)
    assert sink.said == []
    target.cancel(first, 0.0)
    assert sink.said == ["begin"]


def test_a_cancelled_request_hears_nothing_more() -> None:
    target = engine()
    job, sink = submit(target)
    target.advance(0.0)
    target.cancel(job, 0.0)
    target.cancel(job, 0.0)
    assert target.advance(1.0) is None
    assert sink.said == ["begin", "token"]
    assert (target.running, target.ranks[0].used_blocks) == (0, 0)


def test_a_slow_reader_is_skipped_and_loses_nothing() -> None:
    target = engine()
    _, slow = submit(target)
    _, quick = submit(target)
    slow.paused = True
    for step in range(3):
        target.advance(step * STEP_SECS)
    assert slow.said == ["begin"]
    assert quick.said[-1] == "finish"
    slow.paused = False
    for step in range(3, 6):
        target.advance(step * STEP_SECS)
    assert slow.said == ["begin", "token", "token", "token", "stop", "finish"]


def test_cancelling_all_tells_everybody() -> None:
    target = engine(running=2, prefill=1.0)
    sinks = [submit(target, prompt=1)[1], submit(target, prompt=50)[1], submit(target)[1]]
    target.advance(1.0)
    target.cancel_all()
    assert [sink.said for sink in sinks] == [
        ["begin", "token", "Cancelled", "finish"],
        ["begin", "Cancelled", "finish"],
        ["begin", "Cancelled", "finish"],
    ]
    assert (target.running, target.waiting, target.advance(2.0)) == (0, 0, None)
