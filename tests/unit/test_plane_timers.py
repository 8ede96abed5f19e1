"""Every wait for a worker ends by itself."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from dynamo_fe.planes.request.message import KILL_FRAME
from dynamo_fe.planes.request.worker_side import PROLOGUE_OK, final, handshake, item
from dynamo_fe.protocol.errors import RequestError
from tests.support.fake_worker import Exchange, Sink, exchange, fake_worker, running_plane, until

SHORT_SECS = 0.08
TOKEN = item({"token_ids": [7]}, "msgpack")


def assert_deadline(error: RequestError, what: str) -> None:
    assert (error.status, error.error_class, error.error_type) == (504, "DeadlineExceeded", "ResponseTimeout")
    assert what in error.message
    assert error.inhibits and error.may_retry


async def test_acknowledgement() -> None:
    async with fake_worker() as worker, running_plane(ack_timeout_secs=SHORT_SECS) as plane:
        one = await exchange(plane, worker)
        assert_deadline(await one.sink.failure(), "acknowledgement")
        assert await (await one.request.call_back()).is_reset()


async def test_nothing_is_sent_after_an_overdue_acknowledgement() -> None:
    async with fake_worker() as worker, running_plane(ack_timeout_secs=SHORT_SECS) as plane:
        one = await exchange(plane, worker)
        await one.sink.failure()
        again = await exchange(plane, worker)
        assert worker.connections == 2
        again.request.ack()
        await until(lambda: len(worker.open_connections) == 1)
        assert again.sink.ends == 0


async def test_who_has_called_back_needs_no_acknowledgement() -> None:
    async with fake_worker() as worker, running_plane(ack_timeout_secs=SHORT_SECS) as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK)
        await asyncio.sleep(3 * SHORT_SECS)
        call_back.write(TOKEN, final("msgpack"))
        assert await one.sink.end() is None


async def test_a_stream_that_should_have_ended_is_counted() -> None:
    async with fake_worker() as worker, running_plane(callback_timeout_secs=SHORT_SECS) as plane:
        one = await exchange(plane, worker)
        one.request.ack()
        await until(lambda: plane.stats()["unacknowledged_requests"] == 0)
        assert plane.stats()["streams_past_deadline"] == 0
        # the loop stands still, and no timer of its rings
        time.sleep(SHORT_SECS + 1.2)
        assert plane.stats()["streams_past_deadline"] == 1
        await one.sink.failure()
        assert plane.stats()["streams_past_deadline"] == 0


async def test_call_back() -> None:
    async with fake_worker() as worker, running_plane(callback_timeout_secs=SHORT_SECS) as plane:
        one = await exchange(plane, worker)
        one.request.ack()
        assert_deadline(await one.sink.failure(), "call-back")
        assert await (await one.request.call_back()).is_reset()


STAGES: dict[str, tuple[dict[str, Any], list[bytes], str]] = {
    "prologue": ({"prologue_timeout_secs": SHORT_SECS}, [], "prologue"),
    "first item": ({"first_item_timeout_secs": SHORT_SECS}, [PROLOGUE_OK], "first item"),
    "next item": ({"item_timeout_secs": SHORT_SECS}, [PROLOGUE_OK, TOKEN], "next item"),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_silence_after_the_call_back(stage: str) -> None:
    options, frames, what = STAGES[stage]
    async with fake_worker() as worker, running_plane(**options) as plane:
        one = await exchange(plane, worker)
        one.request.ack()
        call_back = await one.request.call_back()
        call_back.write(*frames)
        assert_deadline(await one.sink.failure(), what)
        assert await call_back.read_to_end() == KILL_FRAME
        assert plane.stats()["streams"] == 0


async def test_a_worker_that_goes_on_is_left_alone() -> None:
    async with fake_worker() as worker, running_plane(item_timeout_secs=0.2) as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK)
        for count in range(1, 8):
            call_back.write(TOKEN)
            await one.sink.wait_items(count)
            await asyncio.sleep(0.08)
        call_back.write(final("msgpack"))
        assert await one.sink.end() is None


async def test_the_pause_of_a_slow_client_does_not_count() -> None:
    async with fake_worker() as worker, running_plane(item_timeout_secs=SHORT_SECS) as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, TOKEN)
        await one.sink.wait_items(1)
        one.handle.pause()
        await asyncio.sleep(4 * SHORT_SECS)
        assert one.sink.ends == 0
        one.handle.resume()
        assert_deadline(await one.sink.failure(), "next item")


@pytest.mark.parametrize("said", [b"", b"\0\0\0\0", handshake("s")[:40]])
async def test_handshake(said: bytes) -> None:
    async with fake_worker() as worker, running_plane(handshake_timeout_secs=SHORT_SECS) as plane:
        one: Exchange = await exchange(plane, worker)
        call_back = await one.request.call_back(handshake=False)
        call_back.write(said)
        assert await call_back.is_reset()
        assert one.sink.ends == 0
        await (await one.request.call_back()).answer(1)
        assert await one.sink.end() is None
        assert plane.stats()["callbacks_without_handshake"] == 0


async def test_connecting() -> None:
    """A listening queue that is full neither answers nor refuses."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with fake_worker() as worker, running_plane(connect_timeout_secs=SHORT_SECS) as plane:
            instance = msgspec.structs.replace(worker.instance(), port=port)
            with pytest.raises(RequestError) as failed:
                await plane.dispatch(instance, "r", b"", None, Sink())
            assert failed.value.reason == "transport.cannot_connect"


async def test_a_connection_is_replaced_though_the_request_that_waits_longest_was_cancelled() -> None:
    async with fake_worker() as worker, running_plane(ack_timeout_secs=0.3) as plane:
        first = await exchange(plane, worker)
        first.handle.cancel()
        overdue = Sink()
        await plane.dispatch(worker.instance(), "b", b"x", None, overdue)
        assert (await overdue.failure()).error_class == "DeadlineExceeded"
        await plane.dispatch(worker.instance(), "c", b"x", None, Sink())
        await until(lambda: worker.connections == 2)
