"""Ranks that requests name, by header and in the body, told to the real frontend and ours over the same workers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.asking import HELLO
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.metrics_page import scrape
from tests.support.stores import FileStore, registered

ENDPOINT = "dyn://dynamo.backend.generate"
LAST_INPUT = "dynamo_frontend_worker_last_input_sequence_tokens"
UNREADABLE = ("abc", "-1", "1.5", "", "4294967296")


class Frontends(NamedTuple):
    """Both in one mode, and a worker of two ranks that both know."""

    mode: str
    real: Frontend
    ours: Frontend
    worker_id: int


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two real mockers of two ranks each."""
    home = tmp_path_factory.mktemp("rank-pins")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mocker(workers=2, speedup_ratio=0, arguments=("--data-parallel-size", "2", "--block-size", "16"))
        yield cluster


@pytest.fixture(scope="module", params=["round-robin", "direct", "kv"])
def both(workers: Cluster, request: pytest.FixtureRequest) -> Frontends:
    arguments = ("--router-mode", request.param)
    worker_id = int(min(registered(workers.store.keys(), ENDPOINT)), 16)
    real, ours = workers.real_frontend("mock", arguments=arguments), workers.frontend("mock", arguments=arguments)
    return Frontends(request.param, real, ours, worker_id)


def asked(frontend: Frontend, ranks: tuple[str, ...], worker_id: int | None = None, **nvext: Any) -> tuple[int, Any]:
    """Status and body of a request with these `x-dp-rank` headers, one behind the other."""
    body = {"model": "mock", "messages": HELLO, "max_tokens": 2, "nvext": {"extra_fields": ["worker_id"], **nvext}}
    document = json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", frontend.port, timeout=30)
    try:
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(document)))
        if worker_id is not None:
            connection.putheader("x-worker-instance-id", str(worker_id))
        for rank in ranks:
            connection.putheader("x-dp-rank", rank)
        connection.endheaders(document)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


@pytest.mark.parametrize("ranks", [("1",), ("+1",), (" 1 ",), ("1", "0"), ("1", "abc")])
def test_the_rank_of_a_named_worker_is_told(both: Frontends, ranks: tuple[str, ...]) -> None:
    theirs, ours = (asked(frontend, ranks, both.worker_id) for frontend in (both.real, both.ours))
    assert ours[0] == theirs[0] == 200
    assert ours[1]["nvext"] == theirs[1]["nvext"]
    assert ours[1]["nvext"]["worker_id"]["decode_dp_rank"] == 1


def test_the_body_names_the_rank_where_the_header_cannot_be_read(both: Frontends) -> None:
    nvext = {"backend_instance_id": both.worker_id, "dp_rank": 1}
    theirs, ours = (asked(frontend, ("abc",), **nvext) for frontend in (both.real, both.ours))
    assert ours[0] == theirs[0] == 200 and ours[1]["nvext"] == theirs[1]["nvext"]


def test_the_last_request_of_a_named_rank_stands_under_it(both: Frontends) -> None:
    labels = (f'worker_id="{both.worker_id}"', 'dp_rank="1"')
    found = []
    for frontend in (both.real, both.ours):
        assert asked(frontend, ("1",), both.worker_id)[0] == 200
        page = scrape(frontend.port)
        found.append([value for (name, *own), value in page.items() if name == LAST_INPUT and {*labels} <= {*own}])
    assert found[1] == found[0] and len(found[1]) == 1


@pytest.mark.parametrize("rank", UNREADABLE)
def test_a_header_that_cannot_be_read_is_none(both: Frontends, rank: str) -> None:
    theirs, ours = (asked(frontend, (rank,)) for frontend in (both.real, both.ours))
    assert ours[0] == theirs[0] == (400 if both.mode == "direct" else 200)
    # of several the first counts
    theirs, ours = (asked(frontend, (rank, "1"), both.worker_id) for frontend in (both.real, both.ours))
    if both.mode != "kv":
        assert ours[0] == theirs[0] == 200 and ours[1]["nvext"] == theirs[1]["nvext"]
        return
    # the original cannot do without a rank, and says so by an internal error
    assert (theirs[0], ours[0], ours[1]["error"]["param"]) == (500, 400, "x-dp-rank")
    assert ours[1]["message"].startswith(f"x-dp-rank {rank!r} is no rank. Worker {both.worker_id} has 2 ranks: ")


@pytest.mark.parametrize("rank", ["2", "99", "4294967295"])
def test_a_rank_that_the_worker_lacks_is_refused(both: Frontends, rank: str) -> None:
    assert asked(both.real, (rank,), both.worker_id)[0] == (500 if both.mode == "kv" else 400)
    status, answer = asked(both.ours, (rank,), both.worker_id)
    assert (status, answer["error"]["param"]) == (400, "x-dp-rank")
    assert answer["message"] == f"x-dp-rank {rank!r} is not one of worker {both.worker_id}: it has 0 to 1"
    status, answer = asked(both.ours, (), backend_instance_id=both.worker_id, dp_rank=int(rank))
    assert (status, answer["error"]["param"]) == (400, "nvext.dp_rank")
    assert answer["message"] == f"dp_rank {rank} is not one of worker {both.worker_id}: it has 0 to 1"


@pytest.mark.parametrize("rank", ["1", "99"])
def test_a_rank_without_its_worker(both: Frontends, rank: str) -> None:
    theirs, ours = (asked(frontend, (rank,)) for frontend in (both.real, both.ours))
    if both.mode == "kv":
        assert ours[0] == theirs[0] == 200
        return
    assert ours[0] == theirs[0] == 400
    assert ours[1]["message"] == theirs[1]["message"] == "Invalid request"
    assert ours[1]["error"]["param"] == "x-dp-rank"
    assert ours[1]["error"]["message"] == f"Invalid request: x-dp-rank {rank!r} names a rank without its worker"
