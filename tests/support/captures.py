"""The captures in tests/fixtures/http: reading a case, and making two exchanges comparable.

What differs from run to run is replaced before comparing: uuids by their order of appearance (so that two places that
held the same uuid must still hold the same), `created` by 0, `mdc_sum` (it covers the path of the model) by a word.
"""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPTURES = Path(__file__).parent.parent / "fixtures" / "http"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Set by the server or by how the body is framed, not part of the answer.
TRANSPORT_HEADERS = {"date", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case, the body without chunked coding."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    def content(self) -> Any:
        """JSON decoded, an event stream as its list of frames, anything else as text."""
        if self.content_type == "application/json":
            return json.loads(self.body)
        if self.content_type == "text/event-stream":
            return frames(self.body.decode())
        return self.body.decode()


@dataclass(frozen=True)
class Case:
    """One capture: what was asked, what the worker was told to say, what it saw, what was answered."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    said: Any
    saw: list[dict[str, Any]]
    answer: Answer


def load(name: str) -> Case:
    """Raises FileNotFoundError when there is no such case."""
    folder = CAPTURES / name
    request = json.loads((folder / "request.json").read_text())
    body = request["body"]
    if body is not None:
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    said, saw = (_optional(folder / f"worker_{verb}.json") for verb in ("said", "saw"))
    answer = _answer((folder / "response.txt").read_bytes())
    return Case(name, request["method"], request["path"], request["headers"], body, said, saw or [], answer)


def names() -> list[str]:
    return sorted(path.parent.name for path in CAPTURES.glob("*/request.json"))


def ask(port: int, case: Case) -> Answer:
    """Send the case's request to 127.0.0.1:port with no header of our own beside host and content-length."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(case.method, case.path, body=case.body, headers=case.headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


def frames(text: str) -> list[list[Any]]:
    """The frames of an event stream: each the list of its lines, `data: {...}` lines as ["data", object]."""
    assert text.endswith("\n\n"), f"the stream ends in the middle of a frame: {text[-80:]!r}"
    return [[_line(line) for line in frame.split("\n")] for frame in text[:-2].split("\n\n")]


class Normaliser:
    """One for each exchange, so that a uuid's place in the answer and in what the worker saw is compared too."""

    def __init__(self) -> None:
        self._uuids: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._entry(key, value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [self(entry) for entry in value]
        if isinstance(value, str):
            return UUID.sub(lambda match: self._uuids.setdefault(match[0], f"<uuid {len(self._uuids)}>"), value)
        return value

    def _entry(self, key: str, value: Any) -> Any:
        if key == "created":
            return 0
        if key == "mdc_sum":
            return "<sum>"
        return self(value)


def comparable(answer: Answer, saw: list[dict[str, Any]]) -> dict[str, Any]:
    """The exchange as plain values. Requests of a batch reach workers in any order: sorted by their id."""
    normalise = Normaliser()
    headers = {name: value for name, value in answer.headers.items() if name not in TRANSPORT_HEADERS}
    requests = [{key: entry[key] for key in ("id", "metadata", "request")} for entry in saw]
    return {
        "status": answer.status,
        "headers": headers,
        "content": normalise(answer.content()),
        "worker_saw": normalise(sorted(requests, key=lambda entry: entry["id"])),
    }


def _line(line: str) -> Any:
    return ["data", json.loads(line[6:])] if line.startswith("data: {") else line


def _optional(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _answer(text: bytes) -> Answer:
    head, body = text.split(b"\n\n", 1)
    status, *lines = head.decode().split("\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)
