"""Hundreds of workers that come at once on Kubernetes: how long until all are served, and how long the loop was held.

    python -m tests.bench.kube_join [--workers N] [--rounds N]

A fake API server in a process of its own; discovery and the registry of models in this one, without tokenizers to load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from dynamo_fe.discovery.kube_config import load_access
from dynamo_fe.discovery.kube_identity import Identity
from dynamo_fe.discovery.kubernetes import KubernetesDiscovery
from dynamo_fe.models.namespaces import NamespaceFilter
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.served import ServedModel
from dynamo_fe.protocol.card import ModelCard
from tests.support.kube_objects import card_entry, endpoint_entry, ready_slice, record
from tests.support.kube_server import NAMESPACE, KubeServer

CARD = json.loads((Path(__file__).parent.parent / "fixtures" / "kubernetes" / "card.json").read_text())
TICK_SECS = 0.001
SLICES = "endpointslices"


class _Tokenizer:
    def close(self) -> None:
        """Nothing was loaded."""


async def load(card: ModelCard) -> ServedModel:
    tokenizer: Any = _Tokenizer()
    return ServedModel(card.display_name, card, "sum", 0, [], None, tokenizer)


class Gaps:
    """The longest that the loop turned to nothing else, in CPU time: what neighbours take is not ours."""

    def __init__(self) -> None:
        self.longest_secs = 0.0
        self._last = time.thread_time()
        self._task = asyncio.create_task(self._tick())

    def reset(self) -> None:
        self.longest_secs, self._last = 0.0, time.thread_time()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECS)
            now = time.thread_time()
            self.longest_secs = max(self.longest_secs, now - self._last)
            self._last = now


class Frontend:
    """What of a serving process follows discovery."""

    def __init__(self, server: KubeServer) -> None:
        access = load_access({"KUBECONFIG": str(server.kubeconfig())})
        self._discovery = KubernetesDiscovery(access, Identity("frontend-0", "uid", NAMESPACE))
        self._registry = ModelRegistry(self._discovery, load, NamespaceFilter(), lambda number: None)
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._discovery.start()
        self._following = asyncio.create_task(self._registry.run())

    async def serves(self, count: int) -> None:
        """Waits until it has so many workers."""
        while sum(len(entry.instances) for entry in self._registry.sets()) != count:
            await asyncio.sleep(TICK_SECS)

    async def close(self) -> None:
        await self._registry.close()
        await self._discovery.close()


class Row:
    """Milliseconds until all are served, and the longest that the loop was held meanwhile."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._taken: list[float] = []
        self._held: list[float] = []

    async def time(self, gaps: Gaps, frontend: Frontend, act: Callable[[], Awaitable[object]], count: int) -> None:
        """The fake server's own work is in it."""
        gaps.reset()
        begun_at = time.perf_counter()
        await act()
        await frontend.serves(count)
        self._taken.append((time.perf_counter() - begun_at) * 1e3)
        self._held.append(gaps.longest_secs * 1e3)

    def line(self) -> str:
        taken, held = statistics.median(self._taken), statistics.median(self._held)
        worst = max(self._held)
        return (
            f"{self._what:16s} served after {taken:6.1f} ms; loop held for {held:4.1f} ms of CPU, worst {worst:.1f} ms"
        )


async def measure(server: KubeServer, names: list[str], rounds: int) -> None:
    gaps = Gaps()
    listed, joined = Row("the first list"), Row("one slice event")
    for _ in range(rounds):
        frontend = Frontend(server)
        await listed.time(gaps, frontend, frontend.start, len(names))
        await asyncio.to_thread(server.put, SLICES, ready_slice())
        await frontend.serves(0)
        every = ready_slice(*names)
        await joined.time(gaps, frontend, lambda every=every: asyncio.to_thread(server.put, SLICES, every), len(names))
        await frontend.close()
    print(f"{len(names)} workers")
    print(listed.line())
    print(joined.line())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    names = [f"worker-{number}" for number in range(options.workers)]
    with tempfile.TemporaryDirectory() as home:
        server = KubeServer(Path(home))
        server.start()
        try:
            for number, name in enumerate(names, 1):
                data = {"endpoints": {"a": endpoint_entry(number)}, "model_cards": {"a": card_entry(number, CARD)}}
                server.put("dynamoworkermetadatas", record(name, data))
            server.put(SLICES, ready_slice(*names))
            uvloop.run(measure(server, names, options.rounds))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
