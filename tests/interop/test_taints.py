"""Taints of our mock workers, as requests require or prefer them of the real frontend and of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.asking import chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.mock_workers import ENDPOINT
from tests.support.stores import FileStore, registered

KV = ("--router-mode", "kv", "--no-router-kv-events")


class Tainted(NamedTuple):
    """Both frontends over three workers: one fast and gold, one gold, one of no taint."""

    frontends: tuple[Frontend, Frontend]
    fast: int
    gold: int
    plain: int


@pytest.fixture(scope="module")
def tainted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tainted]:
    home = tmp_path_factory.mktemp("taints")
    with Cluster(FileStore(home / "store"), home) as cluster:
        workers: list[str] = []
        for taints in (("--taints", "gold,fast"), ("--taints", "gold"), ()):
            cluster.mock_worker("--speedup-ratio", "0", "--no-kv-events", *taints)
            workers += registered(cluster.store.keys(), ENDPOINT).difference(workers)
        frontends = cluster.real_frontend("mock", arguments=KV), cluster.frontend("mock", arguments=KV)
        fast, gold, plain = (int(worker, 16) for worker in workers)
        for frontend in frontends:
            _wait_for(frontend, {fast, gold, plain})
        yield Tainted(frontends, fast, gold, plain)


def constrained(frontend: Frontend, **constraints: Any) -> tuple[int, Any]:
    nvext = {"extra_fields": ["worker_id"], "routing_constraints": constraints}
    return chat(frontend.url, "mock", max_tokens=1, nvext=nvext)


def went(frontend: Frontend, requests: int, **constraints: Any) -> set[int]:
    """The workers that so many requests went to, one after the other."""
    found = set()
    for _ in range(requests):
        status, answer = constrained(frontend, **constraints)
        assert status == 200, answer
        found.add(answer["nvext"]["worker_id"]["decode_worker_id"])
    return found


def _wait_for(frontend: Frontend, workers: set[int]) -> None:
    """Until requests go to all of them."""
    seen: set[int] = set()

    def all_seen() -> bool:
        seen.update(went(frontend, 1))
        return seen == workers

    until(all_seen, "requests at all workers")


def test_required_taints_are_all_there(tainted: Tainted) -> None:
    for frontend in tainted.frontends:
        assert went(frontend, 6, required_taints=["fast"]) == {tainted.fast}
        assert went(frontend, 6, required_taints=["fast", "gold"]) == {tainted.fast}
        assert went(frontend, 24, required_taints=["gold"]) == {tainted.fast, tainted.gold}


def test_preferred_taints_weigh(tainted: Tainted) -> None:
    for frontend in tainted.frontends:
        assert went(frontend, 6, preferred_taints={"fast": 5.0}) == {tainted.fast}
        assert went(frontend, 6, preferred_taints={"gold": -5.0}) == {tainted.plain}
        assert went(frontend, 6, required_taints=["gold"], preferred_taints={"fast": -5.0}) == {tainted.gold}
        assert tainted.plain not in went(frontend, 12, preferred_taints={"gold": 5.0})


def test_a_taint_that_nobody_has_leaves_nobody(tainted: Tainted) -> None:
    theirs, ours = (constrained(frontend, required_taints=["gold", "silver"]) for frontend in tainted.frontends)
    assert (theirs[0], ours[0]) == (500, 503)
    assert "no worker has the required taints gold, silver" in ours[1]["message"]
