"""The faults that were recorded with Dynamo 1.6.1, and what ours asks for after each: a table, run on a fake server.

The recorded frontend waits up to 30 s, without jitter, never lists after an HTTP 410 and ignores Retry-After; the waits
of ours are held in tests/unit/test_kube_resume.py. Whatever the server does, no worker is lost, and what happens
afterwards is seen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dynamo_fe.discovery.backoff import Backoff
from dynamo_fe.discovery.kube_client import KubeClient
from dynamo_fe.discovery.kube_config import load_access
from dynamo_fe.discovery.kube_join import Join
from dynamo_fe.discovery.kube_paths import metadatas, slices
from dynamo_fe.discovery.kube_readiness import SliceReadiness
from dynamo_fe.discovery.kube_reflector import Reflector
from dynamo_fe.discovery.kube_resume import Resume
from dynamo_fe.discovery.kube_view import KubeView
from tests.support.kube_objects import endpoint_entry, ready_slice, record
from tests.support.kube_server import NAMESPACE, KubeServer

FIXTURES = Path(__file__).parent.parent / "fixtures" / "kubernetes"
RECORDED = {case["id"]: case for case in json.loads((FIXTURES / "retry_schedules.json").read_text())}
SLICES = "endpointslices"
PATIENCE_SECS = 30.0


class Row(NamedTuple):
    """`provoke` brings the fault about; `asked` is what ours then sends about EndpointSlices. `at_start`: the fault is
    there before the first list."""

    provoke: Callable[[KubeServer], object]
    asked: str
    at_start: bool = False


def on_watch(action: dict[str, object], times: int) -> Callable[[KubeServer], object]:
    """A fault of the next watches of slices, after the open ones have ended."""

    def provoke(server: KubeServer) -> None:
        server.fault(action, verb="watch", resource=SLICES, times=times)
        server.watches("eof")

    return provoke


def compacted(server: KubeServer) -> None:
    server.compact(hard=True)
    server.watches("eof")


def list_fault(action: dict[str, object], times: int) -> Callable[[KubeServer], object]:
    def provoke(server: KubeServer) -> None:
        server.fault(action, verb="list", resource=SLICES, times=times)
        server.watches("error410")

    return provoke


def token_switched(server: KubeServer) -> None:
    (server.directory / "token").write_text("T2")
    server.accept_tokens("T2")
    server.watches("eof")


def away(server: KubeServer) -> None:
    server.compact(hard=True)
    server.stop()
    server.start()


TABLE = {
    "bookmark": Row(lambda server: server.watches("bookmark"), ""),
    "all watches end orderly": Row(lambda server: server.watches("eof"), "watch"),
    "all watches reset": Row(lambda server: server.watches("reset"), "watch"),
    "410 ERROR event": Row(lambda server: server.watches("error410"), "list watch"),
    "history compacted, watches end": Row(compacted, "watch list watch"),
    "HTTP 410 on the watch request, 4 times": Row(on_watch({"status": 410}, 4), "watch list " * 4 + "watch"),
    "HTTP 500 on the watch request, 4 times": Row(on_watch({"status": 500}, 4), "watch " * 5),
    "HTTP 403 on the watch request, 4 times": Row(on_watch({"status": 403}, 4), "watch " * 5),
    "HTTP 429 Retry-After 3 on the watch request, twice": Row(
        on_watch({"status": 429, "retry_after": 1}, 2), "watch watch watch"
    ),
    "HTTP 504 plain text on the watch request, twice": Row(
        on_watch({"status": 504, "text": "upstream timed out"}, 2), "watch watch watch"
    ),
    "garbage line on the watch, twice": Row(on_watch({"raw": "garbage"}, 2), "watch watch list watch"),
    "ERROR event 500, twice": Row(on_watch({"watch_error": 500}, 2), "watch watch watch"),
    "empty watch answers, 8 times": Row(on_watch({"eof": True}, 8), "watch " * 9),
    "410 event, then 429 Retry-After 3 on list, twice": Row(
        list_fault({"status": 429, "retry_after": 1}, 2), "list list list watch"
    ),
    "410 event, then list refused for 12 s": Row(list_fault({"status": 500}, 5), "list " * 6 + "watch"),
    "token file rewritten, old token refused (401), watches ended": Row(token_switched, "watch"),
    "API server down for 60 s, counted from its return; history before resourceVersion 1012 gone": Row(
        away, "watch list watch"
    ),
    "start: 403 on list of endpointslices": Row(
        lambda server: server.fault({"status": 403}, verb="list", resource=SLICES, times=3), "list " * 4 + "watch", True
    ),
    "start: CRD not installed": Row(lambda server: server.install_crd(False), "list watch", True),
}


@pytest.fixture
def server(kube_server: KubeServer) -> KubeServer:
    """With one worker on it, and a token that is read from a file."""
    kube_server.put(SLICES, ready_slice("w0"))
    kube_server.put("dynamoworkermetadatas", record("w0", {"endpoints": {"a": endpoint_entry(1)}}))
    (kube_server.directory / "token").write_text("T1")
    kube_server.accept_tokens("T1")
    return kube_server


def kubeconfig(server: KubeServer) -> Path:
    config = json.loads(server.kubeconfig().read_text())
    config["users"][0]["user"] = {"tokenFile": "token"}
    path = server.directory / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


class Watcher:
    """Both reflectors with their waits made short."""

    def __init__(self, server: KubeServer) -> None:
        client = KubeClient(load_access({"KUBECONFIG": str(kubeconfig(server))}))
        self._server = server
        self.view = KubeView(Join(SliceReadiness()))
        pairs = ((slices(NAMESPACE), self.view.pods), (metadatas(NAMESPACE), self.view.records))
        self.reflectors = [
            Reflector(client, resource, sink, PATIENCE_SECS, Resume(Backoff(0.02, 0.1))) for resource, sink in pairs
        ]

    def instances(self) -> set[str]:
        return {key.rpartition("/")[2] for key in self.view.join.entries("v1/instances/")}

    def asked(self, since: int = 0) -> str:
        """What was sent about slices."""
        return " ".join(each["verb"] for each in self._server.requests(resource=SLICES)[since:])

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECS):
                while not holds():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not {what}: {self.asked()}, {[each.fault for each in self.reflectors]}") from None


async def in_thread(act: Callable[[KubeServer], object], server: KubeServer) -> None:
    await asyncio.to_thread(act, server)


def test_the_table_has_every_fault_that_was_recorded() -> None:
    assert TABLE.keys() == RECORDED.keys()


@pytest.mark.parametrize("name", TABLE)
async def test_what_is_asked_after_a_fault(server: KubeServer, name: str) -> None:
    row = TABLE[name]
    watcher = Watcher(server)
    if row.at_start:
        await in_thread(row.provoke, server)
    tasks = [asyncio.create_task(reflector.run()) for reflector in watcher.reflectors]
    try:
        await follow(server, watcher, row)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def follow(server: KubeServer, watcher: Watcher, row: Row) -> None:
    """From the first view over the fault to a worker that comes after it; none is lost on the way."""
    expected = row.asked.split()
    if row.at_start:
        await watcher.until(lambda: watcher.asked().split() == expected, "what the table says")
        await in_thread(lambda server: server.install_crd(True), server)
        await watcher.until(lambda: watcher.instances() == {"1"}, "seen at last")
    else:
        await watcher.until(lambda: watcher.asked() == "list watch" and watcher.view.synced, "followed")
        assert watcher.instances() == {"1"}
        await in_thread(row.provoke, server)
        await watcher.until(lambda: watcher.asked(2).split() == expected, "what the table says")
        assert watcher.instances() == {"1"}
    late = record("w1", {"endpoints": {"a": endpoint_entry(2)}})
    await asyncio.to_thread(server.put, "dynamoworkermetadatas", late)
    await asyncio.to_thread(server.put, SLICES, ready_slice("w0", "w1"))
    await watcher.until(lambda: watcher.instances() == {"1", "2"}, "seen afterwards")
    assert watcher.asked(0 if row.at_start else 2).split() == expected
    assert all(not each.fault for each in watcher.reflectors)
