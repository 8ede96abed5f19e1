"""The parts of `dynamo-fe bench` that need no connection: what an answer says, and how durations are spread."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys

import pytest

from dynamo_fe.cli.bench.answer_text import StreamedText, TextError, WholeText, said
from dynamo_fe.cli.bench.http_answer import AnswerError, HttpAnswer
from dynamo_fe.cli.bench.options import BenchError, parse
from dynamo_fe.cli.bench.serving_cpu import ServingCpu, Unknown
from dynamo_fe.cli.bench.spread import Spread

CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
    b"5;ext=1\r\nhello\r\n1a\r\n, a longer piece of it all\r\n0\r\ntrailer: z\r\n\r\n"
)


def read(pieces: list[bytes]) -> tuple[HttpAnswer, bytes]:
    body = bytearray()
    answer = HttpAnswer(body.extend)
    for piece in pieces:
        answer.feed(piece)
    return answer, bytes(body)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_an_answer_is_the_same_however_it_is_cut(size: int) -> None:
    answer, body = read([CHUNKED[at : at + size] for at in range(0, len(CHUNKED), size)])
    assert (answer.status, answer.done, answer.reusable) == (200, True, True)
    assert body == b"hello, a longer piece of it all" and answer.headers["x"] == "y"


def test_the_end_of_an_answer_by_length_and_by_the_end_of_the_connection() -> None:
    answer, body = read([b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"])
    assert (answer.done, answer.reusable, body) == (True, False, b"abc")
    answer, body = read([b"HTTP/1.1 200 OK\r\n\r\nabc"])
    assert not answer.done
    answer.end()
    assert answer.done and body == b"abc"


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", CHUNKED[:-8]])
def test_an_answer_that_is_cut_off_is_an_error(data: bytes) -> None:
    answer, _ = read([data])
    with pytest.raises(AnswerError, match="the connection ended"):
        answer.end()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"x" * 300_000,
    ],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(AnswerError):
        read([data])


def frame(content: str | None = None, finish: str | None = None, **more: object) -> bytes:
    choice = {"delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


def test_a_streams_tokens_are_those_of_its_usage() -> None:
    texts: list[None] = []
    text = StreamedText(lambda: texts.append(None))
    whole = b": silence\n\n" + frame("") + frame("a") + frame("b") + frame(finish="stop")
    whole += b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}\n\ndata: [DONE]\n\n'
    for byte in whole:
        text.feed(bytes([byte]))
    text.end()
    assert (len(texts), text.prompt_tokens, text.completion_tokens) == (2, 7, 5)


def test_without_usage_the_frames_with_text_count() -> None:
    text = StreamedText(lambda: None)
    text.feed(frame("a") + frame("b", "length") + b"data: [DONE]\n\n")
    text.end()
    assert text.completion_tokens == 2


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (frame("a"), "stream cut short"),
        (frame("a", "stop"), "stream cut short"),
        (b"data: [DONE]\n\n", "stream cut short"),
        (frame("a") + b'event: error\ndata: {"message": "the worker is gone"}\n\n', "error in the stream"),
        (b'data: {"error": {"message": "no"}}\n\n', "error in the stream"),
        (b"data: {\n\n", "unreadable answer"),
        (b'data: {"choices": 3}\n\n', "unreadable answer"),
    ],
)
def test_a_stream_that_went_wrong_says_how(stream: bytes, kind: str) -> None:
    text = StreamedText(lambda: None)
    with pytest.raises(TextError) as failed:
        text.feed(stream)
        text.end()
    assert failed.value.kind == kind


@pytest.mark.parametrize("body", [b"", b"[]", b'{"choices": []}'])
def test_a_whole_answer_needs_choices(body: bytes) -> None:
    text = WholeText()
    text.feed(body)
    with pytest.raises(TextError):
        text.end()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no such\\nmodel"}}', "no such model"),
        (b'{"message": "busy", "type": "x"}', "busy"),
        (b'{"error": "flat"}', "flat"),
        (b"<html>bad  gateway", "<html>bad gateway"),
        (b"[1]", "[1]"),
    ],
)
def test_the_words_of_an_error(body: bytes, words: str) -> None:
    assert said(body) == words


def test_percentiles_are_at_most_one_percent_too_high() -> None:
    numbers = random.Random(1)
    durations = sorted(numbers.lognormvariate(-4, 2) for _ in range(5000))
    spread = Spread()
    for secs in durations:
        spread.add(secs)
    for percent in (1, 50, 90, 99, 100):
        exact = durations[max(0, -(-len(durations) * percent // 100) - 1)]
        assert exact <= spread.percentile_secs(percent) * (1 + 1e-9) <= exact * 1.0101
    found = spread.in_ms()
    assert found is not None and found["max"] == round(durations[-1] * 1000, 3)
    assert Spread().in_ms() is None


def test_the_cpu_time_is_that_of_who_listens_and_of_what_they_start() -> None:
    """A child burns, then a grandchild that was not there at the first look."""
    code = (
        "import socket,sys,subprocess\n"
        "s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True)\n"
        "sys.stdin.readline(); subprocess.run([sys.executable,'-c',"
        "'import time\\nwhile time.process_time()<0.3: pass\\nprint(1,flush=True); input()'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        cpu = ServingCpu.of("localhost", int(process.stdout.readline()))
        cpu.look()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "1\n"
        cpu.look()
        # the kernel counts by ticks, which a busy machine misses some of
        assert cpu.processes == 1 and cpu.secs >= 0.15
        process.stdin.write("end\n")


def test_what_runs_elsewhere_or_not_at_all_is_unknown() -> None:
    with pytest.raises(Unknown, match="another host"):
        ServingCpu.of("192.0.2.1", 80)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Unknown, match="another user"):
        ServingCpu.of("127.0.0.1", port)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--concurrency", "0"], "--concurrency"),
        (["--rate", "nan"], "--rate"),
        (["--duration-secs", "-1"], "--duration-secs"),
        (["--url", "ftp://x"], "--url ftp://x"),
        (["--url", "http://x", "--", "--workers", "2"], "leave out --url"),
        (["--concurency", "3"], "--concurency"),
        (["words"], "words"),
    ],
)
def test_a_wrong_command_line_is_one_line(argv: list[str], words: str) -> None:
    with pytest.raises(BenchError, match=words) as refused:
        parse(argv)
    assert refused.value.exit_code == 2 and "\n" not in str(refused.value)


def test_a_child_of_a_supervisor_has_the_name_of_its_role() -> None:
    from dynamo_fe.appliance.process_name import MOCK_WORKER_NAME, name_process

    pid = os.fork()
    if pid == 0:
        name_process("mock worker")
        signal.pause()
        os._exit(0)
    try:
        while open(f"/proc/{pid}/comm").read() != f"{MOCK_WORKER_NAME}\n":
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
