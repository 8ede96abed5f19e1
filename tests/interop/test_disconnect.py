"""A client that leaves: the worker is told within 100 ms."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.peer import ScriptedWorker

TOLD_SECS = 0.1
TRIES = 4
WAIT_FOR_CANCEL = {"!wait_cancel": 20}


def post(frontend: Frontend, body: dict[str, Any]) -> socket.socket:
    """Send a chat request and leave the answer in the socket."""
    payload = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]} | body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        f"content-length: {len(payload)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", frontend.port), timeout=30)
    connection.sendall(head.encode() + payload)
    return connection


def read_until(connection: socket.socket, marker: bytes) -> None:
    seen = b""
    while marker not in seen:
        piece = connection.recv(65536)
        assert piece, f"the server closed after {seen!r}"
        seen += piece


def assert_told_soon(worker: ScriptedWorker, leave: Callable[[], float]) -> None:
    """`leave` asks something, leaves before the answer has come, and says when it left. Once in a few tries the worker
    hears of it in time; in the others the machine may have been busy.
    """
    took_secs = []
    for _ in range(TRIES):
        worker.forget()
        left_at = leave()
        worker.wait_for(1, ends=1)
        (end,) = worker.ends()
        assert end["killed"] or end["stopped"]
        took_secs.append(end["at"] - left_at)
        if took_secs[-1] < TOLD_SECS:
            return
    raise AssertionError(f"told after {took_secs} s")


def left(connection: socket.socket) -> float:
    """Closes it; when."""
    left_at = time.monotonic()
    connection.close()
    return left_at


def leaving_a_stream(frontend: Frontend) -> float:
    connection = post(frontend, {"stream": True})
    read_until(connection, b"hello")
    return left(connection)


def test_leaving_a_stream(cluster: Cluster) -> None:
    worker = cluster.scripted_worker()
    worker.say([{"token_ids": [275]}, WAIT_FOR_CANCEL])
    frontend = cluster.frontend("tiny")
    assert_told_soon(worker, lambda: leaving_a_stream(frontend))


@pytest.mark.parametrize(
    ("body", "said"),
    [({"stream": True}, []), ({}, []), ({}, [{"token_ids": [275]}])],
    ids=["stream", "unary", "unary under way"],
)
def test_leaving_before_anything_came(cluster: Cluster, body: dict[str, Any], said: list[Any]) -> None:
    worker = cluster.scripted_worker()
    worker.say([*said, WAIT_FOR_CANCEL])
    frontend = cluster.frontend("tiny")

    def leave() -> float:
        connection = post(frontend, body)
        worker.wait_for(1)
        return left(connection)

    assert_told_soon(worker, leave)
