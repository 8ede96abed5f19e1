"""Where each microsecond of a token and of a request goes in our serving process.

    python -m tests.bench.profile [--secs S] [--scenarios stream128,unary1] [--functions N]

First, by thread: user and system time and switches of every thread of the serving process over one load, from /proc.
Then, by function: the same load once more under cProfile, which sees the main thread only and makes every Python call
dearer (about two to three times); read its shares and its calls per token, not its microseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pstats
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.bench import process_tree, wrk
from tests.bench.process_tree import ThreadTimes
from tests.bench.versus import MODEL, mockers, settle
from tests.support.frontends import Frontend, our_frontend
from tests.support.stores import FileStore

COMMAND = [sys.executable, "-m", "tests.bench.profiled"]
WRITE_SECS = 20.0


@contextlib.contextmanager
def served(store: FileStore, home: Path) -> Iterator[tuple[Frontend, int]]:
    """Our frontend with one serving process, and the id of that process."""
    environment = store.environment | {"PROFILE_FILE": str(home / "profile")}
    frontend = our_frontend(environment, log=home / "frontend.log", arguments=["--workers", "1"], command=COMMAND)
    try:
        frontend.wait_listed(MODEL)
        settle(frontend.process.pid)
        yield frontend, max(process_tree.descendants(frontend.process.pid)[1:], key=process_tree.cpu_secs)
    finally:
        frontend.stop()


def print_threads(before: dict[int, ThreadTimes], after: dict[int, ThreadTimes], tokens: int, unit: str) -> None:
    """The first thread is the event loop's; the others are the server's and the tokenizing ones."""
    print(f"  by thread, per {unit}:      user us  system us   sleeps  pre-empted")
    nothing = ThreadTimes("", 0.0, 0.0, 0, 0)
    totals = [0.0, 0.0]
    for tid, now in sorted(after.items()):
        then = before.get(tid, nothing)
        user, system = now.user_secs - then.user_secs, now.system_secs - then.system_secs
        totals[0] += user
        totals[1] += system
        if user + system == 0:
            continue
        switches = [
            now.voluntary_switches - then.voluntary_switches,
            now.involuntary_switches - then.involuntary_switches,
        ]
        print(
            f"    {tid:7d} {now.name:15s} {user / tokens * 1e6:10.2f} {system / tokens * 1e6:10.2f}"
            f" {switches[0] / tokens:8.2f} {switches[1] / tokens:11.2f}"
        )
    print(f"    {'all':23s} {totals[0] / tokens * 1e6:10.2f} {totals[1] / tokens * 1e6:10.2f}")


def stage(file: str) -> str:
    """The room of a function, or what it is when it has none."""
    _, found, below = file.rpartition("/dynamo_fe/")
    if found:
        return below.split("/")[0].removesuffix(".py")
    return "built in or compiled" if file == "~" else "library"


def print_functions(path: Path, tokens: int, unit: str, functions: int) -> None:
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    whole = sum(own for _, _, own, _, _ in stats.values()) or 1.0
    rooms: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, _) in stats.items():
        rooms[stage(file)] += own
    print("  by room, share of the main thread's own time under the profiler (without waiting):")
    for room, own in rooms.most_common():
        print(f"    {room:24s} {own / whole:6.1%}")
    print(f"  by function, per {unit}:   calls    own us   share")
    for (file, line, name), (_, calls, own, _, _) in sorted(stats.items(), key=lambda entry: -entry[1][2])[:functions]:
        place = name if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} {name}"
        print(f"    {place[-70:]:70s} {calls / tokens:8.2f} {own / tokens * 1e6:9.2f} {own / whole:7.1%}")


def profile_scenario(frontend: Frontend, pid: int, home: Path, scenario: str, secs: int, functions: int) -> None:
    unit = "token" if wrk.TOKENS[scenario] > 1 else "request"
    wrk.load(frontend.url, scenario, model=MODEL, secs=2, seed=0)
    before = process_tree.threads(pid)
    report = wrk.load(frontend.url, scenario, model=MODEL, secs=secs, seed=1)
    after = process_tree.threads(pid)
    print(f"{scenario}: {report.requests} requests, {report.errors} errors")
    print_threads(before, after, report.requests * wrk.TOKENS[scenario], unit)

    written = home / "profile"
    written.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    report = wrk.load(frontend.url, scenario, model=MODEL, secs=secs, seed=2)
    os.kill(pid, signal.SIGUSR2)
    frontend.process.wait_until(lambda: written.exists() and written.stat().st_size > 0, "profile", WRITE_SECS)
    print_functions(written, report.requests * wrk.TOKENS[scenario], unit, functions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secs", type=int, default=6, help="length of one load")
    parser.add_argument("--scenarios", default="stream128,unary1")
    parser.add_argument("--functions", type=int, default=25, help="how many functions to print")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with mockers(home) as store, served(store, home) as (frontend, pid):
            for scenario in options.scenarios.split(","):
                profile_scenario(frontend, pid, home, scenario, options.secs, options.functions)


if __name__ == "__main__":
    main()
