"""A cluster of pods on the fake API server, all stopped at the end in reverse order."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster
from tests.support.kube_server import KubeServer


class KubeCluster:
    """`pod` gives a place where a test starts what runs in that pod. As a context manager it stops them all."""

    def __init__(self, server: KubeServer, home: Path) -> None:
        self.server = server
        self._home = home
        self._started = contextlib.ExitStack()

    def pod(self, name: str, **options: Any) -> Cluster:
        """A new pod, ready unless `ready=False` (see KubeServer.pod)."""
        return self._started.enter_context(Cluster(self.server.pod(name, **options), self._home / name))

    def __enter__(self) -> KubeCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()
