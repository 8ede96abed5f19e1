"""How a stream begins, runs and ends, seen from the sink and from the worker's socket."""

from __future__ import annotations

import asyncio
import json

import pytest

from dynamo_fe._cext.stream_codec import two_part
from dynamo_fe.planes.request import worker_side
from dynamo_fe.planes.request.message import KILL_FRAME
from dynamo_fe.planes.request.tcp import TcpRequestPlane
from dynamo_fe.planes.request.worker_side import PROLOGUE_OK, SENTINEL, final, item
from tests.support.fake_worker import Sink, exchange, fake_worker, running_plane, until

FINAL = final("msgpack")
TOKEN = item({"token_ids": [7]}, "msgpack")


async def test_the_request_says_all_that_a_worker_needs() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker, instance_id=0xAB, codec="json")
        request = one.request
        assert request.path == "ab/ns/backend/generate" == request.headers["x-endpoint-path"]
        assert request.headers["request-id"] == "request-1" == request.control["id"] == request.info["context"]
        assert request.control["payload_codec"] == "json"
        assert request.info["address"] == plane.callback_address
        assert "metadata" not in request.control
        assert request.body == b"body"


async def test_metadata_and_trace_headers_reach_the_worker() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-03c07be8d55b91c3-01"}
        await plane.dispatch(worker.instance(), "ü", b"", {"tenant": "acme"}, Sink(), trace)
        request = await worker.request()
        assert request.control["metadata"] == {"tenant": "acme"}
        assert request.headers["traceparent"] == trace["traceparent"]
        assert request.control["id"] == request.info["context"] == "ü"


@pytest.mark.parametrize("ack_first", [True, False])
async def test_the_call_back_may_come_before_the_acknowledgement(ack_first: bool) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        if ack_first:
            one.request.ack()
        call_back = await one.request.call_back()
        await call_back.answer(1, 2, 3)
        assert await one.sink.end() is None
        assert one.sink.tokens == [1, 2, 3]
        if not ack_first:
            one.request.ack()
        assert await call_back.read_to_end() == b""
        assert plane.stats()["streams"] == 0


async def test_a_stream_in_single_bytes() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back(handshake=False)
        frames = [worker_side.handshake(one.request.info["subject"]), PROLOGUE_OK, TOKEN, TOKEN, FINAL, SENTINEL]
        for byte in b"".join(frames):
            call_back.write(bytes([byte]))
            await call_back.writer.drain()
            await asyncio.sleep(0)
        assert await one.sink.end() is None
        assert one.sink.tokens == [7, 7]


async def test_one_read_is_one_batch() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, TOKEN, TOKEN, TOKEN)
        await one.sink.wait_items(3)
        call_back.write(TOKEN, TOKEN, FINAL, SENTINEL)
        assert await one.sink.end() is None
        assert one.sink.batches == [3, 2]


@pytest.mark.parametrize("closing", [SENTINEL, b"", b"close"])
async def test_the_final_marker_is_the_end_whatever_follows(closing: bytes) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, TOKEN, FINAL)
        assert await one.sink.end() is None
        if closing == b"close":
            call_back.close()
        elif closing:
            call_back.write(closing)
        assert await call_back.read_to_end() == b""
        assert one.sink.ends == 1


LOST = {
    "sentinel without final marker": ([PROLOGUE_OK, TOKEN, SENTINEL], 1),
    "close after items": ([PROLOGUE_OK, TOKEN, TOKEN], 2),
    "close after the prologue": ([PROLOGUE_OK], 0),
    "close before the prologue": ([], 0),
    "sentinel for a prologue": ([SENTINEL], 0),
    "a frame that is cut": ([PROLOGUE_OK, TOKEN[:-3]], 0),
}


@pytest.mark.parametrize("case", LOST)
async def test_a_stream_without_its_final_marker_is_lost(case: str) -> None:
    frames, items = LOST[case]
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        one.request.ack()
        call_back = await one.request.call_back()
        call_back.write(*frames)
        call_back.close()
        error = await one.sink.failure()
        assert (error.status, error.reason, error.error_type) == (503, "transport.disconnected", "Disconnected")
        assert error.inhibits and error.may_retry
        assert len(one.sink.items) == items
        assert one.sink.ends == 1


BROKEN = {
    "no frame": ([PROLOGUE_OK, TOKEN, b"\xff" * 24], 1),
    "item before the prologue": ([TOKEN], 0),
    "prologue that is no JSON": ([two_part(b"{", b"")], 0),
    "prologue that is no object": ([two_part(b"[]", b"")], 0),
    "prologue without error": ([two_part(b"{}", b"")], 0),
    "no complete_final": ([PROLOGUE_OK, TOKEN, two_part(b"", b"\x80")], 1),
    "neither data nor final": ([PROLOGUE_OK, two_part(b"", b"\x81\xaecomplete_final\xc2")], 0),
    "unknown control frame": ([PROLOGUE_OK, TOKEN, two_part(b'"hm"', b"")], 1),
    "frame over the limit": ([PROLOGUE_OK, two_part(b"", bytes(65537))[:100]], 0),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_stream_is_an_internal_error_and_reset(case: str) -> None:
    frames, items = BROKEN[case]
    async with fake_worker() as worker, running_plane(max_frame_bytes=65536) as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(*frames)
        error = await one.sink.failure()
        assert (error.status, error.error_class) == (500, "Internal")
        assert not error.may_retry
        assert len(one.sink.items) == items
        assert await call_back.is_reset()


async def test_data_after_the_final_marker_changes_nothing() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, TOKEN, FINAL, TOKEN)
        await one.sink.end()
        call_back.close()
        assert one.sink.tokens == [7]
        assert one.sink.ends == 1


