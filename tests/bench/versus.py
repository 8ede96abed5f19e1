"""Ours and the real frontend in turn over the same real mockers, in one run.

    python -m tests.bench.versus [--rounds N] [--secs S] [--scenarios stream128,unary1,long8k] [--saturated] [--frozen]

Every frontend runs all the time; the load goes to one after the other, in rounds, so that a busy moment of the machine
meets all. README.md beside this file says how the figures may mislead.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import process_tree, wrk
from tests.support.frontends import Frontend, frozen_binary, our_frontend, real_frontend
from tests.support.models import make_large_model
from tests.support.peer import Mocker
from tests.support.stores import FileStore

MODEL = "mock"
# Of the mockers: like a GPU, or so fast that the frontend is what limits.
PACED, SATURATED = 1.0, 20.0
# Nothing is measured before ours:auto has changed over to its second tokenizer, which a busy machine delays.
SETTLE_SECS = 5.0
LONGEST_SETTLE_SECS = 60.0
QUIET_SHARE = 0.05
IDLE_SECS = 3.0
WARM_UP_SECS = 2
SCENARIOS = ("stream128", "unary1", "long8k")
LONG_ONLY = frozenset({"long8k"})


@dataclass
class Contender:
    """A frontend of this run with its `arguments`."""

    name: str
    ours: bool
    arguments: tuple[str, ...]
    scenarios: frozenset[str]
    frontend: Frontend | None = None
    rounds: dict[str, list[tuple[wrk.Report, float]]] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        assert self.frontend is not None
        return self.frontend.process.pid

    def median(self, scenario: str) -> tuple[float, float]:
        """Requests per second and CPU seconds per request."""
        rates, costs = zip(
            *((report.requests / report.secs, cpu / max(report.requests, 1)) for report, cpu in self.rounds[scenario]),
            strict=True,
        )
        return statistics.median(rates), statistics.median(costs)


def contenders() -> list[Contender]:
    """The tokenizer shows in the long prompts; only two run the other scenarios as well."""

    def one(name: str, scenarios: frozenset[str]) -> Contender:
        side, tokenizer = name.split(":")
        return Contender(name, side == "ours", ("--tokenizer", tokenizer), scenarios)

    everything = frozenset(SCENARIOS)
    return [
        one("ours:auto", everything),
        one("original:default", everything),
        one("ours:default", LONG_ONLY),
        one("ours:fastokens", LONG_ONLY),
        one("original:fastokens", LONG_ONLY),
    ]


# Which of ours is compared with which of the original's.
PAIRS = [
    ("ours:auto", "original:default"),
    ("ours:default", "original:default"),
    ("ours:fastokens", "original:fastokens"),
    ("ours:auto", "original:fastokens"),
]


@contextlib.contextmanager
def mockers(home: Path, workers: int = 2, speedup_ratio: float = PACED) -> Iterator[FileStore]:
    """Real mockers with the large vocabulary."""
    store = FileStore(home / "store")
    model = make_large_model(home / "model")
    mocker = Mocker(store, model, log=home / "mocker.log", name=MODEL, workers=workers, speedup_ratio=speedup_ratio)
    try:
        mocker.wait_ready()
        yield store
    finally:
        mocker.stop()


def settle(pid: int) -> None:
    """Waits until the tree has nothing left to do of what follows a start."""
    began = time.monotonic()
    time.sleep(SETTLE_SECS)
    while time.monotonic() - began < LONGEST_SETTLE_SECS:
        before = process_tree.cpu_secs(pid)
        time.sleep(1)
        if process_tree.cpu_secs(pid) - before < QUIET_SHARE:
            return


def start(contender: Contender, store: FileStore, home: Path, frozen: bool) -> None:
    """Start it, and print what it costs while it does nothing."""
    log = home / f"{contender.name.replace(':', '-')}.log"
    arguments = contender.arguments
    begin = time.monotonic()
    if contender.ours:
        command = [frozen_binary()] if frozen else None
        contender.frontend = our_frontend(store.environment, log=log, arguments=arguments, command=command)
    else:
        contender.frontend = real_frontend(store.environment, log=log, arguments=arguments)
    contender.frontend.wait_listed(MODEL)
    listed_secs = time.monotonic() - begin
    settle(contender.pid)
    before = process_tree.cpu_secs(contender.pid)
    time.sleep(IDLE_SECS)
    idle = (process_tree.cpu_secs(contender.pid) - before) / IDLE_SECS
    memory = process_tree.memory(contender.pid)
    print(
        f"{contender.name:20s} listed after {listed_secs:5.2f} s   idle: RSS {memory.rss_mb:4.0f} MB "
        f"PSS {memory.pss_mb:4.0f} MB  CPU {idle:.2%}",
        flush=True,
    )


def measure(contender: Contender, scenario: str, secs: int, seed: int) -> tuple[wrk.Report, float]:
    """The report of one load and the CPU seconds that the frontend's whole tree spent on it."""
    assert contender.frontend is not None
    before = process_tree.cpu_secs(contender.pid)
    report = wrk.load(contender.frontend.url, scenario, model=MODEL, secs=secs, seed=seed)
    return report, process_tree.cpu_secs(contender.pid) - before


