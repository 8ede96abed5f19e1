"""Alarms ring once, in order, and not for what was discarded, also by one that rang before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from dynamo_fe.ops.alarms import Alarms


async def test_they_ring_in_the_order_of_adding() -> None:
    rung: list[str] = []
    done = asyncio.Event()

    def ring(name: str) -> None:
        rung.append(name)
        if name == "last":
            done.set()

    alarms = Alarms(asyncio.get_running_loop(), 0.02, ring)
    for name in ("first", "gone", "second"):
        alarms.add(name)
    alarms.discard("gone")
    alarms.discard("gone")
    await asyncio.sleep(0.01)
    alarms.add("last")
    async with asyncio.timeout(5):
        await done.wait()
    assert rung == ["first", "second", "last"] and len(alarms) == 0


async def test_one_that_rings_may_discard_and_add() -> None:
    loop = asyncio.get_running_loop()
    rung: list[str] = []
    done = asyncio.Event()

    def ring(name: str) -> None:
        rung.append(name)
        alarms.discard("b")
        if name == "a":
            alarms.add("c")
        else:
            done.set()

    alarms = Alarms(loop, 0.01, ring)
    alarms.add("a")
    alarms.add("b")
    async with asyncio.timeout(5):
        await done.wait()
    assert rung == ["a", "c"]


async def test_nothing_rings_after_close() -> None:
    rung: list[str] = []
    alarms = Alarms(asyncio.get_running_loop(), 0.0, rung.append)
    alarms.add("a")
    alarms.close()
    await asyncio.sleep(0.01)
    assert rung == []


class ManualLoop:
    """A clock moved by hand, and the one timer that is set on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due = 0.0
        self.wakes = 0
        self.callback: Callable[[], None] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, callback: Callable[[], None]) -> ManualLoop:
        self.due, self.callback = due, callback
        return self

    def move_to(self, now: float) -> None:
        while self.callback is not None and self.due <= now:
            callback, self.callback = self.callback, None
            self.now = self.due
            self.wakes += 1
            callback()
        self.now = now


def test_its_timer_does_not_follow_each_that_comes_and_goes() -> None:
    loop = ManualLoop()
    rung: list[int] = []
    alarms: Alarms[int] = Alarms(cast(asyncio.AbstractEventLoop, loop), 1.0, rung.append)
    for number in range(3000):
        loop.move_to(number / 1000)
        alarms.add(number)
        alarms.discard(number - 500)
    assert rung == [] and loop.wakes <= 3 * 8
    loop.move_to(2.5 + 1.0 + 0.125)
    assert rung[:2] == [2500, 2501] and rung[-1] >= 2500
