"""A client that leaves: the worker is told within 100 ms."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.peer import ScriptedWorker

TOLD_SECS = 0.1
WAIT_FOR_CANCEL = {"!wait_cancel": 20}


def post(frontend: Frontend, body: dict[str, Any]) -> socket.socket:
    """Send a chat request and leave the answer in the socket."""
    payload = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]} | body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        f"content-length: {len(payload)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", frontend.port), timeout=10)
    connection.sendall(head.encode() + payload)
    return connection


def read_until(connection: socket.socket, marker: bytes) -> None:
    seen = b""
    while marker not in seen:
        piece = connection.recv(65536)
        assert piece, f"the server closed after {seen!r}"
        seen += piece


def assert_told(worker: ScriptedWorker, left_at: float) -> None:
    worker.wait_for(1, ends=1)
    end = worker.ends()[0]
    assert end["killed"] or end["stopped"]
    assert end["at"] - left_at < TOLD_SECS


def test_leaving_a_stream(cluster: Cluster) -> None:
    worker = cluster.scripted_worker()
    worker.say([{"token_ids": [275]}, WAIT_FOR_CANCEL])
    frontend = cluster.frontend("tiny")
    connection = post(frontend, {"stream": True})
    read_until(connection, b"hello")
    left_at = time.monotonic()
    connection.close()
    assert_told(worker, left_at)


def test_leaving_before_the_first_item(cluster: Cluster) -> None:
    worker = cluster.scripted_worker()
    worker.say([WAIT_FOR_CANCEL])
    frontend = cluster.frontend("tiny")
    for body in ({"stream": True}, {}):
        worker.forget()
        connection = post(frontend, body)
        worker.wait_for(1)
        left_at = time.monotonic()
        connection.close()
        assert_told(worker, left_at)


def test_leaving_a_unary_answer(cluster: Cluster) -> None:
    worker = cluster.scripted_worker()
    worker.say([{"token_ids": [275]}, WAIT_FOR_CANCEL])
    frontend = cluster.frontend("tiny")
    connection = post(frontend, {})
    worker.wait_for(1)
    left_at = time.monotonic()
    connection.close()
    assert_told(worker, left_at)
