"""Our router and the real frontend's side by side over the same real workers: load and sessions are shared, by ZMQ
and by NATS.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import ask, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.metrics_page import scrape
from tests.support.nats_server import store_with_events
from tests.support.stores import FileStore

ROUTING = (
    "--router-mode", "kv", "--router-replica-sync", "--router-session-affinity-ttl-secs", "600", "--no-router-kv-events"
)  # fmt: skip
LONG = " ".join(f"word{at}" for at in range(300))


@pytest.fixture(scope="module", params=["zmq", "nats"])
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("peers")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(store_with_events(request.param, home))
        cluster = stack.enter_context(Cluster(store, home))
        cluster.mocker(workers=4)
        yield cluster


@pytest.fixture(scope="module")
def real(cluster: Cluster) -> Frontend:
    return cluster.real_frontend("mock", arguments=ROUTING)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def ours(cluster: Cluster, real: Frontend, request: pytest.FixtureRequest) -> Iterator[Frontend]:
    frontend = cluster.frontend("mock", arguments=(*ROUTING, "--workers", str(request.param)))
    until(lambda: routers(cluster) == 1 + request.param, "channels of sequence events by every router")
    yield frontend
    frontend.stop()


def routers(cluster: Cluster) -> int:
    """Those that publish; the four workers publish on the same topic."""
    return sum("active_sequences_events" in key for key in cluster.store.keys()) - 4


def body(prompt: str, **fields: Any) -> dict[str, Any]:
    return {
        "model": "mock",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 4,
        "nvext": {"extra_fields": ["worker_id"]},
        **fields,
    }


def placed(frontend: Frontend, session: str, prompt: str = "hello") -> tuple[int, int]:
    """The worker and the rank that a request of the session went to."""
    url, headers = f"{frontend.url}/v1/chat/completions", {"x-dynamo-session-id": session}
    status, text = ask(url, body(prompt), headers)
    assert status == 200, text
    found = json.loads(text)["nvext"]["worker_id"]
    return found["decode_worker_id"], found["decode_dp_rank"]


def loads(frontend: Frontend) -> dict[int, int]:
    """Active blocks by worker, as our frontend counts them."""
    url, headers = f"{frontend.url}/v1/chat/completions", {"x-dynamo-fe-explain": "only"}
    status, text = ask(url, body("x"), headers)
    assert status == 200, text
    (explanation,) = json.loads(text)["explanations"]
    return {each["worker_id"]: each["active_blocks"] for each in explanation["candidates"]}


def gauges(frontend: Frontend, name: str) -> list[float]:
    """Of every rank that has any, as operators see it; the original leaves out ranks it has not used."""
    text = ask(f"{frontend.url}/metrics")[1]
    found = map(float, re.findall(rf"^dynamo_frontend_worker_{name}{{.*}} (\S+)$", text, re.MULTILINE))
    return [number for number in found if number]


def events_heard(frontend: Frontend) -> float:
    """What others have said of their running requests, as the original counts it."""
    name = "dynamo_component_router_active_sequence_ingress_events_applied_total"
    return sum(value for (found, *_), value in scrape(frontend.port).items() if found == name)


class Held:
    """A stream of many tokens that nobody ends but `close`."""

    def __init__(self, frontend: Frontend, prompt: str = LONG) -> None:
        request = body(prompt, max_tokens=3000, stream=True, ignore_eos=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", frontend.port, timeout=30)
        self._connection.connect()
        self._socket = self._connection.sock
        headers = {"content-type": "application/json"}
        self._connection.request("POST", "/v1/chat/completions", json.dumps(request), headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        self._cut_off = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while self._answer.read1(65536):
                pass
        except (http.client.IncompleteRead, ConnectionResetError):
            self._cut_off = True

    def close(self) -> None:
        """Leaves in the middle of the stream."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._answer.close()
        self._connection.close()
        assert self._cut_off


def test_load_of_the_real_frontend_is_seen_and_gone_at_its_end(real: Frontend, ours: Frontend) -> None:
    assert max(loads(ours).values()) == 0
    held = Held(real)
    until(lambda: sorted(loads(ours).values())[-1] > 0, "the real frontend's request")
    assert sorted(loads(ours).values())[:3] == [0, 0, 0]
    shown = "active_decode_blocks"
    until(lambda: gauges(ours, shown) == gauges(real, shown) != [], f"equal gauges: {gauges(real, shown)}")
    held.close()
    until(lambda: max(loads(ours).values()) == 0, "the end of the real frontend's request")
    until(lambda: gauges(ours, shown) == [], "no load is shown")


def test_the_real_frontend_keeps_away_from_the_worker_that_ours_has_loaded(real: Frontend, ours: Frontend) -> None:
    before = events_heard(real)
    held = Held(ours)
    until(lambda: max(loads(ours).values()) > 0, "our own request")
    # ours says that it has begun and that its prompt is done, as its worker does
    until(lambda: events_heard(real) >= before + 3, "our own request, by the real frontend")
    busy = max(loads(ours), key=lambda worker: loads(ours)[worker])
    elsewhere = {placed(real, f"fresh-{at}-{ours.port}", f"{at} and other words")[0] for at in range(8)}
    held.close()
    assert busy not in elsewhere
    assert len(elsewhere) > 1
    until(lambda: max(loads(ours).values()) == 0, "the end of our own request")


def test_sessions_are_followed_both_ways(real: Frontend, ours: Frontend) -> None:
    kept = 0
    for at in range(6):
        first, second = (real, ours) if at % 2 else (ours, real)
        session = f"session-{at}-{ours.port}"
        bound = placed(first, session, f"prompt {at}")
        kept += placed(second, session, f"another {at}") == bound

        # who is asked before it has heard of the binding makes another, which is the later one and holds
        def places() -> set[tuple[int, int]]:
            return {placed(frontend, session, f"third {at}") for frontend in (real, ours)}  # noqa: B023

        until(lambda: len(places()) == 1, f"{session} followed")
        assert len(places()) == 1
    assert kept >= 4


def test_without_replica_sync_neither_hears_of_others(cluster: Cluster, real: Frontend, ours: Frontend) -> None:
    quiet = ("--router-mode", "kv", "--no-router-kv-events")
    alone = [start("mock", arguments=quiet) for start in (cluster.real_frontend, cluster.frontend)]
    for frontend in alone:
        assert ask(f"{frontend.url}/v1/chat/completions", body("hello"))[0] == 200
    held = Held(real)
    until(lambda: max(loads(ours).values()) > 0, "the real frontend's request, by who is to hear of it")
    assert [gauges(frontend, "active_decode_blocks") for frontend in alone] == [[], []]
    held.close()
    until(lambda: max(loads(ours).values()) == 0, "the end of the real frontend's request")
    for frontend in alone:
        frontend.stop()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_a_killed_frontend_had_booked_goes_with_its_channel(tmp_path: Path, processes: str) -> None:
    """On workers of its own: the real frontend would count the dead one's request for minutes."""
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        cluster.mocker(workers=4)
        ours = cluster.frontend("mock", arguments=(*ROUTING, "--workers", processes))
        other = cluster.frontend("mock", arguments=(*ROUTING, "--workers", "1"))
        until(lambda: routers(cluster) == int(processes) + 1, "channels of all routers")
        held = Held(other)
        until(lambda: max(loads(ours).values()) > 0, "the other's request")
        other.process.kill()
        until(lambda: max(loads(ours).values()) == 0, "the end of what it had booked", 60)
        held.close()
