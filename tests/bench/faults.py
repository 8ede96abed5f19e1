"""How long it takes until a start that cannot be is refused, and until a serving process that was killed is back.

    python -m tests.bench.faults [--rounds N] [--json FILE]

Of every form of the build (make freeze): seconds from the start to the exit, median of the rounds, for each cause that
tests/frozen/test_causes.py forces; then, after a kill -9 of one of two serving processes under a steady load of new
connections, seconds until another has the model in its place, and the longest that any connection waited for its
answer. The original has one process and none of these causes: there is nothing to show beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.versus import MODEL
from tests.frozen.test_causes import CAUSES, FORMS, start
from tests.support.cluster import Cluster
from tests.support.frontends import ROOT, Frontend
from tests.support.processes import children
from tests.support.stores import FileStore

Figures = dict[str, dict[str, float]]

LANES = 4
LOADED_SECS = 3.0
_REQUEST = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def refusals(form: str, rounds: int) -> dict[str, float]:
    """Seconds to the exit by cause."""
    found = {}
    for cause in CAUSES:
        took = []
        for _ in range(rounds):
            with contextlib.ExitStack() as stack:
                made = cause(Path(stack.enter_context(tempfile.TemporaryDirectory())), stack)
                began = time.monotonic()
                done = start(FORMS[form](), made)
                took.append(time.monotonic() - began)
                assert done.returncode, f"{cause.__name__} did not keep the {form} from serving"
        found[cause.__name__.replace("_", " ")] = statistics.median(took)
    return found


def serving(frontend: Frontend) -> list[int]:
    """The processes below the supervisor, which below a boot loader is its only child."""
    pid = frontend.process.pid
    while len(found := children(pid)) == 1:
        pid = found[0]
    return found


def has_model(frontend: Frontend, pid: int) -> bool:
    return f"[{pid}]: model {MODEL} is loaded" in frontend.process.output()


async def lane(port: int, ends_at: float, waits: list[float], cut: list[str]) -> None:
    """One new connection after the other."""
    while time.monotonic() < ends_at:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_REQUEST)
            answer = await reader.read()
            writer.close()
        except OSError as error:
            cut.append(type(error).__name__)
            continue
        if answer.startswith(b"HTTP/1.1 200"):
            waits.append(time.monotonic() - began)
        else:
            cut.append(answer[:12].decode() or "closed")
        await asyncio.sleep(0.005)


async def kill_one(frontend: Frontend) -> dict[str, float]:
    """What its clients see of the end of a serving process, and when there are two again."""
    waits: list[float] = []
    cut: list[str] = []
    ends_at = time.monotonic() + LOADED_SECS
    lanes = [asyncio.create_task(lane(frontend.port, ends_at, waits, cut)) for _ in range(LANES)]
    await asyncio.sleep(LOADED_SECS / 6)
    before = serving(frontend)
    killed_at = time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    while not any(has_model(frontend, pid) for pid in set(serving(frontend)) - set(before)):
        await asyncio.sleep(0.005)
    back = time.monotonic() - killed_at
    await asyncio.gather(*lanes)
    return {"back": back, "longest wait": max(waits), "answered": len(waits), "cut off": len(cut)}


def kills(form: str, rounds: int) -> dict[str, float]:
    """Medians of the rounds."""
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as home, Cluster(FileStore(Path(home) / "store"), Path(home)) as cluster:
        cluster.mock_worker()
        frontend = cluster.frontend(MODEL, arguments=("--workers", "2"), command=list(FORMS[form]()))
        for _ in range(rounds):
            found.append(asyncio.run(kill_one(frontend)))
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def table(title: str, measure: Callable[[str, int], dict[str, float]], rounds: int) -> Figures:
    figures = {form: measure(form, rounds) for form in FORMS}
    print(f"{title:32s}" + "".join(f"{form:>10s}" for form in figures))
    for name in next(iter(figures.values())):
        print(f"{name:32s}" + "".join(f"{each[name]:10.2f}" for each in figures.values()), flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "faults.json")
    options = parser.parse_args()
    figures = {
        "refused after, s": table("refused after, s", refusals, options.rounds),
        "killed": table("one of two killed, s or number", kills, options.rounds),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
