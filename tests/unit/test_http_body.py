"""A request body on its way in: limits, budget, silence."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from typing import Any

import pytest

from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.intake import LARGE_BODY_BYTES, BodyRefused, Intake

MB = 1 << 20


def exchange(intake: Intake, *parts: bytes | float, headers: dict[bytes, bytes] | None = None) -> Exchange:
    """A request whose body comes in these parts; a number is a pause in seconds before the next."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        while left and isinstance(left[0], float):
            await asyncio.sleep(left.pop(0))  # type: ignore[arg-type]
        if not left:
            return {"type": "http.disconnect"}
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message: Any) -> None:
        raise AssertionError("nothing is answered here")

    pairs = list((headers or {}).items())
    return Exchange({"method": "POST", "path": "/", "query_string": b"", "headers": pairs}, receive, send, intake)


def length(size: int) -> dict[bytes, bytes]:
    return {b"content-length": b"%d" % size}


def intake(limit_mb: int = 4, budget_bytes: int = 8 * MB, idle_secs: float = 5.0) -> Intake:
    return Intake(limit_mb, budget_bytes, idle_secs, most_values=1000)


async def refusal(given: Exchange) -> BodyRefused:
    with pytest.raises(BodyRefused) as caught:
        await given.body()
    return caught.value


async def test_parts_become_one_body_whose_bytes_count_until_they_are_released() -> None:
    taken = intake()
    given = exchange(taken, b"ab", b"cd", headers=length(4))
    assert await given.body() == b"abcd"
    assert taken.in_hand_bytes == 4
    given.release()
    given.release()
    assert taken.in_hand_bytes == 0


async def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    whole = bytes(4 * MB)
    assert await exchange(intake(), whole, headers=length(len(whole))).body() == whole
    assert (await refusal(exchange(intake(), whole + b"x", headers=length(len(whole) + 1)))).status == 413
    assert (await refusal(exchange(intake(), whole, b"x"))).status == 413


async def test_a_body_that_breaks_off_is_a_bad_request() -> None:
    assert (await refusal(exchange(intake(), headers=length(4)))).status == 400


async def test_a_silent_sender_is_given_up_and_the_task_lives_on() -> None:
    given = exchange(intake(idle_secs=0.2), b"a", 10.0, b"b", headers=length(2))
    assert (await refusal(given)).status == 408
    current = asyncio.current_task()
    assert current is not None and current.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_slow_sender_that_progresses_is_not() -> None:
    parts = [part for letter in b"abcdefgh" for part in (0.1, bytes([letter]))]
    given = exchange(intake(idle_secs=0.3), *parts, headers=length(8))
    assert await given.body() == b"abcdefgh"


async def test_a_cancelled_reader_is_cancelled() -> None:
    reading = asyncio.create_task(exchange(intake(), 10.0, b"a", headers=length(1)).body())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_beyond_the_budget_large_bodies_are_refused_and_small_ones_are_not() -> None:
    taken = intake(budget_bytes=2 * LARGE_BODY_BYTES)
    large = bytes(LARGE_BODY_BYTES + 1)
    first = exchange(taken, large, headers=length(len(large)))
    await first.body()
    assert (await refusal(exchange(taken, large, headers=length(len(large))))).status == 503
    assert (await refusal(exchange(taken, large, large))).status == 503
    assert await exchange(taken, b"small", headers=length(5)).body() == b"small"
    assert taken.refused == 2
    first.release()
    assert len(await exchange(taken, large, headers=length(len(large))).body()) == len(large)


async def test_what_a_refused_body_took_from_the_budget_comes_back() -> None:
    taken = intake(budget_bytes=LARGE_BODY_BYTES)
    given = exchange(taken, bytes(LARGE_BODY_BYTES), bytes(LARGE_BODY_BYTES))
    await refusal(given)
    given.release()
    assert taken.in_hand_bytes == 0


async def test_a_decoded_body_counts_with_its_own_size() -> None:
    taken = intake()
    body = gzip.compress(bytes(MB))
    given = exchange(taken, body, headers={**length(len(body)), b"content-encoding": b"gzip"})
    assert await given.body() == bytes(MB)
    assert taken.in_hand_bytes == MB


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [(b"br", b"x", 415), (b"gzip", b"x", 400), (b"gzip", gzip.compress(bytes(5 * MB)), 413)],
)
async def test_codings_that_cannot_be_undone(coding: bytes, body: bytes, status: int) -> None:
    given = exchange(intake(), body, headers={**length(len(body)), b"content-encoding": coding})
    assert (await refusal(given)).status == status


async def test_large_bodies_are_parsed_one_at_a_time_beside_the_event_loop() -> None:
    taken = intake()
    inside, most = 0, 0

    def parse(body: bytes) -> bytes:
        nonlocal inside, most
        assert threading.current_thread() is not threading.main_thread()
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return body

    assert await asyncio.gather(*(taken.parsed(body, parse) for body in (b"1", b"2", b"3"))) == [b"1", b"2", b"3"]
    assert most == 1


async def test_a_large_body_of_too_many_values_is_not_parsed() -> None:
    taken = intake()
    assert await taken.parsed(b"[" + b"1," * 998 + b"1]", len) == 1999
    with pytest.raises(BodyRefused) as caught:
        await taken.parsed(b"[" + b"1," * 999 + b"1]", len)
    assert caught.value.status == 413
