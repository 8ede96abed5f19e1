"""TLS in both directions between frontend and workers; whatever does not fit is a typed error in time."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from dynamo_fe.planes.tls import client_context, server_context
from dynamo_fe.protocol.errors import RequestError
from tests.support.certificates import Authority
from tests.support.fake_worker import Sink, exchange, fake_worker, running_plane, until

SOON_SECS = 2.0


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Both loops have TLS of their own; the product runs on the second."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@dataclass(frozen=True)
class Contexts:
    """Both ends of both directions; `stranger` is a client that trusts somebody else."""

    listens: ssl.SSLContext
    listens_to_known: ssl.SSLContext
    expired: ssl.SSLContext
    connects: ssl.SSLContext
    connects_known: ssl.SSLContext
    stranger: ssl.SSLContext
    careless: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    authority = Authority(tmp_path_factory.mktemp("a"))
    other = Authority(tmp_path_factory.mktemp("b"))
    pair, client = authority.issue("server"), authority.issue("client", server=False)
    expired = authority.issue("expired", days=-1)
    trusted = str(authority.certificate)
    certificate, key = str(pair.certificate), str(pair.key)
    return Contexts(
        listens=server_context(certificate, key, None),
        listens_to_known=server_context(certificate, key, trusted),
        expired=server_context(str(expired.certificate), str(expired.key), None),
        connects=client_context(trusted, None, None, insecure=False),
        connects_known=client_context(trusted, str(client.certificate), str(client.key), insecure=False),
        stranger=client_context(str(other.certificate), None, None, insecure=False),
        careless=client_context(None, None, None, insecure=True),
    )


async def test_both_directions_with_certificates_of_both_sides(tls: Contexts) -> None:
    options: dict[str, Any] = {"connect_tls": tls.connects_known, "listen_tls": tls.listens_to_known}
    async with fake_worker(tls.listens_to_known) as worker, running_plane(**options) as plane:
        for _ in range(3):
            one = await exchange(plane, worker)
            one.request.ack()
            call_back = await one.request.call_back(tls=tls.connects_known)
            await call_back.answer(1, 2, 3)
            assert await one.sink.end() is None
            assert one.sink.tokens == [1, 2, 3]
            assert await call_back.read_to_end() == b""
        assert worker.connections == 1
        assert plane.stats()["streams"] == 0


async def test_cancel_pause_and_resume_over_tls(tls: Contexts) -> None:
    async with fake_worker() as worker, running_plane(listen_tls=tls.listens) as plane:
        one = await exchange(plane, worker)
        one.handle.pause()
        call_back = await one.request.call_back(tls=tls.connects)
        await until(lambda: plane.stats()["streams_awaiting_prologue"] == 1)
        await call_back.answer(7)
        await asyncio.sleep(0.05)
        assert one.sink.items == []
        one.handle.resume()
        assert await one.sink.end() is None
        two = await exchange(plane, worker)
        call_back = await two.request.call_back(tls=tls.connects)
        await until(lambda: plane.stats()["streams_awaiting_prologue"] == 1)
        two.handle.cancel()
        assert b'"kill"' in await call_back.read_to_end()


@pytest.mark.parametrize(
    ("connects", "listens", "said"),
    [
        ("stranger", "listens", "certificate verify failed: unable to get local issuer certificate"),
        ("connects", "expired", "certificate verify failed: certificate has expired"),
        ("connects", None, "SSL handshake is taking longer"),
    ],
)
async def test_a_worker_that_cannot_be_trusted_gets_nothing(
    tls: Contexts, connects: str, listens: str | None, said: str
) -> None:
    began = time.monotonic()
    options: dict[str, Any] = {"connect_tls": getattr(tls, connects), "tls_handshake_timeout_secs": 0.2}
    async with fake_worker(getattr(tls, listens) if listens else None) as worker, running_plane(**options) as plane:
        with pytest.raises(RequestError, match=said) as failed:
            await plane.dispatch(worker.instance(), "r", b"", None, Sink())
        assert (failed.value.status, failed.value.reason) == (503, "transport.cannot_connect")
    assert time.monotonic() - began < SOON_SECS


async def test_without_verification_an_expired_certificate_will_do(tls: Contexts) -> None:
    async with fake_worker(tls.expired) as worker, running_plane(connect_tls=tls.careless) as plane:
        one = await exchange(plane, worker)
        one.request.ack("Server overloaded: no")
        assert (await one.sink.failure()).status == 529


async def test_the_name_of_a_certificate_can_be_given(tls: Contexts, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("named", subject="DNS:worker.test")
    listens = server_context(str(pair.certificate), str(pair.key), None)
    connects = client_context(str(authority.certificate), None, None, insecure=False)
    async with fake_worker(listens) as worker:
        async with running_plane(connect_tls=connects) as plane:
            with pytest.raises(RequestError, match="IP address mismatch"):
                await plane.dispatch(worker.instance(), "r", b"", None, Sink())
        async with running_plane(connect_tls=connects, tls_server_name="worker.test") as plane:
            await exchange(plane, worker)


async def test_plain_text_to_a_worker_with_tls(tls: Contexts) -> None:
    async with fake_worker(tls.listens) as worker, running_plane() as plane:
        sink = Sink()
        await plane.dispatch(worker.instance(), "r", bytes(100), None, sink)
        error = await sink.failure()
        assert (error.status, error.error_type) == (503, "Disconnected")


async def test_a_client_certificate_that_is_missing(tls: Contexts) -> None:
    async with fake_worker(tls.listens_to_known) as worker, running_plane(connect_tls=tls.connects) as plane:
        sink = Sink()
        try:
            await plane.dispatch(worker.instance(), "r", b"", None, sink)
        except RequestError as error:
            assert error.status == 503
        else:
            assert (await sink.failure()).status == 503


@pytest.mark.parametrize("calls", ["plain", "stranger", "without certificate"])
async def test_a_call_back_that_does_not_fit_ends_the_request(tls: Contexts, calls: str) -> None:
    """The worker does not try again; without this the request would wait for its call-back for minutes."""
    listens = tls.listens_to_known if calls == "without certificate" else tls.listens
    async with fake_worker() as worker, running_plane(listen_tls=listens) as plane:
        one = await exchange(plane, worker)
        one.request.ack()
        context = {"plain": None, "stranger": tls.stranger, "without certificate": tls.connects}[calls]
        try:
            await one.request.call_back(tls=context)
        except ssl.SSLError:
            assert calls == "stranger"
        error = await one.sink.failure()
        assert (error.status, error.inhibits, error.may_retry) == (503, True, True)
        assert "call-back from 127.0.0.1 failed: " in error.message
        assert plane.stats()["callbacks_without_handshake"] == 0


async def test_a_call_back_by_tls_to_a_plain_port_ends_the_request(tls: Contexts) -> None:
    async with fake_worker() as worker, running_plane() as plane:
        one = await exchange(plane, worker)
        one.request.ack()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await one.request.call_back(tls=tls.connects)
        assert "the worker speaks TLS, this port does not" in (await one.sink.failure()).message


async def test_an_instance_that_has_called_back_is_not_blamed_for_another(tls: Contexts) -> None:
    async with fake_worker() as worker, running_plane(listen_tls=tls.listens) as plane:
        proof = await exchange(plane, worker, instance_id=1)
        await (await proof.request.call_back(tls=tls.connects)).answer(1)
        assert await proof.sink.end() is None
        good, bad = await exchange(plane, worker, instance_id=1), await exchange(plane, worker, instance_id=2)
        await bad.request.call_back()
        assert (await bad.sink.failure()).status == 503
        assert not good.sink.ended.done()
        await (await good.request.call_back(tls=tls.connects)).answer(2)
        assert await good.sink.end() is None


async def test_who_says_nothing_is_let_go(tls: Contexts) -> None:
    options: dict[str, Any] = {"listen_tls": tls.listens, "tls_handshake_timeout_secs": 0.3}
    async with fake_worker() as worker, running_plane(**options) as plane:
        one = await exchange(plane, worker)
        call_back = await one.request.call_back(handshake=False)
        await until(lambda: plane.stats()["callbacks_without_handshake"] == 1)
        assert await call_back.read_to_end() == b""
        await until(lambda: plane.stats()["callbacks_without_handshake"] == 0)
        await (await one.request.call_back(tls=tls.connects)).answer(3)
        assert await one.sink.end() is None
