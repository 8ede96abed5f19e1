"""Requests that are wrong in every way we could think of: each is refused with a 4xx that says so, none is a 500, and a
healthy stream beside them loses nothing.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.bad_requests import CHAT, MB, REQUESTS, TAKEN
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.raw_http import JSON, Reply, exchange, head, post
from tests.support.stores import FileStore

HEALTHY_TOKENS = 40
# Told by the HTTP server itself, which knows nothing of our bodies.
BARE = {400, 414, 431}


@dataclass
class HealthyStreams:
    """Streams one answer after the other on a thread of its own until told to stop."""

    url: str
    whole: int = 0
    broken: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        body = json.dumps(
            {
                "model": "mock",
                "messages": [{"role": "user", "content": "healthy"}],
                "stream": True,
                "max_tokens": HEALTHY_TOKENS,
                "ignore_eos": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        while not self.stop.is_set():
            url = f"{self.url}/v1/chat/completions"
            request = urllib.request.Request(url, body, {"content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    text = answer.read().decode()
            except OSError as error:
                self.broken.append(repr(error))
                continue
            whole = text.endswith("data: [DONE]\n\n") and f'"completion_tokens":{HEALTHY_TOKENS}' in text
            if whole:
                self.whole += 1
            else:
                self.broken.append(text[-300:])


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    home = tmp_path_factory.mktemp("bad-input")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mock_worker("--speedup-ratio", "2")
        yield cluster.frontend("mock")


@pytest.fixture(scope="module")
def healthy(frontend: Frontend) -> Iterator[HealthyStreams]:
    streams = HealthyStreams(frontend.url)
    thread = threading.Thread(target=streams.run)
    thread.start()
    yield streams
    streams.stop.set()
    thread.join(60)


# Where ours is still more lenient, or stricter, than the original.
NOT_YET = {
    "prompt with a raw NUL": "completions are read as leniently as chat",
    "prompt with invalid UTF-8": "completions are read as leniently as chat",
}


def cases(names: Iterable[str]) -> list[Any]:
    """One that comes right has to leave the list above."""
    return [
        pytest.param(name, marks=[pytest.mark.xfail(reason=NOT_YET[name])] if name in NOT_YET else []) for name in names
    ]


def test_there_are_enough_cases() -> None:
    assert len(REQUESTS) >= 120


@pytest.mark.parametrize("name", cases(REQUESTS))
def test_it_is_refused(frontend: Frontend, healthy: HealthyStreams, name: str) -> None:
    """Bodies are cut into pieces by the kernel as they like; a refusal does not wait for what it does not need."""
    refused(exchange(frontend.port, [REQUESTS[name]]))


@pytest.mark.parametrize("name", cases(TAKEN))
def test_it_is_taken(frontend: Frontend, healthy: HealthyStreams, name: str) -> None:
    request, status = TAKEN[name]
    reply = exchange(frontend.port, [request])
    assert reply.status == status, reply


def test_a_body_of_200_mb_is_refused_with_its_length_known(frontend: Frontend, healthy: HealthyStreams) -> None:
    length = b"content-length: %d" % (200 * MB)
    reply = exchange(frontend.port, [head(b"POST", CHAT, JSON, length), *megabytes(200)])
    assert reply.status in (413, 0)
    if reply.status:
        refused(reply)


def test_a_body_of_200_mb_is_refused_with_its_length_unknown(frontend: Frontend, healthy: HealthyStreams) -> None:
    chunks = (b"%x\r\n%b\r\n" % (len(part), part) for part in megabytes(200))
    reply = exchange(frontend.port, [head(b"POST", CHAT, JSON, b"transfer-encoding: chunked"), *chunks])
    assert reply.status in (413, 0)
    if reply.status:
        refused(reply)


def test_a_client_that_reads_sees_why_a_large_body_is_refused(frontend: Frontend) -> None:
    reply = exchange(frontend.port, [head(b"POST", CHAT, JSON, b"content-length: %d" % (46 * MB)), *megabytes(46)])
    assert reply.status == 413
    assert "DYN_HTTP_BODY_LIMIT_MB" in reply.json()["message"]


def test_requests_sent_ahead_are_answered_in_order(frontend: Frontend, healthy: HealthyStreams) -> None:
    ahead = head(b"GET", b"/live") + post(CHAT, b"{") + head(b"GET", b"/live", b"connection: close")
    assert exchange(frontend.port, [ahead]).status == 200


def test_the_healthy_stream_beside_them_lost_nothing(healthy: HealthyStreams, frontend: Frontend) -> None:
    healthy.stop.set()
    assert healthy.broken == []
    assert healthy.whole > 0
    assert "Traceback" not in frontend.process.log.read_text()


def megabytes(count: int) -> Iterable[bytes]:
    yield b'{"model": "'
    for _ in range(count - 1):
        yield b"m" * MB
    yield b"m" * (MB - 11)


def refused(reply: Reply) -> None:
    """A 4xx that says what is wrong; the HTTP server's own refusals, and methods and types not served, have no body."""
    assert 400 <= reply.status < 500 or reply.status == 501, reply
    if not reply.body:
        assert reply.status in BARE or "allow" in reply.headers, reply
    elif reply.headers["content-type"] == "application/json":
        body = reply.json()
        assert isinstance(body["error"], str) or body["error"]["message"], reply
    else:
        assert reply.headers["content-type"].startswith("text/plain"), reply
