"""Request connections: acknowledgements, refusals, pipelining, and connections that fail."""

from __future__ import annotations

import asyncio
import socket
import struct

import msgspec
import pytest

from dynamo_fe.planes.request import worker_side
from dynamo_fe.protocol.errors import RequestError
from tests.support.fake_worker import Sink, exchange, fake_worker, running_plane, until

REFUSALS = {
    "Server overloaded: worker at capacity": (529, "capacity.worker_overloaded", False, True),
    "Server unavailable: unknown endpoint a/b/c": (503, "backend.worker_unavailable", True, True),
    "Server unavailable: worker pool channel closed": (503, "backend.worker_unavailable", True, True),
    "Invalid endpoint path": (503, "backend.worker_unavailable", True, True),
    "Read error: message too large: 41943090 bytes (max: 33554432 bytes)": (400, "request.invalid", False, False),
}


@pytest.mark.parametrize("text", REFUSALS)
async def test_every_text_in_an_acknowledgement_is_a_refusal(text: str) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        one.request.ack(text)
        error = await one.sink.failure()
        assert (error.status, error.reason, error.inhibits, error.may_retry) == REFUSALS[text]
        assert error.origin == ("frontend" if error.status == 400 else "worker")
        call_back = await one.request.call_back()
        assert await call_back.is_reset()
        again = await exchange(plane, worker)
        again.request.ack()
        assert worker.connections == 1


async def test_a_refusal_after_the_call_back_ends_the_stream() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        await until(lambda: plane.stats()["streams_awaiting_prologue"] == 1)
        one.request.ack("Server overloaded: no")
        assert (await one.sink.failure()).status == 529
        assert b'"kill"' in await call_back.read_to_end()


async def test_requests_are_pipelined_and_acknowledged_in_order() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        several = [await exchange(plane, worker) for _ in range(5)]
        assert worker.connections == 1
        for position, one in enumerate(several):
            one.request.ack("Server overloaded: odd" if position % 2 else "")
        assert [(await one.sink.failure()).status for one in several[1::2]] == [529, 529]
        for one in several[::2]:
            await (await one.request.call_back()).answer(1)
            assert await one.sink.end() is None


async def test_acknowledgements_cut_anywhere() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        first, second = await exchange(plane, worker), await exchange(plane, worker)
        data = worker_side.acknowledgement("Server unavailable: é") + worker_side.acknowledgement("Server overloaded: ")
        for byte in data:
            first.request.writer.write(bytes([byte]))
            await first.request.writer.drain()
            await asyncio.sleep(0)
        assert (await first.sink.failure()).message == "Server unavailable: é"
        assert (await second.sink.failure()).status == 529


async def test_another_connection_opens_only_when_one_is_full() -> None:
    async with fake_worker() as worker, running_plane(pool_unacked_requests=2, pool_connections=2) as plane:
        several = [await exchange(plane, worker) for _ in range(4)]
        assert worker.connections == 2
        with pytest.raises(RequestError) as refused:
            await plane.dispatch(worker.instance(), "over", b"", None, Sink())
        assert (refused.value.status, refused.value.may_retry) == (529, True)
        several[0].request.ack()
        await until(lambda: plane.stats()["unacknowledged_requests"] == 3)
        await exchange(plane, worker)
        assert worker.connections == 2


async def test_many_at_once_share_the_first_connection() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        await asyncio.gather(*(plane.dispatch(worker.instance(), "r", b"", None, Sink()) for _ in range(50)))
        for _ in range(50):
            await worker.request()
        assert worker.connections == 1


@pytest.mark.parametrize("by_reset", [True, False])
async def test_a_lost_connection_fails_only_its_unacknowledged_requests(by_reset: bool) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        acknowledged = await exchange(plane, worker)
        acknowledged.request.ack()
        await until(lambda: plane.stats()["unacknowledged_requests"] == 0)
        called_back = await exchange(plane, worker)
        call_back = await called_back.request.call_back()
        await until(lambda: plane.stats()["streams_awaiting_prologue"] == 1)
        waiting = await exchange(plane, worker)
        writer = waiting.request.writer
        if by_reset:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        error = await waiting.sink.failure()
        assert (error.status, error.error_type, error.inhibits) == (503, "Disconnected", True)
        await call_back.answer(1)
        await (await acknowledged.request.call_back()).answer(2)
        assert await called_back.sink.end() is None
        assert await acknowledged.sink.end() is None
        again = await exchange(plane, worker)
        await (await again.request.call_back()).answer(3)
        assert await again.sink.end() is None
        assert worker.connections == 2


@pytest.mark.parametrize("garbage", [b"\x15\x03\x03\x00\x02\x02\x28", worker_side.ACCEPTED * 2])
async def test_an_acknowledgement_that_makes_no_sense_drops_the_connection(garbage: bytes) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        one.request.writer.write(garbage)
        await worker.wait_all_closed()
        assert plane.stats()["request_connections"] == 0
        if garbage[0]:
            assert (await one.sink.failure()).status == 503


async def test_nobody_listens() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        instance = worker.instance()
        await worker.stop()
        with pytest.raises(RequestError) as failed:
            await plane.dispatch(instance, "r", b"", None, Sink())
        error = failed.value
        assert (error.status, error.reason, error.inhibits) == (503, "transport.cannot_connect", True)
        await worker.start()
        one = await exchange(plane, worker)
        assert one.request.control["id"] == "request-1"


async def test_requests_over_the_limit_are_not_sent() -> None:
    async with fake_worker() as worker, running_plane(max_request_bytes=2000) as plane:
        for body, metadata in ((bytes(2000), None), (b"", {"k": "v" * (128 << 10)})):
            with pytest.raises(RequestError) as refused:
                await plane.dispatch(worker.instance(), "r", body, metadata, Sink())
            assert (refused.value.status, refused.value.may_retry) == (400, False)
        assert worker.connections == 0
        assert plane.stats()["streams"] == 0


async def test_a_worker_that_reads_nothing_cannot_make_us_hoard() -> None:
    async with fake_worker() as worker, running_plane(write_buffer_bytes=24 << 20) as plane:
        worker.reads = False
        sent = 0
        with pytest.raises(RequestError) as refused:
            for _ in range(40):
                await plane.dispatch(worker.instance(), "r", bytes(4 << 20), None, Sink())
                sent += 1
                await asyncio.sleep(0)
        assert refused.value.status == 529
        assert plane.stats()["unwritten_bytes"] <= 24 << 20
        assert sent >= 5


async def test_idle_connections_are_closed() -> None:
    async with fake_worker() as worker, running_plane(pool_idle_secs=0.05) as plane:
        one = await exchange(plane, worker)
        await asyncio.sleep(0.2)
        assert plane.stats()["request_connections"] == 1
        one.request.ack()
        await worker.wait_all_closed()
        await (await one.request.call_back()).answer(4)
        assert await one.sink.end() is None


async def test_an_instance_of_another_plane_is_refused() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        nats = msgspec.structs.replace(worker.instance(), transport="nats")
        with pytest.raises(RequestError):
            await plane.dispatch(nats, "r", b"", None, Sink())
