"""Our own mock worker as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.peer import ROOT
from tests.support.processes import Process
from tests.support.stores import Store, registered

ENDPOINT = "dyn://dynamo.backend.generate"
RUN = "import sys; from dynamo_fe.workers.command import run; sys.exit(run(sys.argv[1:]))"


def mock_worker(store: Store, log: Path, *arguments: str, wait: bool = True) -> Process:
    """A mock worker; `wait`: until it is registered."""
    before = registered(store.keys(), ENDPOINT)
    argv = [sys.executable, "-c", RUN, "--discovery-backend", store.backend, *arguments]
    environment = store.environment | {"ETCD_LEASE_TTL": "5", "DYN_LOG": "debug"}
    worker = Process(argv, log=log, environment=environment, cwd=ROOT)
    if wait:
        worker.wait_until(lambda: len(registered(store.keys(), ENDPOINT) - before) == 1, "registration")
    return worker