def run_scenario(
    rivals: list[Contender], scenario: str, rounds: int, secs: int, pairs: Sequence[tuple[str, str]] = PAIRS
) -> None:
    # No text twice: what one frontend asked would be in the mockers' prefix cache for the next.
    seeds = itertools.count(1)
    for number in range(rounds + 1):
        for contender in rivals:
            warm_up = number == 0
            result = measure(contender, scenario, WARM_UP_SECS if warm_up else secs, next(seeds))
            if not warm_up:
                contender.rounds.setdefault(scenario, []).append(result)
    for contender in rivals:
        rate, cost = contender.median(scenario)
        reports = [report for report, _ in contender.rounds[scenario]]
        print(
            f"{scenario:10s} {contender.name:20s} {rate:8.1f} req/s {rate * wrk.TOKENS[scenario]:9.0f} tokens/s  "
            f"{cost * 1e3:8.3f} CPU-ms/request  "
            f"{cost / wrk.TOKENS[scenario] * 1e6:8.1f} CPU-us/token  p99 {reports[-1].p99:>8s}  "
            f"errors {sum(report.errors for report in reports)}",
            flush=True,
        )
    for ours, theirs in pairs:
        both = [next((c for c in rivals if c.name == name), None) for name in (ours, theirs)]
        if both[0] and both[1]:
            ratio = both[0].median(scenario)[1] / both[1].median(scenario)[1]
            print(f"{scenario:10s} CPU of {ours} / {theirs}: {ratio:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each scenario, after one to warm up")
    parser.add_argument("--secs", type=int, default=6, help="length of one load")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--saturated", action="store_true", help="workers that are faster than the frontends")
    parser.add_argument("--frozen", action="store_true", help="ours is dist/dynamo-fe instead of the tree")
    options = parser.parse_args()
    scenarios = options.scenarios.split(",")
    running = [contender for contender in contenders() if contender.scenarios & set(scenarios)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        store = stack.enter_context(mockers(home, speedup_ratio=SATURATED if options.saturated else PACED))
        for contender in running:
            start(contender, store, home, options.frozen)
            assert contender.frontend is not None
            stack.callback(contender.frontend.stop)
        for scenario in scenarios:
            rivals = [contender for contender in running if scenario in contender.scenarios]
            run_scenario(rivals, scenario, options.rounds, options.secs)
        for contender in running:
            memory = process_tree.memory(contender.pid)
            print(f"{contender.name:20s} loaded: RSS {memory.rss_mb:4.0f} MB  PSS {memory.pss_mb:4.0f} MB")


if __name__ == "__main__":
    main()
