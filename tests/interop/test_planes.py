"""Every request plane on every discovery with real Dynamo workers, and each plane by TLS."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.interop.test_disconnect import WAIT_FOR_CANCEL, assert_told_soon, leaving_a_stream
from tests.support.certificates import Authority
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.load import client
from tests.support.nats_server import NatsServer
from tests.support.stores import FileStore, Store, StoreWith

TOKENS = 8
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
SOON_SECS = 4.0
# so that certificates for one address fit both ends
LOOPBACK = {"DYN_TCP_RPC_HOST": "127.0.0.1", "DYN_TCP_RESPONSE_STREAM_HOST": "127.0.0.1"}


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["tcp", "nats"])
def planes(request: pytest.FixtureRequest, store: Store) -> Store:
    """Each store once for each request plane."""
    if request.param == "tcp":
        return store
    assert not isinstance(store, StoreWith)
    return StoreWith(store, request.getfixturevalue("nats_server").environment)


async def chat(frontend: Frontend, model: str, tokens: int = TOKENS) -> None:
    """One answer whole and one streamed."""
    async with client(frontend.url) as source:
        answer = await source.chat.completions.create(model=model, messages=MESSAGES, max_tokens=tokens)
        assert answer.usage is not None and answer.usage.completion_tokens == tokens
        stream = await source.chat.completions.create(model=model, messages=MESSAGES, max_tokens=tokens, stream=True)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "length"


def ask(frontend: Frontend) -> tuple[int, str, float]:
    """Status, body and seconds of one chat request."""
    body = json.dumps({"model": "mock", "messages": MESSAGES, "max_tokens": 2}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{frontend.url}/v1/chat/completions", body, headers)
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), time.monotonic() - began
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), time.monotonic() - began


def assert_refused_soon(frontend: Frontend) -> None:
    status, body, took_secs = ask(frontend)
    assert (status, took_secs < SOON_SECS) == (503, True), (body, took_secs)
    assert json.loads(body)["code"] == 503


async def test_chat_and_cancel(planes: Store, tmp_path: Path, large_model_dir: Path) -> None:
    with Cluster(planes, tmp_path) as cluster:
        await asyncio.to_thread(cluster.mocker, model_dir=large_model_dir, speedup_ratio=0)
        worker = await asyncio.to_thread(cluster.scripted_worker)
        frontend = await asyncio.to_thread(cluster.frontend, "mock", "tiny")
        await chat(frontend, "mock")
        await asyncio.to_thread(assert_cancel_is_told, frontend, worker)


def assert_cancel_is_told(frontend: Frontend, worker: Any) -> None:
    worker.say([{"token_ids": [275]}, WAIT_FOR_CANCEL])
    assert_told_soon(worker, lambda: leaving_a_stream(frontend))


async def test_a_killed_worker_and_a_large_request_on_nats(file_store: FileStore, tmp_path: Path) -> None:
    """Both end at once: nobody listens on the subject; the message is over the server's max_payload."""
    configuration = tmp_path / "nats.conf"
    configuration.write_text("max_payload: 4096\n")
    server = NatsServer(tmp_path, ["--config", configuration])
    server.start()
    try:
        with Cluster(StoreWith(file_store, server.environment), tmp_path) as cluster:
            mocker = await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
            frontend = await asyncio.to_thread(cluster.frontend, "mock")
            async with client(frontend.url) as source:
                with pytest.raises(openai.BadRequestError, match="too large to be sent to a worker"):
                    await source.completions.create(model="mock", prompt=[275] * 1500, max_tokens=2)
            await chat(frontend, "mock")
            await asyncio.to_thread(mocker.kill)
            await asyncio.to_thread(assert_refused_soon, frontend)
    finally:
        server.stop()


def tls_arguments(authority: Authority) -> list[str | Path]:
    """nats-server with TLS that lets in only clients with a certificate."""
    pair = authority.issue("nats")
    files = ["--tlscert", pair.certificate, "--tlskey", pair.key, "--tlscacert", authority.certificate]
    return ["--tlsverify", *files]


