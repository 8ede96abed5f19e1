"""The NATS request plane: messages, acknowledgements by reply, and a server that comes and goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from dynamo_fe.planes.nats_login import credentials, place_of
from dynamo_fe.planes.request.nats import NatsRequestPlane
from dynamo_fe.planes.request.nats_link import header_bytes
from dynamo_fe.planes.request.options import NatsPlaneOptions
from dynamo_fe.planes.tls import client_context, server_context
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance
from tests.support.certificates import Authority
from tests.support.fake_nats import FakeNats, Published, fake_nats
from tests.support.fake_worker import Request, Sink, until

NKEY_SEED = "SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU"


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Both loops have TLS of their own; the product runs on the second."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


def instance(instance_id: int = 1) -> Instance:
    return Instance(
        key=f"v1/instances/Name_Space/back-end/generate/{instance_id:x}",
        namespace="Name_Space",
        component="back-end",
        endpoint="generate",
        instance_id=instance_id,
        host="",
        port=0,
        path="",
        codec="msgpack",
        transport="nats",
        nats_subject=f"Name_Space_back-end.generate-{instance_id:x}",
    )


@asynccontextmanager
async def running_plane(server: FakeNats, **options: Any) -> AsyncIterator[NatsRequestPlane]:
    plane = NatsRequestPlane(NatsPlaneOptions(**{"listen_host": "127.0.0.1", "servers": (server.url,), **options}))
    await plane.start()
    try:
        yield plane
    finally:
        await plane.close()


def as_request(message: Published) -> Request:
    """The message in the shape of a TCP request, to call back for it."""
    header_length = int.from_bytes(message.payload[:8])
    control, body = message.payload[24 : 24 + header_length], message.payload[24 + header_length :]
    return Request((b"", json.dumps(message.headers).encode(), control, body), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("nats://u:p@host:4711", "host:4711"),
        ("tls://token@host", "host:4222"),
        ("host:1", "host:1"),
        ("nats://[::1]:5", "[::1]:5"),
    ],
)
def test_a_server_is_shown_without_its_login(server: str, place: str) -> None:
    assert place_of(server) == place


async def test_a_request_and_its_answer() -> None:
    async with fake_nats() as server, running_plane(server) as plane:
        sink = Sink()
        await plane.dispatch(instance(0xAB), "r-1", b"body", {"tenant": "acme"}, sink, {"traceparent": "t"})
        message = await server.message()
        assert message.subject == "Name_Space_back-end.generate-ab"
        assert message.headers.keys() == {"request-id", "x-frontend-send-ts-ns", "traceparent"}
        assert message.headers["request-id"] == "r-1"
        assert message.header_bytes == header_bytes(message.headers)
        request = as_request(message)
        assert request.body == b"body"
        assert (request.control["id"], request.control["metadata"]) == ("r-1", {"tenant": "acme"})
        call_back = await request.call_back()
        # the acknowledgement may come after the first frames
        await until(lambda: plane.stats()["streams_awaiting_prologue"] == 1)
        message.reply()
        await call_back.answer(5, 6)
        assert await sink.end() is None
        assert sink.tokens == [5, 6]
        assert plane.stats()["streams"] == 0


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Server overloaded: worker at capacity", 529),
        ("Server unavailable: unknown endpoint a", 503),
        ("anything else", 503),
    ],
)
async def test_a_text_in_the_reply_is_a_refusal(text: str, status: int) -> None:
    async with fake_nats() as server, running_plane(server) as plane:
        sink = Sink()
        await plane.dispatch(instance(), "r", b"", None, sink)
        (await server.message()).reply(text)
        assert (await sink.failure()).status == status


async def test_nobody_listens() -> None:
    async with fake_nats() as server, running_plane(server) as plane:
        sink = Sink()
        await plane.dispatch(instance(), "r", b"", None, sink)
        (await server.message()).nobody_listens()
        error = await sink.failure()
        assert (error.status, error.reason, error.inhibits) == (503, "transport.cannot_connect", True)


async def test_no_reply_in_time_is_unavailable() -> None:
    async with fake_nats() as server, running_plane(server, ack_timeout_secs=0.05) as plane:
        sink = Sink()
        await plane.dispatch(instance(), "r", b"", None, sink)
        error = await sink.failure()
        assert (error.status, error.deadline_stage, error.inhibits) == (503, "ack", True)
        (await server.message()).reply("late")
        assert sink.ends == 1


async def test_a_message_over_max_payload_is_not_sent() -> None:
    """Headers count: the server would close the connection under all other requests."""
    async with fake_nats(max_payload=4000) as server, running_plane(server) as plane:
        await plane.dispatch(instance(), "r", b"", None, Sink())
        message = await server.message()
        room = 4000 - len(message.payload) - message.header_bytes
        await plane.dispatch(instance(), "r", bytes(room), None, Sink())
        assert len((await server.message()).payload) + message.header_bytes == 4000
        with pytest.raises(RequestError) as refused:
            await plane.dispatch(instance(), "r", bytes(room + 1), None, Sink())
        assert (refused.value.status, refused.value.may_retry) == (400, False)
        assert "max_payload" in refused.value.message
        assert plane.stats()["streams"] == 2


async def test_the_server_may_come_later_and_go() -> None:
    server = FakeNats()
    await server.start()
    await server.stop()
    async with running_plane(server, connect_timeout_secs=0.2) as plane:
        with pytest.raises(RequestError) as failed:
            await plane.dispatch(instance(), "r", b"", None, Sink())
        # the workers are not to blame
        assert (failed.value.status, failed.value.inhibits, failed.value.may_retry) == (503, False, False)
        assert failed.value.deadline_stage == "connect"
        [reason] = plane.reasons()
        assert reason.startswith("NATS is not connected: ")
        for _ in range(2):
            await server.start()
            await server.wait_subscribed()
            await until(lambda: not plane.reasons())
            accepted, waiting = Sink(), Sink()
            await plane.dispatch(instance(), "a", b"", None, accepted)
            (await server.message()).reply()
            await until(lambda: plane.stats()["unacknowledged_requests"] == 0)
            await plane.dispatch(instance(), "b", b"", None, waiting)
            await server.message()
            await server.stop()
            error = await waiting.failure()
            assert (error.status, error.inhibits, error.may_retry) == (503, False, True)
            assert not accepted.ended.done()


async def test_a_request_waits_while_the_server_restarts() -> None:
    async with fake_nats() as server, running_plane(server) as plane:
        await server.wait_subscribed()
        await server.stop()
        await until(lambda: bool(plane.reasons()))
        await server.start()
        await plane.dispatch(instance(), "r", b"", None, Sink())
        assert (await server.message()).headers["request-id"] == "r"


async def test_a_server_that_refuses_is_asked_again() -> None:
    async with fake_nats() as server:
        server.refuses = True
        async with running_plane(server, token="t") as plane:
            await until(lambda: any("Authorization Violation" in reason for reason in plane.reasons()))
            assert server.connects[0]["auth_token"] == "t"
            server.refuses = False
            await until(lambda: not plane.reasons())


async def test_an_instance_of_another_plane_is_refused() -> None:
    async with fake_nats() as server, running_plane(server) as plane:
        with pytest.raises(RequestError):
            await plane.dispatch(msgspec.structs.replace(instance(), transport="tcp"), "r", b"", None, Sink())


async def test_a_broker_that_reads_nothing_cannot_make_us_hoard() -> None:
    async with fake_nats(max_payload=8 << 20) as server, running_plane(server, write_buffer_bytes=16 << 20) as plane:
        await plane.dispatch(instance(), "r", b"", None, Sink())
        await server.message()
        server.stall()
        with pytest.raises(RequestError) as refused:
            for _ in range(20):
                await plane.dispatch(instance(), "r", bytes(4 << 20), None, Sink())
        assert refused.value.status == 529
        assert plane.stats()["unwritten_bytes"] <= 16 << 20


async def test_tls_that_is_wanted_is_had_or_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("nats")
    wanted = client_context(str(authority.certificate), None, None, insecure=False)
    async with fake_nats() as server, running_plane(server, connect_tls=wanted, password="p", username="u") as plane:
        await until(lambda: plane.reasons() == ["NATS is not connected: the server offers no TLS"])
        assert server.connects == []
    for offer in ({"tls_required": True}, {"tls_available": True}):
        async with fake_nats(**offer) as server:
            server.tls = server_context(str(pair.certificate), str(pair.key), None)
            async with running_plane(server, connect_tls=wanted) as plane:
                await server.wait_subscribed()
                await plane.dispatch(instance(), "r", b"", None, Sink())
                assert (await server.message()).headers["request-id"] == "r"


async def test_a_certificate_that_does_not_verify_is_told(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    expired = authority.issue("expired", days=-1)
    for trusted, said in ((other, "unable to get local issuer"), (authority, "certificate has expired")):
        async with fake_nats(tls_required=True) as server:
            server.tls = server_context(str(expired.certificate), str(expired.key), None)
            context = client_context(str(trusted.certificate), None, None, insecure=False)
            async with running_plane(server, connect_tls=context) as plane:
                await until(lambda said=said, plane=plane: any(said in reason for reason in plane.reasons()))


def test_the_first_way_in_that_is_set_counts(tmp_path: Path) -> None:
    file = tmp_path / "user.creds"
    file.write_text("-----BEGIN NATS USER JWT-----\nx\n-----BEGIN USER NKEY SEED-----\ny\n")
    ways = {"username": "u", "password": "p", "token": "t", "nkey_seed": NKEY_SEED, "credentials_file": str(file)}
    seen = []
    for name in ("username", "token", "nkey_seed", "credentials_file"):
        seen.append(credentials(NatsPlaneOptions(**ways)))  # type: ignore[arg-type]
        del ways[name]
    assert seen == [
        {"user": "u", "password": "p"},
        {"token": "t"},
        {"nkeys_seed_str": NKEY_SEED},
        {"user_credentials": str(file)},
    ]
    assert credentials(NatsPlaneOptions()) == {"user": "user", "password": "user"}
    assert credentials(NatsPlaneOptions(servers=("nats://me:mine@localhost",))) == {}


@pytest.mark.parametrize(
    "options",
    [{"nkey_seed": "no seed"}, {"credentials_file": "/no/such/file"}, {"servers": ("http://localhost",)},
     {"servers": ("nats://localhost:port",)}],
)  # fmt: skip
async def test_what_can_never_work_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="NATS"):
        NatsRequestPlane(NatsPlaneOptions(**options))
