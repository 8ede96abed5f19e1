"""Our frontend behind its own certificate: TLS 1.2 and 1.3, clients with and without certificates."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.certificates import Authority
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend, our_frontend
from tests.support.stores import FileStore

TOKENS = 8


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.issue("server")
    authority.issue("client", server=False)
    return authority


@pytest.fixture(params=["anybody", "known clients"])
def frontend(
    request: pytest.FixtureRequest, authority: Authority, file_store: FileStore, tmp_path: Path
) -> Iterator[Frontend]:
    """With `known clients` only those with a certificate are let in."""
    files = authority.directory
    arguments = ["--tls-cert-path", str(files / "server.crt"), "--tls-key-path", str(files / "server.key")]
    if request.param == "known clients":
        arguments += ["--tls-client-ca-cert-path", str(authority.certificate)]
    with Cluster(file_store, tmp_path) as cluster:
        cluster.mocker(speedup_ratio=0)
        frontend = our_frontend(file_store.environment, log=tmp_path / "frontend.log", arguments=arguments)
        try:
            frontend.process.wait_until(lambda: listed(frontend, context(authority)), "the model by HTTPS", 90.0)
            yield frontend
        finally:
            frontend.stop()


def context(authority: Authority, version: ssl.TLSVersion | None = None, *, known: bool = True) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.certificate))
    if version is not None:
        made.minimum_version = made.maximum_version = version
    if known:
        made.load_cert_chain(authority.directory / "client.crt", authority.directory / "client.key")
    return made


def url(frontend: Frontend) -> str:
    return f"https://127.0.0.1:{frontend.port}"


def listed(frontend: Frontend, tls: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(f"{url(frontend)}/v1/models", timeout=2, context=tls) as answer:
            return bool(json.load(answer)["data"])
    except OSError:
        return False


async def chat(frontend: Frontend, tls: ssl.SSLContext) -> int:
    """Streams; the number of chunks."""
    async with httpx.AsyncClient(verify=tls) as carrier:
        base = f"{url(frontend)}/v1"
        source = openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0, http_client=carrier)
        stream = await source.chat.completions.create(
            model="mock", messages=[{"role": "user", "content": "hello"}], max_tokens=TOKENS, stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "length"
    return len(chunks)


async def test_chat_by_https(frontend: Frontend, authority: Authority) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert await chat(frontend, context(authority, version)) > 1
    for_known_only = "--tls-client-ca-cert-path" in frontend.process.argv
    if for_known_only:
        with pytest.raises(openai.APIConnectionError):
            await chat(frontend, context(authority, known=False))
    else:
        await chat(frontend, context(authority, known=False))
    with pytest.raises(openai.APIConnectionError):
        await chat(frontend, ssl.create_default_context())
    # plain text to the port is closed, and nobody else is disturbed
    reader, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
    writer.write(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(30):
        answer = await reader.read()
    assert not answer.startswith(b"HTTP/")
    writer.close()
    assert await chat(frontend, context(authority)) > 1
    assert f"serving on https://127.0.0.1:{frontend.port} in 1 process" in frontend.process.output()
