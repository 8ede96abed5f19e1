"""The real frontend and ours over one scripted worker, for tests that compare what they make of the same request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.peer import ScriptedWorker
from tests.support.stores import FileStore, StoreWith

# so that a worker that was told to fail serves the next case
_NOBODY_SET_ASIDE = {"DYN_RUNTIME_INHIBITED_DURATION_SECS": "0"}


@dataclass(frozen=True)
class Pair:
    """Both frontends, and the worker that they share."""

    real: Frontend
    ours: Frontend
    worker: ScriptedWorker


@contextlib.contextmanager
def side_by_side(home: Path, arguments: Sequence[str] = ("--migration-limit", "0")) -> Iterator[Pair]:
    """`arguments` are ours; without migration, as the original by default."""
    with Cluster(StoreWith(FileStore(home / "store"), _NOBODY_SET_ASIDE), home) as cluster:
        worker = cluster.scripted_worker()
        real = cluster.real_frontend("tiny")
        yield Pair(real, cluster.frontend("tiny", arguments=list(arguments)), worker)
