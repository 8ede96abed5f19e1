"""What workers do wrong, and what becomes of the requests: each ends, typed, and another worker is tried in time."""

from __future__ import annotations

import http.client
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.metrics_page import scrape
from tests.support.stores import FileStore

SHORT = {
    "DYN_TCP_REQUEST_TIMEOUT": "0.5",
    "DYN_FE_CALLBACK_TIMEOUT_SECS": "0.5",
    "DYN_FE_PROLOGUE_TIMEOUT_SECS": "0.5",
    "DYN_FE_FIRST_ITEM_TIMEOUT_SECS": "0.8",
    "DYN_FE_ITEM_TIMEOUT_SECS": "0.5",
}
FAST = ("--decode-tokens-per-sec", "5000", "--prefill-tokens-per-sec", "100000")
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        yield cluster


def ask(frontend: Frontend, **fields: Any) -> tuple[int, dict[str, str], bytes, float]:
    """Status, headers and body of a chat request, and how long it took."""
    body = json.dumps({"model": "mock", "messages": HELLO, "max_tokens": 12, **fields}).encode()
    request = urllib.request.Request(f"{frontend.url}/v1/chat/completions", body, {"content-type": "application/json"})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read(), time.monotonic() - began
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers), refused.read(), time.monotonic() - began


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("no-callback", 504),
        ("stall", 504),
        ("disconnect", 503),
        ("refuse", 529),
        ("garbage", 500),
        ("error-first", 500),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_lone_bad_worker_gives_a_typed_end_in_time(cluster: Cluster, kind: str, status: int, stream: bool) -> None:
    cluster.mock_worker(*FAST, "--fail-every", "1", "--fail-kind", kind)
    frontend = cluster.frontend("mock", environment=SHORT)
    code, headers, body, took_secs = ask(frontend, stream=stream)
    if code == 200:
        assert stream
        last = body.split(b"\n\n")[-3]
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == status
        assert body.endswith(b"data: [DONE]\n\n")
    else:
        error = json.loads(body)
        assert (code, error["code"], error["error"]["message"]) == (status, status, error["message"])
        assert ("retry-after" in {name.lower() for name in headers}) == (status in (503, 529))
    assert took_secs < 4


@pytest.mark.parametrize("kind", ["no-callback", "refuse"])
def test_another_worker_takes_over_while_nothing_was_streamed(cluster: Cluster, kind: str) -> None:
    cluster.mock_worker(*FAST, "--fail-every", "1", "--fail-kind", kind)
    cluster.mock_worker(*FAST)
    frontend = cluster.frontend("mock", environment=SHORT)
    for stream in (True, False, True, False):
        status, _, body, _ = ask(frontend, stream=stream)
        assert status == 200 and b"error" not in body


def test_a_worker_that_died_unnoticed_costs_no_request(cluster: Cluster) -> None:
    dead = cluster.mock_worker(*FAST)
    cluster.mock_worker(*FAST)
    frontend = cluster.frontend("mock", environment=SHORT)
    dead.send_signal(signal.SIGKILL)
    dead.wait_for_exit()
    assert [ask(frontend)[0] for _ in range(8)] == [200] * 8


def test_a_worker_that_hangs_is_set_aside_after_one_request(cluster: Cluster) -> None:
    hung = cluster.mock_worker(*FAST)
    cluster.mock_worker(*FAST)
    frontend = cluster.frontend("mock", environment=SHORT)
    hung.send_signal(signal.SIGSTOP)
    try:
        assert [ask(frontend)[0] for _ in range(6)] == [200] * 6
    finally:
        hung.send_signal(signal.SIGCONT)
    page = scrape(frontend.port).items()
    assert sum(value for (name, *_), value in page if name == "dynamo_fe_deadline_misses_total") == 1


def test_a_reader_that_stops_stops_its_worker_and_reads_on_later(cluster: Cluster) -> None:
    endless = ("--answer-tokens", "10000000", "--context-length", "100000000")
    cluster.mock_worker("--decode-tokens-per-sec", "20000", *endless)
    frontend = cluster.frontend("mock", environment={"DYN_FE_ITEM_TIMEOUT_SECS": "1"})
    before = resident_kib(frontend)
    connection = http.client.HTTPConnection("127.0.0.1", frontend.port, timeout=10)
    body = {"model": "mock", "messages": HELLO, "stream": True, "max_tokens": 1000000, "ignore_eos": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read(1000)
    # Longer than the silence that ends a stream: the pause is the client's, not the worker's.
    time.sleep(4)
    assert resident_kib(frontend) - before < 32 << 10
    assert b"error" not in answer.read(12_000_000)
    connection.close()


def resident_kib(frontend: Frontend) -> int:
    """Resident memory of the frontend's processes."""
    children = Path(f"/proc/{frontend.process.pid}/task/{frontend.process.pid}/children").read_text().split()
    pages = [int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in children]
    return sum(pages) * 4


def test_bodies_over_the_limit_are_refused_while_they_come(cluster: Cluster) -> None:
    cluster.mock_worker(*FAST)
    frontend = cluster.frontend("mock", environment={"DYN_HTTP_BODY_LIMIT_MB": "1"})
    status, _, body, _ = ask(frontend, user="x" * (2 << 20))
    assert status == 413 and b"DYN_HTTP_BODY_LIMIT_MB" in body
    assert ask(frontend, user="x" * (1 << 19))[0] == 200
