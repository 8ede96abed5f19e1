"""How soon each form answers, how large it is and what its processes hold, beside the real frontend, in one run.

    python -m tests.bench.startup [--rounds N] [--secs S] [--json FILE]

Starts take turns and the best of each form counts; the CPU time says what a start costs whatever else the machine does.
The forms are dist/dynamo-fe, dist/dynamo-fe.d (make freeze) and the tree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import process_tree, wrk
from tests.bench.versus import MODEL, mockers, settle
from tests.support.frontends import Frontend, frozen_binary, our_frontend, real_frontend
from tests.support.peer import ROOT, peer_python
from tests.support.stores import FileStore

POLL_SECS = 0.002
LOAD = "stream128"
ORIGINAL = "original"
MB = 1e6


@dataclass
class Form:
    """One way to have a frontend. `figures` are what is printed: sizes in MB, times in seconds."""

    name: str
    start: Callable[[FileStore, Path], Frontend]
    size_bytes: int
    figures: dict[str, float] = field(default_factory=dict)


def forms() -> list[Form]:
    def ours(*command: str | Path) -> Callable[[FileStore, Path], Frontend]:
        return lambda store, log: our_frontend(store.environment, log=log, command=command)

    def original(store: FileStore, log: Path) -> Frontend:
        return real_frontend(store.environment, log=log)

    folder = ROOT / "dist" / "dynamo-fe.d"
    return [
        Form("ours, one file", ours(frozen_binary()), frozen_binary().stat().st_size),
        Form("ours, directory", ours(folder / "dynamo-fe"), bytes_below(folder)),
        Form("ours, source", ours(sys.executable, "-m", "dynamo_fe"), installed_bytes(sys.executable, "dynamo-fe")),
        Form(ORIGINAL, original, installed_bytes(peer_python(), "ai-dynamo", "ai-dynamo-runtime")),
    ]


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def installed_bytes(python: str | Path, *names: str) -> int:
    """With all that these distributions need and that is installed, without Python itself."""
    command = [python, ROOT / "tests" / "bench" / "installed.py", *names]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def wait_for_live(frontend: Frontend) -> None:
    """Until its first 200."""

    def live() -> bool:
        try:
            with urllib.request.urlopen(f"{frontend.url}/live", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    while not live():
        assert frontend.process.returncode is None, frontend.process.output()
        time.sleep(POLL_SECS)


@contextlib.contextmanager
def started(form: Form, store: FileStore, log: Path) -> Iterator[Frontend]:
    """Notes how long it took, where that is less than before."""

    def note(name: str, value: float) -> None:
        form.figures[name] = min(value, form.figures.get(name, value))

    began = time.monotonic()
    frontend = form.start(store, log)
    try:
        wait_for_live(frontend)
        note("first 200, s", time.monotonic() - began)
        note("CPU to it, s", process_tree.cpu_secs(frontend.process.pid))
        frontend.wait_listed(MODEL)
        note("model listed, s", time.monotonic() - began)
        yield frontend
    finally:
        frontend.stop()


def note_memory(form: Form, frontend: Frontend, when: str) -> None:
    """Proportional set size: what processes share counts once. The largest process is the one that serves."""
    tree = process_tree.descendants(frontend.process.pid)
    each = [process_tree.process_memory(pid) for pid in tree]
    form.figures[f"{when}: processes"] = len(tree)
    form.figures[f"{when}: PSS of all, MB"] = sum(memory.pss_mb for memory in each)
    form.figures[f"{when}: RSS of the largest, MB"] = max(memory.rss_mb for memory in each)


def measure_memory(form: Form, store: FileStore, log: Path, secs: int) -> None:
    with started(form, store, log) as frontend:
        settle(frontend.process.pid)
        note_memory(form, frontend, "idle")
        report = wrk.load(frontend.url, LOAD, model=MODEL, secs=secs, seed=1)
        assert report.requests and not report.errors, report
        settle(frontend.process.pid)
        note_memory(form, frontend, "loaded")


def print_table(rivals: list[Form]) -> None:
    original = next(form for form in rivals if form.name == ORIGINAL)
    print(f"{'':28}" + "".join(f"{form.name:>18}" for form in rivals))
    for name in original.figures:
        print(f"{name:28}" + "".join(f"{form.figures[name]:18.2f}" for form in rivals))
    print("ours / original:")
    for name, theirs in original.figures.items():
        print(f"{name:28}" + "".join(f"{form.figures[name] / theirs:18.2f}" for form in rivals))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured starts of each form, after one to warm up")
    parser.add_argument("--secs", type=int, default=6, help="length of the load")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "startup.json")
    options = parser.parse_args()
    rivals = forms()
    with tempfile.TemporaryDirectory() as folder, mockers(Path(folder)) as store:
        for number in range(options.rounds + 1):
            for form in rivals:
                with started(form, store, Path(folder) / f"{form.name}-{number}.log"):
                    pass
                if number == 0:
                    form.figures.clear()
        for form in rivals:
            form.figures["size, MB"] = form.size_bytes / MB
            measure_memory(form, store, Path(folder) / f"{form.name}-loaded.log", options.secs)
    print_table(rivals)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({form.name: form.figures for form in rivals}, indent=1) + "\n")


if __name__ == "__main__":
    main()
