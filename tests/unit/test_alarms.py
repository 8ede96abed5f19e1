"""Alarms ring once, in order, and not for what was discarded, also by one that rang before."""

from __future__ import annotations

import asyncio

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
