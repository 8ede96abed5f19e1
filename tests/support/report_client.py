"""Sends the request of a report case as its client did, and reads a stream as a client's accumulator does."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What came back. `marks` are seconds and bytes so far, for every part that came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    error: str | None = None
    first_secs: float = 0.0
    total_secs: float = 0.0
    marks: list[tuple[float, int]] = field(default_factory=list)


def send(port: int, request: dict[str, Any], client: dict[str, Any], timeout_secs: float = 25.0) -> Answer:
    """One exchange on a connection of its own."""
    answer = Answer()
    headers = {name.lower(): value for name, value in (request.get("headers") or {}).items()}
    data = _body(request)
    if data is not None:
        headers.setdefault("content-type", "application/json")
    headers = {name: value for name, value in headers.items() if value is not None}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=client.get("timeout_s", timeout_secs))
    if client.get("http10"):
        connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    started = time.monotonic()
    try:
        _request(connection, request, headers, data, client.get("chunked"))
        _receive(connection, client.get("close_after"), answer, started)
    except (OSError, http.client.HTTPException) as error:
        answer.error = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    answer.total_secs = time.monotonic() - started
    return answer


def _request(connection: Any, request: dict[str, Any], headers: Any, data: bytes | None, piece: int | None) -> None:
    method = request.get("method", "POST")
    if piece is None or data is None:
        connection.request(method, request["path"], data, headers)
        return
    parts = (data[at : at + piece] for at in range(0, len(data), piece))
    connection.request(method, request["path"], parts, headers, encode_chunked="content-length" not in headers)


def _receive(connection: Any, stop: str | None, answer: Answer, started: float) -> None:
    response = connection.getresponse()
    answer.status = response.status
    answer.headers = {name.lower(): value for name, value in response.getheaders()}
    received = b""
    while part := response.read1(65536):
        received += part
        answer.marks.append((time.monotonic() - started, len(received)))
        answer.text = received.decode("utf-8", "replace")
        if stop and stop in answer.text:
            connection.sock.close()
            response.close()
            break
    answer.first_secs = answer.marks[0][0] if answer.marks else 0.0


def _body(request: dict[str, Any]) -> bytes | None:
    if "raw_b64" in request:
        return base64.b64decode(request["raw_b64"])
    if "raw" in request:
        return str(request["raw"]).encode("utf-8", "surrogatepass")
    if request.get("body") is None:
        return None
    return json.dumps(_filled(request["body"]), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _filled(value: Any) -> Any:
    """The short forms of large values: `!repeat_str`, `!nest`, `!list`."""
    if isinstance(value, list):
        return [_filled(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "!repeat_str" in value:
        text, times = value["!repeat_str"]
        return text * times
    if "!list" in value:
        entry, times = value["!list"]
        return [entry] * times
    if "!nest" in value:
        depth, leaf = value["!nest"]
        for _ in range(depth):
            leaf = {"type": "object", "properties": {"a": leaf}}
        return leaf
    return {key: _filled(entry) for key, entry in value.items()}


def events(text: str) -> list[tuple[str | None, str]]:
    """Event names and data of a stream; comments are dropped."""
    found = []
    for block in re.split(r"\r?\n\r?\n", text):
        name, data = None, []
        for line in block.splitlines():
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].lstrip(" "))
        if name or data:
            found.append((name, "\n".join(data)))
    return found


class Gathered:
    """What a client makes of a chat or completions stream, by choice."""

    def __init__(self, text: str) -> None:
        self.content: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.finish: dict[int, list[str]] = {}
        self.roles: dict[int, list[str]] = {}
        self._calls: dict[int, list[dict[str, str]]] = {}
        self.usage: list[tuple[int, Any]] = []
        self.ids: set[str] = set()
        self.errors: list[Any] = []
        self.logprob_tokens: list[str] = []
        self.chunks = self.done = self.after_done = self.after_finish = 0
        for name, data in events(text):
            if data == "[DONE]":
                self.done += 1
                continue
            self.after_done += self.done > 0
            self._take(name, json.loads(data) if data else {})

    def _take(self, name: str | None, body: Any) -> None:
        if name == "error" or body.get("error") or (isinstance(body.get("code"), int) and "message" in body):
            self.errors.append(body)
            return
        if "choices" not in body:
            return
        self.chunks += 1
        self.ids.add(body.get("id"))
        if body.get("usage"):
            self.usage.append((len(body["choices"]), body["usage"]))
        for choice in body["choices"]:
            self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> None:
        index, delta = choice.get("index", 0), choice.get("delta") or {}
        said = delta.get("content") or choice.get("text") or ""
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        self.after_finish += bool(self.finish.get(index) and (said or thought or delta.get("tool_calls")))
        self.content[index] = self.content.get(index, "") + said
        self.reasoning[index] = self.reasoning.get(index, "") + thought
        for part in delta.get("tool_calls") or []:
            self._calls.setdefault(part["index"], []).append(part["function"])
        if delta.get("role"):
            self.roles.setdefault(index, []).append(delta["role"])
        if choice.get("finish_reason"):
            self.finish.setdefault(index, []).append(choice["finish_reason"])
        self.logprob_tokens += [entry["token"] for entry in (choice.get("logprobs") or {}).get("content") or []]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of the stream, each put together from its deltas."""
        return [
            {
                "name": "".join(part.get("name", "") for part in parts),
                "arguments": json.loads("".join(part.get("arguments", "") for part in parts)),
            }
            for _, parts in sorted(self._calls.items())
        ]