async def test_error_prologue_with_a_typed_error() -> None:
    typed = {"class": "InvalidRequest", "public": {"type": "message", "message": "too long"}, "message": "operators"}
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(worker_side.error_prologue("Generate Error", typed), SENTINEL)
        error = await one.sink.failure()
        assert (error.status, error.public, error.inhibits) == (400, "too long", False)
        assert await call_back.is_reset()


async def test_error_prologue_with_a_text_only() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(worker_side.error_prologue("response plane mismatch"), SENTINEL)
        error = await one.sink.failure()
        assert (error.status, error.inhibits, error.message) == (503, True, "response plane mismatch")


async def test_error_items_go_to_the_sink_as_they_came() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, worker_side.error_item({"class": "RateLimited"}, "msgpack"), FINAL, SENTINEL)
        assert await one.sink.end() is None
        assert one.sink.items[0].raw is not None and b"RateLimited" in one.sink.items[0].raw


async def test_json_streams_end_at_the_final_marker_too() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker, codec="json")
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, item({"token_ids": [5]}, "json"), final("json"), SENTINEL)
        assert await one.sink.end() is None
        assert json.loads(one.sink.items[0].raw or b"") == {"data": {"token_ids": [5]}}


async def test_a_frame_of_many_megabytes() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, item({"token_ids": [1], "text": "x" * 40_000_000}, "msgpack"), FINAL, SENTINEL)
        assert await one.sink.end() is None
        assert len(one.sink.items[0].raw or b"") > 40_000_000


@pytest.mark.parametrize("stage", ["handshake", "prologue", "items"])
async def test_cancel_sends_kill_and_closes(stage: str) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        one.request.ack()
        call_back = await one.request.call_back()
        if stage == "handshake":
            await until_called_back(plane)
        else:
            call_back.write(PROLOGUE_OK, *([TOKEN] if stage == "items" else []))
            if stage == "items":
                await one.sink.wait_items(1)
            else:
                await until_begun(plane)
        one.handle.cancel()
        one.handle.cancel()
        assert await call_back.read_to_end() == KILL_FRAME
        assert one.sink.ends == 0
        assert plane.stats()["streams"] == 0


async def test_a_call_back_after_cancel_is_reset() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        one.handle.cancel()
        one.request.ack()
        call_back = await one.request.call_back()
        assert await call_back.is_reset()
        assert one.sink.ends == 0


async def test_cancel_from_within_the_sink() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        sink = one.sink
        sink.after_items = one.handle.cancel
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, TOKEN, FINAL, SENTINEL)
        await sink.wait_items(1)
        await call_back.is_reset()
        assert sink.ends == 0


async def test_paused_streams_push_back_on_the_worker() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        one.handle.pause()
        call_back = await one.request.call_back()
        big = item({"token_ids": [1], "text": "x" * 1_000_000}, "msgpack")
        call_back.write(PROLOGUE_OK)
        writer = asyncio.ensure_future(write_all(call_back.writer, big, 30))
        await asyncio.wait([writer], timeout=0.5)
        assert not writer.done()
        assert len(one.sink.items) == 0
        one.handle.resume()
        await one.sink.wait_items(5)
        one.handle.pause()
        one.handle.resume()
        await writer
        call_back.write(FINAL, SENTINEL)
        assert await one.sink.end() is None
        assert len(one.sink.items) == 30


async def test_removal_fails_only_what_has_not_begun() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        running = await exchange(plane, worker)
        running_back = await running.request.call_back()
        running_back.write(PROLOGUE_OK)
        await until_begun(plane)
        waiting = await exchange(plane, worker)
        waiting_back = await waiting.request.call_back()
        await until_called_back(plane)
        unanswered = await exchange(plane, worker)
        other = await exchange(plane, worker, instance_id=2)
        plane.instance_removed(1)
        for one in (waiting, unanswered):
            error = await one.sink.failure()
            assert (error.status, error.may_retry, error.inhibits) == (503, True, False)
        assert await waiting_back.read_to_end() == KILL_FRAME
        assert other.sink.ends == 0
        running_back.write(TOKEN, FINAL, SENTINEL)
        assert await running.sink.end() is None


async def test_closing_the_plane_ends_every_stream() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, TOKEN)
        await one.sink.wait_items(1)
        unanswered = await exchange(plane, worker)
        await plane.close()
        assert (await one.sink.failure()).status == 503
        assert (await unanswered.sink.failure()).status == 503
        assert await call_back.read_to_end() == KILL_FRAME
        await worker.wait_all_closed()


async def write_all(writer: asyncio.StreamWriter, data: bytes, times: int) -> None:
    for _ in range(times):
        writer.write(data)
        await writer.drain()


async def until_called_back(plane: TcpRequestPlane) -> None:
    await until(lambda: plane.stats()["streams_awaiting_prologue"] == 1)


async def until_begun(plane: TcpRequestPlane) -> None:
    """The prologue of the one stream has been read."""
    await until(lambda: not any(plane.stats()[f"streams_awaiting_{what}"] for what in ("callback", "prologue")))
