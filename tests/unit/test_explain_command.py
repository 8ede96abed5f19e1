"""`dynamo-fe explain` before it asks: what it takes for an address, and whom it would not ask."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dynamo_fe.cli import explain
from tests.support.processes import free_port


class Stranger(ThreadingHTTPServer):
    """A frontend that is not ours; it would execute what it is sent."""

    executed: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: Stranger

    def do_GET(self) -> None:
        self._answer(b'{"status": "ready"}' if self.path == "/ready" else b'{"data": [{"id": "mock"}]}')

    def do_POST(self) -> None:
        self.server.executed.append(self.path)
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to be printed."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger(("127.0.0.1", 0), _Handler) as server:
        server.executed = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_frontend_that_is_not_ours_is_sent_nothing(
    stranger: Stranger, scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"127.0.0.1:{stranger.server_port}"
    assert explain.run(["--url", scheme + url, "--prompt", "hello"]) == 1
    assert f"http://{url}: not a dynamo-fe" in capsys.readouterr().err
    assert stranger.executed == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:8000", "http://", "http://host:port", "http://[::1"])
def test_other_addresses_are_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(["--url", url, "--prompt", "hello"]) == 2
    said = f"dynamo-fe explain: --url {url}: not an http:// or https:// address\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("argv", [[], ["--bogus"], ["--prompt", "a", "--request", "b"], ["--prompt"]])
def test_a_wrong_command_line_is_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and err.startswith("dynamo-fe explain: ")


def test_a_frontend_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert explain.run(["--url", f"127.0.0.1:{port}", "--prompt", "a", "--model", "m"]) == 1
    assert capsys.readouterr().err == f"dynamo-fe explain: http://127.0.0.1:{port}: Connection refused\n"


def test_a_file_that_is_not_there_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "request.json"
    assert explain.run(["--request", str(missing)]) == 2
    assert capsys.readouterr().err == f"dynamo-fe explain: {missing}: No such file or directory\n"


def test_a_standard_input_that_is_closed_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        assert explain.run(["--request", "-"]) == 2
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert capfd.readouterr().err == "dynamo-fe explain: standard input: Bad file descriptor\n"
