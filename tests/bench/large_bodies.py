"""What large request bodies cost everybody else: healthy streams beside them, memory, and the answer that each gets.

    python -m tests.bench.large_bodies [--bodies N] [--megabytes N] [--shapes text,ids,objects] [--original]

Streams run before and beside the bodies, which come all at once from a process of their own. Times are of the streams:
to their first token, and between tokens. README.md beside this file says how the figures may mislead.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop

from tests.bench import process_tree
from tests.bench.latency import Times, one
from tests.bench.versus import MODEL, SETTLE_SECS, mockers
from tests.support.frontends import Frontend, our_frontend, real_frontend
from tests.support.raw_http import exchange, post

LANES = 8
TOKENS = 48
ALONE_SECS = 5.0
AT_LEAST_SECS = 3.0
ANSWER_SECS = 300.0
CHAT, COMPLETIONS = b"/v1/chat/completions", b"/v1/completions"


OPENING = b'{"model": "mock", "max_tokens": 1, '
# path, beginning, what is repeated, end
SHAPES = {
    "text": (CHAT, b'"messages": [{"role": "user", "content": "', b"word and ", b'"}]}'),
    "ids": (COMPLETIONS, b'"prompt": [7', b", 31337", b"]}"),
    "objects": (
        CHAT,
        b'"messages": [{"role": "user", "content": "a"}',
        b', {"role": "user", "content": "a b"}',
        b"]}",
    ),
}


def body_of(shape: str, size_bytes: int) -> tuple[bytes, bytes]:
    """Path and body of a valid request of about that size."""
    path, opening, repeated, closing = SHAPES[shape]
    return path, OPENING + opening + repeated * (size_bytes // len(repeated)) + closing


def send_all(port: int, shape: str, count: int, size_bytes: int, answers: multiprocessing.Queue[int]) -> None:
    """In a process of its own, so that only the frontend and the cores are shared: all bodies at once."""
    path, body = body_of(shape, size_bytes)
    request = post(path, body, b"connection: close")

    def send() -> None:
        try:
            status = exchange(port, [request], timeout_secs=ANSWER_SECS).status
        except OSError:
            status = -1
        answers.put(status)

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def beside(port: int, numbers: Iterator[int], until: Callable[[], bool]) -> tuple[Times, int]:
    """Streams, so many at a time, until told to stop; and how many broke off."""
    times, broken = Times(), 0

    async def lane() -> None:
        nonlocal broken
        while not until():
            try:
                await one(port, next(numbers), TOKENS, times)
            except OSError:
                broken += 1

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return times, broken


def measure(frontend: Frontend, name: str, shape: str, count: int, size_bytes: int, numbers: Iterator[int]) -> None:
    port = frontend.port
    end = time.monotonic() + ALONE_SECS
    alone, _ = asyncio.run(beside(port, numbers, lambda: time.monotonic() > end))
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[int] = context.Queue()
    sender = context.Process(target=send_all, args=(port, shape, count, size_bytes, answers))
    sender.start()
    began = time.monotonic()
    times, broken = asyncio.run(
        beside(port, numbers, lambda: not sender.is_alive() and time.monotonic() > began + AT_LEAST_SECS)
    )
    took_secs = time.monotonic() - began
    sender.join()
    statuses = collections.Counter(answers.get() for _ in range(count))
    peak = sum(map(process_tree.peak_rss_mb, process_tree.descendants(frontend.process.pid)))
    print(alone.line(f"{name} alone"), flush=True)
    print(times.line(f"{name} {shape}"), flush=True)
    print(
        f"{name:10s} {count} bodies of {size_bytes >> 20} MB ({shape}): {dict(statuses)} within {took_secs:.1f} s, "
        f"{broken} streams broken, peak RSS of the process tree {peak:.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=50)
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--original", action="store_true", help="the real frontend as well")
    options = parser.parse_args()
    uvloop.install()
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        starts = {"ours": our_frontend} | ({"original": real_frontend} if options.original else {})
        for shape, (name, start) in itertools.product(options.shapes.split(","), starts.items()):
            # one each, since what is told of memory is the most there ever was, and the mockers may not survive it
            place = home / f"{name}-{shape}"
            with mockers(place) as store:
                frontend = start(store.environment, log=place / "frontend.log")
                try:
                    frontend.wait_listed(MODEL)
                    time.sleep(SETTLE_SECS)
                    measure(frontend, name, shape, options.bodies, options.megabytes << 20, numbers)
                finally:
                    frontend.stop()


if __name__ == "__main__":
    main()
