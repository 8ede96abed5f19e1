"""How long requests may take, and how they are ended."""

from __future__ import annotations

import asyncio

import pytest

from dynamo_fe.pipeline.lifetimes import Lifetimes
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.errors import RequestError


class Ends:
    def __init__(self) -> None:
        self.errors: list[RequestError] = []
        self.came = asyncio.Event()

    def __call__(self, error: RequestError) -> None:
        self.errors.append(error)
        self.came.set()


async def test_each_request_ends_at_its_own_deadline() -> None:
    lifetimes = Lifetimes(limit_secs=0.1, most=10)
    first, second, gone = Ends(), Ends(), Ends()
    lifetimes.leave(lifetimes.enter(gone))
    lifetimes.enter(first)
    await asyncio.sleep(0.05)
    lifetimes.enter(second)
    await asyncio.wait_for(first.came.wait(), 2)
    assert not second.errors
    await asyncio.wait_for(second.came.wait(), 2)
    error = first.errors[0]
    assert (error.status, error.deadline_stage, error.may_retry) == (504, "total", False)
    assert not gone.errors
    lifetimes.close()


async def test_no_limit_means_ever() -> None:
    lifetimes = Lifetimes(limit_secs=0.0, most=10)
    ends = Ends()
    lifetimes.enter(ends)
    await asyncio.sleep(0.05)
    assert not ends.errors and lifetimes.past_deadline() == 0


async def test_too_many_are_refused() -> None:
    lifetimes = Lifetimes(limit_secs=0.0, most=2)
    held = lifetimes.enter(Ends())
    lifetimes.enter(Ends())
    with pytest.raises(Refusal) as refused:
        lifetimes.enter(Ends())
    assert refused.value.status == 503
    assert lifetimes.refused_total == 1
    lifetimes.leave(held)
    lifetimes.enter(Ends())


async def test_all_are_ended_at_once_and_those_that_do_not_listen_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamo_fe.pipeline.lifetimes._LAST_WORDS_SECS", 0.05)
    lifetimes = Lifetimes(limit_secs=0.0, most=10)
    polite, stuck, abandoned = Ends(), Ends(), Ends()
    listens = lifetimes.enter(polite)
    stalls = lifetimes.enter(abandoned)
    stalls.end = stuck
    assert lifetimes.end_all(Refusal.shutting_down()) == 2
    lifetimes.leave(listens)
    await asyncio.wait_for(abandoned.came.wait(), 2)
    assert len(polite.errors) == len(stuck.errors) == 1
    lifetimes.leave(stalls)
    assert len(lifetimes) == 0