@pytest.mark.parametrize("way", ["user", "token", "tls"])
async def test_nats_that_lets_in_only_some(way: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    arguments, variables = {
        "user": (["--user", "me", "--pass", "s3cret"], {"NATS_AUTH_USERNAME": "me", "NATS_AUTH_PASSWORD": "s3cret"}),
        "token": (["--auth", "t0ken"], {"NATS_AUTH_TOKEN": "t0ken"}),
        "tls": (tls_arguments(authority), nats_tls(authority)),
    }[way]
    server = NatsServer(tmp_path, arguments)
    server.start()
    store = FileStore(tmp_path / "store")
    try:
        scheme = "tls" if way == "tls" else "nats"
        variables["NATS_SERVER"] = f"{scheme}://127.0.0.1:{server.port}"
        with Cluster(StoreWith(store, server.environment | variables), tmp_path) as cluster:
            await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
            frontend = await asyncio.to_thread(cluster.frontend, "mock")
            await chat(frontend, "mock")
            assert f"connected to NATS at 127.0.0.1:{server.port}" in frontend.process.output()
            keys = {name: "" for name in variables if name != "NATS_SERVER"}
            stranger = await asyncio.to_thread(
                cluster.frontend, "mock", environment=keys | {"DYN_TCP_CONNECT_TIMEOUT": "0.5"}
            )
            assert_refused_soon(stranger)
            ready = urllib.request.Request(f"{stranger.url}/ready")
            with pytest.raises(urllib.error.HTTPError, match="503") as refused:
                urllib.request.urlopen(ready, timeout=30)
            assert "NATS is not connected" in refused.value.read().decode()
    finally:
        server.stop()


def nats_tls(authority: Authority) -> dict[str, str]:
    pair = authority.issue("client", server=False)
    return {
        "NATS_TLS_CA_CERT_PATH": str(authority.certificate),
        "NATS_TLS_CLIENT_CERT_PATH": str(pair.certificate),
        "NATS_TLS_CLIENT_KEY_PATH": str(pair.key),
    }


async def test_nats_may_be_away_for_a_while(nats_server: NatsServer, file_store: FileStore, tmp_path: Path) -> None:
    """It need not be there at start, and a restart is survived."""
    store = StoreWith(file_store, nats_server.environment)
    with Cluster(store, tmp_path) as cluster:
        await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
        nats_server.kill()
        frontend = await asyncio.to_thread(cluster.frontend, "mock", environment={"DYN_TCP_CONNECT_TIMEOUT": "0.5"})
        assert_refused_soon(frontend)
        for _ in range(2):
            nats_server.start()
            await asyncio.to_thread(frontend.process.wait_until, lambda: ask(frontend)[0] == 200, "an answer", 60.0)
            await chat(frontend, "mock")
            nats_server.kill()
        assert frontend.process.returncode is None


def tcp_tls(authority: Authority, name: str, *, verify: bool = True) -> dict[str, str]:
    """Both roles of one process: server and client, with certificates of both sides."""
    pair = authority.issue(name)
    variables = {
        "DYN_TCP_TLS_CERT_PATH": str(pair.certificate),
        "DYN_TCP_TLS_KEY_PATH": str(pair.key),
        "DYN_TCP_TLS_CA_CERT_PATH": str(authority.certificate),
    }
    if verify:
        variables["DYN_TCP_TLS_CLIENT_CA_CERT_PATH"] = str(authority.certificate)
        variables["DYN_TCP_TLS_CLIENT_CERT_PATH"] = str(pair.certificate)
        variables["DYN_TCP_TLS_CLIENT_KEY_PATH"] = str(pair.key)
    return variables


async def test_tls_both_ways_and_what_does_not_fit(file_store: FileStore, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    workers = StoreWith(file_store, LOOPBACK | tcp_tls(authority, "worker"))
    ours = LOOPBACK | tcp_tls(authority, "frontend")
    expired = authority.issue("expired", days=-1)
    with Cluster(workers, tmp_path) as cluster:
        await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
        worker = await asyncio.to_thread(cluster.scripted_worker)
        frontend = await asyncio.to_thread(cluster.frontend, "mock", "tiny", environment=ours)
        await chat(frontend, "mock")
        await asyncio.to_thread(assert_cancel_is_told, frontend, worker)
        for unfit in (
            dict.fromkeys(ours.keys() - LOOPBACK.keys(), ""),
            {"DYN_TCP_TLS_CA_CERT_PATH": str(other.certificate)},
            {"DYN_TCP_TLS_CERT_PATH": str(expired.certificate), "DYN_TCP_TLS_KEY_PATH": str(expired.key)},
            {"DYN_TCP_TLS_CLIENT_CA_CERT_PATH": str(other.certificate)},
        ):
            stranger = await asyncio.to_thread(cluster.frontend, "mock", environment=ours | unfit)
            await asyncio.to_thread(assert_refused_soon, stranger)
            await asyncio.to_thread(stranger.stop)


async def test_a_plain_worker_and_a_frontend_with_tls(file_store: FileStore, tmp_path: Path) -> None:
    """Whichever of the two directions is secured on our side only, the request ends at once."""
    authority = Authority(tmp_path / "a")
    ours = tcp_tls(authority, "frontend", verify=False)
    call_back_only = {name: value for name, value in ours.items() if "CA_CERT" not in name}
    with Cluster(StoreWith(file_store, LOOPBACK), tmp_path) as cluster:
        await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
        for variables in (ours, call_back_only):
            frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=LOOPBACK | variables)
            await asyncio.to_thread(assert_refused_soon, frontend)
