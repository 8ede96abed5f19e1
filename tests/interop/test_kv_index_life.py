"""Our frontend's index by KV events, seen from outside: it is right after every start, arrival, departure and crash."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend, our_frontend
from tests.support.kv_shadow import BLOCK, MOCKER, Shadow, chat, gauge, known, place, ranks_of
from tests.support.nats_server import NatsServer
from tests.support.stores import EtcdServer, Store, StoreWith

INDEXER = re.compile(r"indexer is process (\d+)")


@pytest.fixture(params=["zmq-1", "zmq-2", "nats-2"])
def processes_on(
    request: pytest.FixtureRequest, etcd_server: EtcdServer, tmp_path: Path
) -> Iterator[tuple[Cluster, tuple[str, ...]]]:
    """A cluster with events on that plane, and the flags for a frontend of so many processes."""
    plane, processes = request.param.split("-")
    store: Store = etcd_server
    server = NatsServer(tmp_path)
    if plane == "nats":
        server.start()
        store = StoreWith(etcd_server, {"NATS_SERVER": server.url, "DYN_EVENT_PLANE": "nats"})
    with Cluster(store, tmp_path) as cluster:
        yield cluster, ("--router-mode", "kv", "--workers", processes)
    server.stop()


def test_it_follows_workers_that_come_and_go_and_survives_us(
    processes_on: tuple[Cluster, tuple[str, ...]],
) -> None:
    cluster, arguments = processes_on
    first = cluster.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
    frontend = cluster.frontend("mock", arguments=arguments)
    ranks = ranks_of(frontend, 4)
    shadow = Shadow(frontend)
    shadow.fill(ranks)
    until(lambda: shadow.is_known_to(frontend), "what the workers said")

    again = cluster.frontend("mock", arguments=arguments)
    ranks_of(again, 4)
    until(lambda: shadow.is_known_to(again), "what the workers said before it was started")
    again.stop()

    cluster.mocker(workers=1, speedup_ratio=0, arguments=MOCKER)
    fresh = sorted(set(ranks_of(frontend, 6)) - set(ranks))
    shadow.fill(fresh)
    until(lambda: shadow.is_known_to(frontend), "what the new worker said")
    assert gauge(frontend, "dynamo_fe_kv_index", "ranks") == 6

    first.stop()
    ranks_of(frontend, 2)
    until(lambda: gauge(frontend, "dynamo_fe_kv_index", "ranks") == 2, "the dead are out of the index")
    shadow.forget({worker for worker, _ in ranks})
    assert shadow.is_known_to(frontend)
    for what in ("malformed", "foreign", "query_failures", "gaps_skipped"):
        assert gauge(frontend, "dynamo_fe_kv_event_feed", what) == 0, what


def test_who_answers_an_answer_at_once_finds_its_blocks(cluster_on_etcd: Cluster) -> None:
    """The worker says what it stores before it answers: by the next turn the index has heard it."""
    cluster_on_etcd.mocker(workers=4, speedup_ratio=0, arguments=MOCKER)
    frontend = cluster_on_etcd.frontend("mock", arguments=("--router-mode", "kv"))
    ranks_of(frontend, 8)
    for at in range(20):
        turns = [chat(frontend, at)[1] for _ in range(2)]
        first, second = (turn["nvext"]["worker_id"] for turn in turns)
        assert first == second, at
        assert turns[1]["usage"]["prompt_tokens_details"]["cached_tokens"], at


def test_another_indexer_takes_over_from_one_that_dies(cluster_on_etcd: Cluster) -> None:
    cluster_on_etcd.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
    arguments = ("--router-mode", "kv", "--workers", "2")
    frontend = cluster_on_etcd.frontend("mock", arguments=arguments, environment={"DYN_LOG": "debug"})
    ranks = ranks_of(frontend, 4)
    shadow = Shadow(frontend)
    shadow.fill(ranks)
    until(lambda: shadow.is_known_to(frontend), "what the workers said")

    def indexers() -> list[str]:
        return INDEXER.findall(frontend.process.output())

    [pid] = indexers()
    dumps = gauge(frontend, "dynamo_fe_kv_event_feed", "dumps")
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: gauge(frontend, "dynamo_fe_kv_event_feed", "dumps") >= dumps + len(ranks), "dumps of all ranks")
    assert len(indexers()) == 2
    until(lambda: shadow.is_known_to(frontend), "what the workers said, asked of them again")
    shadow.fill(ranks)
    until(lambda: shadow.is_known_to(frontend), "what they said since")


def test_reloads_into_kv_mode_and_out_of_it_begin_and_end_the_indexer(cluster_on_etcd: Cluster, tmp_path: Path) -> None:
    cluster_on_etcd.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
    writer = cluster_on_etcd.frontend("mock", arguments=("--router-mode", "kv"))
    shadow = Shadow(writer)
    ranks = ranks_of(writer, 4)
    shadow.fill(ranks)

    config = tmp_path / "frontend.toml"
    config.write_text('router_mode = "round-robin"\n')
    frontend = cluster_on_etcd.frontend("mock", arguments=("--config", str(config), "--workers", "2"))
    until(lambda: len(children(frontend, "worker")) == 2, "both processes")
    assert children(frontend, "indexer") == set()

    def reload(text: str, indexers: int) -> None:
        before = children(frontend, "worker")
        config.write_text(text)
        frontend.process.send_signal(signal.SIGHUP)
        until(lambda: not before & children(frontend, "worker"), "the next generation alone")
        until(lambda: len(children(frontend, "indexer")) == indexers, f"{indexers} indexers")

    for _ in range(2):
        reload('router_mode = "kv"\nkv_index_mb = 32\n', 1)
        ranks_of(frontend, 4)
        until(lambda: shadow.is_known_to(frontend), "what the workers hold")
        assert gauge(frontend, "dynamo_fe_kv_index", "budget_bytes") == 32 << 20
        shadow.fill(ranks)
        until(lambda: all(shadow.is_known_to(frontend) for _ in range(4)), "what they said since, in both processes")
        before = children(frontend, "indexer")
        os.kill(*before, signal.SIGKILL)
        until(lambda: bool(children(frontend, "indexer") - before), "another indexer")  # noqa: B023
        until(lambda: shadow.is_known_to(frontend), "what the workers hold, asked of them again")
        reload('router_mode = "round-robin"\n', 0)


def test_a_reload_takes_the_indexer_to_other_workers(cluster_on_etcd: Cluster, tmp_path: Path) -> None:
    cluster_on_etcd.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
    writer = cluster_on_etcd.frontend("mock", arguments=("--router-mode", "kv"))
    shadow = Shadow(writer)
    shadow.fill(ranks_of(writer, 4))

    config = tmp_path / "frontend.toml"
    config.write_text('router_mode = "kv"\nnamespace = "elsewhere"\n')
    frontend = cluster_on_etcd.frontend(arguments=("--config", str(config), "--workers", "2"))
    until(lambda: (len(children(frontend, "worker")), len(children(frontend, "indexer"))) == (2, 1), "all processes")
    [before] = children(frontend, "indexer")

    def reload(text: str) -> None:
        workers = children(frontend, "worker")
        config.write_text(text)
        frontend.process.send_signal(signal.SIGHUP)
        until(lambda: not workers & children(frontend, "worker"), "the next generation alone")

    reload('router_mode = "kv"\n')
    ranks_of(frontend, 4)
    until(lambda: all(shadow.is_known_to(frontend) for _ in range(4)), "what the workers hold, in both processes")
    until(lambda: len(children(frontend, "indexer")) == 1, "the next indexer alone")
    [after] = children(frontend, "indexer")
    reload('router_mode = "kv"\nrouter_temperature = 0.1\n')
    assert before != after and children(frontend, "indexer") == {after}


def children(frontend: Frontend, role: str) -> set[int]:
    """The processes of one kind that serve or help."""
    pid, found = frontend.process.pid, set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == f"fe {role}\n":
                found.add(int(child))
    return found


def test_its_memory_is_a_setting_and_shown(cluster_on_etcd: Cluster) -> None:
    cluster_on_etcd.mock_worker("--speedup-ratio", "0", "--kv-block-size", "1", "--total-kv-blocks", "1000000")
    frontend = cluster_on_etcd.frontend("mock", arguments=("--router-mode", "kv", "--kv-index-mb", "16"))
    assert gauge(frontend, "dynamo_fe_kv_index", "budget_bytes") == 16 << 20
    [rank] = ranks_of(frontend, 1)
    blocks = place(frontend, 1, rank) * BLOCK
    until(lambda: known(frontend, 1).get(rank, 0) >= blocks, "single tokens as blocks")
    assert 0 < gauge(frontend, "dynamo_fe_kv_index", "used_bytes") <= 16 << 20


@pytest.mark.parametrize("processes", ["1", "2"])
def test_mock_workers_of_our_own_show_hits_at_once(tmp_path: Path, processes: str) -> None:
    arguments = ("--mock-workers", "4", "--router-mode", "kv", "--workers", processes)
    frontend = our_frontend({}, log=tmp_path / "frontend.log", arguments=arguments)
    try:
        frontend.wait_listed("mock")
        ranks_of(frontend, 4)
        _, first = chat(frontend, 1)
        blocks = first["usage"]["prompt_tokens"] // BLOCK
        until(lambda: blocks in known(frontend, 1).values(), "what the worker said")
        _, again = chat(frontend, 1)
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == blocks * BLOCK
        assert again["nvext"]["worker_id"] == first["nvext"]["worker_id"]
    finally:
        frontend.stop()
