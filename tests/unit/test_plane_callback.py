"""The call-back listener: who may answer, and the address it tells."""

from __future__ import annotations

import socket
import uuid

import orjson
import pytest

from dynamo_fe._cext.stream_codec import two_part
from dynamo_fe.planes.host import resolve_host
from dynamo_fe.planes.request.options import TcpPlaneOptions
from dynamo_fe.planes.request.tcp import TcpRequestPlane
from dynamo_fe.planes.request.worker_side import PROLOGUE_OK, handshake, item
from tests.support.fake_worker import exchange, fake_worker, running_plane


def control(value: object) -> bytes:
    return two_part(orjson.dumps(value), b"")


STRANGERS = {
    "unknown subject": handshake("00000000-0000-4000-8000-000000000000"),
    "another kind of stream": control({"subject": "s", "stream_type": "request"}),
    "no subject": control({"stream_type": "response"}),
    "no object": control([]),
    "no JSON": two_part(b"{", b""),
    "an item first": item({"token_ids": []}, "msgpack"),
    "an endless header": (1 << 40).to_bytes(8) + bytes(16),
    "an HTTP request": b"GET / HTTP/1.1\r\nhost: somewhere\r\n\r\n",
}


@pytest.mark.parametrize("case", STRANGERS)
async def test_strangers_are_reset(case: str) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back(handshake=False)
        call_back.write(STRANGERS[case])
        assert await call_back.is_reset()
        assert plane.stats()["callbacks_refused_total"] == 1
        assert one.sink.ends == 0


async def test_a_subject_answers_once() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back()
        call_back.write(PROLOGUE_OK, item({"token_ids": [1]}, "msgpack"))
        await one.sink.wait_items(1)
        second = await one.request.call_back()
        assert await second.is_reset()
        assert one.sink.ends == 0


async def test_two_call_backs_before_any_prologue() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        first = await one.request.call_back()
        second = await one.request.call_back()
        assert await second.is_reset()
        await first.answer(1)
        assert await one.sink.end() is None


async def test_subjects_differ_and_are_uuids() -> None:
    async with fake_worker() as worker, running_plane() as plane:
        subjects = {(await exchange(plane, worker)).request.info["subject"] for _ in range(20)}
        assert len(subjects) == 20
        assert all(uuid.UUID(subject).version == 4 for subject in subjects)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "no-such-interface"])
async def test_addresses_that_mean_nothing_to_a_worker(host: str) -> None:
    with pytest.raises(ValueError, match="call-back host"):
        await TcpRequestPlane(TcpPlaneOptions(listen_host=host)).start()


async def test_a_taken_port_is_an_error_at_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = TcpPlaneOptions(listen_host="127.0.0.1", listen_port=taken.getsockname()[1])
        with pytest.raises(OSError):
            await TcpRequestPlane(options).start()


def test_hosts() -> None:
    assert resolve_host("127.0.0.1") == "127.0.0.1" == resolve_host("lo") == resolve_host("localhost")
    assert resolve_host("[::1]") == "::1"
    assert resolve_host(None) != "0.0.0.0"


async def test_an_ipv6_address_is_told_in_brackets() -> None:
    plane = TcpRequestPlane(TcpPlaneOptions(listen_host="::1"))
    try:
        await plane.start()
    except OSError:
        pytest.skip("no IPv6 here")
    assert plane.callback_address.startswith("[::1]:")
    await plane.close()
