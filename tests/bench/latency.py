"""What a frontend adds to the time to the first token and to the gap between tokens: ours and the real one in turn.

    python -m tests.bench.latency [--rounds N] [--streams N] [--tokens N]

The workers are the paced real mockers of `versus`, so what differs between the two is the frontends' own. A client in
this process reads the streams; gaps are those between reads that brought tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.bench.versus import MODEL, mockers, settle
from tests.support.frontends import Frontend, our_frontend, real_frontend

PROMPT_WORDS = 20


@dataclass
class Times:
    """Seconds, of all streams of a frontend."""

    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        shown = [f"{name:10s}"]
        for what, values in (("first token", self.first), ("gap", self.gaps)):
            cuts = statistics.quantiles(values, n=100)
            shown.append(f"{what} p50 {cuts[49] * 1e3:7.2f} ms  p99 {cuts[98] * 1e3:7.2f} ms")
        return "   ".join(shown)


async def one(port: int, number: int, tokens: int, times: Times) -> None:
    """One stream on a connection of its own; no text twice, so that no prefix cache answers."""
    text = " ".join(f"{number}-{word}" for word in range(PROMPT_WORDS))
    fields = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "stream": True}
    body = json.dumps(fields).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    last = 0.0
    while part := await reader.read(1 << 16):
        if b'"content":"' not in part:
            continue
        now = time.perf_counter()
        if last:
            times.gaps.append(now - last)
        else:
            times.first.append(now - began)
        last = now
    writer.close()


async def measure(port: int, streams: int, tokens: int, numbers: itertools.count[int], times: Times) -> None:
    await asyncio.gather(*(one(port, next(numbers), tokens, times) for _ in range(streams)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, after one to warm up")
    parser.add_argument("--streams", type=int, default=32, help="streams at a time")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each")
    options = parser.parse_args()
    uvloop.install()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with mockers(home) as store:
            rivals: dict[str, Frontend] = {
                "ours": our_frontend(store.environment, log=home / "ours.log"),
                "original": real_frontend(store.environment, log=home / "original.log"),
            }
            try:
                for frontend in rivals.values():
                    frontend.wait_listed(MODEL)
                for frontend in rivals.values():
                    settle(frontend.process.pid)
                run_rounds(rivals, options.rounds, options.streams, options.tokens)
            finally:
                for frontend in rivals.values():
                    frontend.stop()


def run_rounds(rivals: dict[str, Frontend], rounds: int, streams: int, tokens: int) -> None:
    numbers = itertools.count()
    times = {name: Times() for name in rivals}
    for number in range(rounds + 1):
        for name, frontend in rivals.items():
            into = times[name] if number else Times()
            asyncio.run(measure(frontend.port, streams, tokens, numbers, into))
    for name, found in times.items():
        print(found.line(name), flush=True)


if __name__ == "__main__":
    main()
