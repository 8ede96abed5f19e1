"""How soon the prefix index is right again after what happens to workers, to their messages and to us.

    python -m tests.bench.kv_index_life [--rounds N] [--json FILE]

Real mockers of two ranks each on a real etcd, our frontend with one serving process and with two. The index is right
when each of some prompts is known at the rank that computed it and nowhere else, which takes a question a prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.kv_shadow import MOCKER, Shadow, gauge, known, ranks_of
from tests.support.stores import EtcdServer, StoreWith

POLL_SECS = 0.005
PATIENCE_SECS = 30.0
# so that a killed worker's keys do not stand for half a minute
LEASE = {"ETCD_LEASE_TTL": "5"}
KV = ("--router-mode", "kv", "--workers")


def secs_until(holds: Callable[[], bool], begun_at: float) -> float:
    """From `begun_at` on."""
    while not holds():
        assert time.monotonic() < begun_at + PATIENCE_SECS, "never"
        time.sleep(POLL_SECS)
    return time.monotonic() - begun_at


def indexer_of(frontend: Frontend) -> int | None:
    """The process that keeps the index for those that serve."""
    pid = frontend.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text() == "fe indexer\n":
            return int(child)
    return None


class Life:
    """One round with one number of serving processes; `took` gets seconds by what happened."""

    def __init__(self, store: StoreWith, cluster: Cluster, processes: str, took: dict[str, list[float]]) -> None:
        self.store = store
        self.cluster = cluster
        self.arguments = (*KV, processes)
        self.took = took
        self.mocker = cluster.mocker(workers=1, speedup_ratio=0, arguments=MOCKER)
        self.frontend = cluster.frontend("mock", arguments=self.arguments)
        self.doomed = ranks_of(self.frontend, 2)
        cluster.mocker(workers=1, speedup_ratio=0, arguments=MOCKER)
        self.ranks = ranks_of(self.frontend, 4)
        self.shadow = Shadow(self.frontend)

    def run(self) -> None:
        self.stored()
        self.restart()
        self.added()
        if indexer_of(self.frontend) is not None:
            self.killed_indexer()
        self.killed_worker()

    def note(self, what: str, begun_at: float, holds: Callable[[], bool]) -> None:
        self.took[what].append(secs_until(holds, begun_at))

    def right(self) -> bool:
        return self.shadow.is_known_to(self.frontend)

    def stored(self) -> None:
        self.shadow.fill(self.ranks * 4)
        self.note("blocks stored", time.monotonic(), self.right)

    def restart(self) -> None:
        again = self.cluster.frontend("mock", arguments=self.arguments)
        listed_at = time.monotonic()
        self.note("we start, from the first listed model", listed_at, lambda: self.shadow.is_known_to(again))
        again.stop()

    def added(self) -> None:
        self.cluster.mocker(workers=1, speedup_ratio=0, arguments=MOCKER)
        registered_at = time.monotonic()

        def followed() -> bool:
            live = gauge(self.frontend, "dynamo_fe_kv_event_feed", "sources_live")
            return live == 6 and len(known(self.frontend, 999)) == 6

        self.note("a worker comes, from its registration", registered_at, followed)
        self.shadow.fill(sorted(set(ranks_of(self.frontend, 6)) - set(self.ranks)))
        self.note("its first blocks", time.monotonic(), self.right)

    def killed_indexer(self) -> None:
        pid, dumps = indexer_of(self.frontend), gauge(self.frontend, "dynamo_fe_kv_event_feed", "dumps")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        self.note(
            "the indexer is killed",
            killed_at,
            lambda: gauge(self.frontend, "dynamo_fe_kv_event_feed", "dumps") >= dumps + 6 and self.right(),
        )

    def killed_worker(self) -> None:
        gone = {f"{worker:x}" for worker, _ in self.doomed}
        self.mocker.kill()
        secs_until(lambda: not any(key.rpartition("/")[2] in gone for key in self.store.keys()), time.monotonic())
        lapsed_at = time.monotonic()
        self.shadow.forget({worker for worker, _ in self.doomed})

        def forgotten() -> bool:
            return gauge(self.frontend, "dynamo_fe_kv_index", "ranks") == 4 and self.right()

        self.note("a worker was killed, from the end of its lease", lapsed_at, forgotten)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    for processes in ("1", "2"):
        took = found[processes] = defaultdict(list)
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                etcd = EtcdServer(Path(folder) / "etcd")
                etcd.directory.mkdir()
                etcd.start()
                store = StoreWith(etcd, LEASE)
                try:
                    with Cluster(store, Path(folder)) as cluster:
                        Life(store, cluster, processes, took).run()
                finally:
                    etcd.stop()
        for what, times in took.items():
            print(f"{processes} serving  {what:48s} {statistics.median(times):6.3f} s, longest {max(times):.3f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
