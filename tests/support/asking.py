"""Requests of a test to a frontend, without a client library between."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

HELLO = [{"role": "user", "content": "hello"}]


def ask(url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and text of the answer: of a POST of `body`, or of a GET."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class KeptConnection:
    """One connection to a frontend for several requests, one after the other."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path: str, body: Any = None) -> http.client.HTTPResponse:
        """The answer, whose head has come: of a POST of `body`, or of a GET. It is to be read before the next."""
        data = None if body is None else json.dumps(body)
        self._connection.request("GET" if data is None else "POST", path, data, {"content-type": "application/json"})
        return self._connection.getresponse()


def chat(url: str, model: str, **fields: Any) -> tuple[int, Any]:
    """Status and decoded body of a chat request."""
    status, text = ask(f"{url}/v1/chat/completions", {"model": model, "messages": HELLO} | fields)
    return status, json.loads(text)


def until(holds: Callable[[], bool], what: str, timeout_secs: float = 40.0) -> None:
    """Polls until it holds."""
    deadline = time.monotonic() + timeout_secs
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
