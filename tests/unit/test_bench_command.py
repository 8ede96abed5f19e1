"""`dynamo-fe bench` from outside, against a scripted frontend and against one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.processes import clean_environment

Answer = Callable[[asyncio.StreamWriter], None]


def whole(status: int, body: Any) -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%s" % (status, len(text), text)


def streamed(*frames: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + end


def frame(**choice: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


TEXT = frame(delta={"content": "word"})
END = frame(delta={}, finish_reason="stop") + b"data: [DONE]\n\n"
GOOD = streamed(TEXT, TEXT, END)
PROBED = whole(200, {"choices": [{}], "usage": {"prompt_tokens": 64, "completion_tokens": 1}})
ERROR = streamed(TEXT, b'event: error\ndata: {"message": "worker lost"}\n\n')


@dataclass
class Scripted:
    """Answers the streamed chats by the script, in turn; an empty answer closes the connection, None never comes."""

    script: list[bytes | None]
    models: bytes = field(default_factory=lambda: whole(200, {"data": [{"id": "m"}]}))
    probed: bytes = PROBED
    bodies: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                answer = await self._answer(head, reader)
                if answer is None:
                    self.asked.set()
                    await reader.read()
                    break
                writer.write(answer)
                if not answer.endswith((b"\n\r\n0\r\n\r\n", b"}")):
                    break
        writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader) -> bytes | None:
        if head.startswith(b"GET /v1/models "):
            return self.models
        assert head.startswith(b"POST /v1/chat/completions "), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        if body.get("stream") is not True:
            return self.probed
        self.bodies.append(body)
        return self.script[(len(self.bodies) - 1) % len(self.script)]

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()


async def start(*argv: str, stderr: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "dynamo_fe", "bench", *argv]
    return await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=stderr, env=clean_environment({})
    )


async def bench(*argv: str) -> tuple[int, str, str]:
    process = await start(*argv)
    out, err = await process.communicate()
    assert process.returncode is not None and b"Traceback" not in err
    return process.returncode, out.decode(), err.decode()


async def test_every_request_came_to_its_end() -> None:
    frontend = Scripted([GOOD])
    async with frontend.url() as url:
        code, out, err = await bench(
            "--url", f"{url}/v1", "--requests", "20", "--concurrency", "3", "--prompt-tokens", "32", "--json"
        )
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["requests"] == {"complete": 20, "failed": 0, "unfinished": 0, "started_late": 0}
    assert (found["model"], found["completion_tokens"], found["errors"]) == ("m", 40, {})
    assert found["ttft_ms"]["p50"] <= found["e2e_ms"]["max"] and found["itl_ms"]["max"] >= 0
    assert found["cpu"]["processes"] == 1
    # one connection each, and one that asked before the load
    assert frontend.connections == 4
    words = [body["messages"][0]["content"].split() for body in frontend.bodies]
    # 32 words had 64 tokens
    assert {len(each) for each in words} == {16}
    assert len({tuple(each[:6]) for each in words}) == 20
    assert frontend.bodies[0]["max_tokens"] == 64


async def test_failures_are_told_by_class() -> None:
    script = [GOOD, whole(503, {"message": "all busy"}), b"", ERROR, streamed(TEXT, end=b""), streamed(TEXT)]
    async with Scripted(script).url() as url:
        code, out, err = await bench("--url", url, "--requests", "6", "--concurrency", "1", "--json")
    found = json.loads(out)
    assert (code, err) == (4, "")
    assert {kind: each["count"] for kind, each in found["errors"].items()} == {
        "HTTP 503": 1, "no answer": 1, "error in the stream": 1, "connection lost": 1, "stream cut short": 1,
    }  # fmt: skip
    assert found["errors"]["HTTP 503"]["example"] == "all busy"
    assert found["errors"]["error in the stream"]["example"] == "worker lost"
    assert found["requests"]["complete"] == 1


async def test_a_request_that_takes_too_long_is_given_up() -> None:
    async with Scripted([None]).url() as url:
        code, out, _ = await bench("--url", url, "--requests", "1", "--timeout-secs", "0.2")
    assert code == 4
    assert "1 x timeout: not through after 0.2 s" in out


@pytest.mark.parametrize(
    ("frontend", "words"),
    [
        (Scripted([], models=whole(200, {"data": []})), "serves no model"),
        (Scripted([], models=whole(404, {"message": "Not Found"})), "/v1/models: 404 Not Found"),
        (Scripted([], models=whole(200, [])), "not a list of models"),
        (Scripted([], models=b"220 mail.example ESMTP\r\n\r\n"), "it is not HTTP"),
        (Scripted([], probed=whole(500, {"error": {"message": "broken"}})), "/v1/chat/completions: 500 broken"),
        (Scripted([], probed=whole(200, {})), "it has no choices"),
    ],
)
async def test_what_cannot_be_measured_is_one_line(frontend: Scripted, words: str) -> None:
    async with frontend.url() as url:
        code, out, err = await bench("--url", url)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"dynamo-fe bench: {url}") and words in err


async def test_nobody_there_and_another_model() -> None:
    async with Scripted([GOOD]).url() as url:
        code, out, err = await bench("--url", url, "--model", "other")
        assert (code, out, err) == (1, "", f"dynamo-fe bench: {url} does not serve other; it has m\n")
    code, out, err = await bench("--url", url)
    assert (code, out, err) == (1, "", f"dynamo-fe bench: {url}: Connection refused\n")


async def test_an_interrupt_reports_what_there_was() -> None:
    frontend = Scripted([GOOD, None])
    async with frontend.url() as url:
        process = await start("--url", url, "--concurrency", "1", "--duration-secs", "600", "--json")
        await frontend.asked.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    found = json.loads(out)
    assert (process.returncode, err) == (130, b"")
    assert found["interrupted"] and found["requests"]["complete"] == 1 and found["requests"]["unfinished"] == 1


async def test_a_terminal_sees_how_far_it_is() -> None:
    ours, theirs = pty.openpty()
    async with Scripted([GOOD]).url() as url:
        process = await start("--url", url, "--requests", "3", stderr=theirs)
        os.close(theirs)
        out, _ = await process.communicate()
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 0 and "3 complete" in out.decode()
    # it wipes itself out at the end
    assert " running, " in shown and "\n" not in shown and shown.endswith("\r\x1b[K")


async def test_a_frontend_of_its_own_with_words_of_serve() -> None:
    argv = ["--requests", "12", "--output-tokens", "8", "--rate", "50", "--json", "--mock-workers", "1"]
    code, out, err = await bench(*argv, "--", "--workers", "2")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["requests"]["complete"] == 12 and found["completion_tokens"] == 96
    # neither the supervisor nor the mock worker
    assert found["cpu"]["processes"] == 2


async def test_a_frontend_of_its_own_that_cannot_start_says_why() -> None:
    code, out, err = await bench("--", "--http-prt", "1")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Unknown arguments specified" in err


async def test_a_model_that_a_frontend_of_its_own_has_not_is_not_waited_for() -> None:
    code, out, err = await bench("--model", "zz", "--mock-workers", "1")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.endswith(" does not serve zz; it has mock\n")


async def test_nothing_is_left_of_a_killed_bench() -> None:
    process = await start("--duration-secs", "600")
    (frontend,) = await children_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    async with asyncio.timeout(60):
        while os.path.exists(f"/proc/{frontend}"):
            await asyncio.sleep(0.05)


async def children_of(pid: int) -> list[int]:
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            found = [int(word) for word in file.read().split()]
        if found:
            return found
        await asyncio.sleep(0.02)
