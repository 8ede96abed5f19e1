"""Memory and open files over a soak: rounds of many long prompts, after each of which they should be where they were.

    python -m tests.bench.memory [--rounds N] [--prompts N] [--words N] [--parallel N] [--original]

Resident memory of the frontend's process tree is taken after a pause behind every round. README.md beside this file
says how the figures may mislead.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from tests.bench import process_tree
from tests.bench.versus import MODEL, SETTLE_SECS, mockers
from tests.support.frontends import Frontend, our_frontend, real_frontend
from tests.support.verdicts import at_most, chat, http

PAUSE_SECS = 5.0
# On a slow machine some would be refused, and the soak be none.
UNREFUSED = {"DYN_FE_MAX_WAIT_SECS": "0", "DYN_FE_CAPACITY_FACTOR": "0"}
SYLLABLES = ("ba", "cen", "di", "for", "ga", "hin", "jo", "kel", "lu", "men", "no", "per", "qui", "ras", "so", "tur")


def prompt(words: int, seed: int) -> str:
    """Words that no prompt before had in this order, of many kinds."""
    source = random.Random(seed)
    return " ".join("".join(source.choices(SYLLABLES, k=source.randint(1, 4))) for _ in range(words))


def open_files(pid: int) -> int:
    return sum(len(os.listdir(f"/proc/{member}/fd")) for member in process_tree.descendants(pid))


async def storm(url: str, prompts: int, words: int, parallel: int, seeds: Iterator[int]) -> dict[int, int]:
    """One round; how many answers of each status there were."""
    async with http(url, timeout_secs=600) as client:

        async def one() -> object:
            messages = [{"role": "user", "content": prompt(words, next(seeds))}]
            return await chat(client, True, max_tokens=8, messages=messages)

        tally = await at_most(parallel, (one() for _ in range(prompts)))  # type: ignore[misc]
    assert not tally.broken, tally.broken[:3]
    return dict(tally.statuses)


def soak(frontend: Frontend, name: str, options: argparse.Namespace) -> None:
    pid, seeds = frontend.process.pid, itertools.count()
    figures = [(process_tree.memory(pid).rss_mb, open_files(pid))]
    print(f"{name:10s} before:  {figures[0][0]:5.0f} MB, {figures[0][1]} open files", flush=True)
    for number in range(1, options.rounds + 1):
        statuses = asyncio.run(storm(frontend.url, options.prompts, options.words, options.parallel, seeds))
        time.sleep(PAUSE_SECS)
        figures.append((process_tree.memory(pid).rss_mb, open_files(pid)))
        print(
            f"{name:10s} round {number}: {figures[-1][0]:5.0f} MB ({figures[-1][0] / figures[1][0]:.2f} of the first), "
            f"{figures[-1][1]} open files, {json.dumps(statuses)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=768)
    parser.add_argument("--words", type=int, default=8000)
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--original", action="store_true", help="the real frontend as well")
    options = parser.parse_args()
    uvloop.install()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with mockers(home, speedup_ratio=0) as store:
            starts = {"ours": our_frontend} | ({"original": real_frontend} if options.original else {})
            for name, start in starts.items():
                frontend = start(store.environment | UNREFUSED, log=home / f"{name}.log")
                try:
                    frontend.wait_listed(MODEL)
                    time.sleep(SETTLE_SECS)
                    soak(frontend, name, options)
                finally:
                    frontend.stop()


if __name__ == "__main__":
    main()
