"""What KV routing counts, on the metrics pages of the real frontend and ours after the same requests."""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Callable, Iterator

import pytest

from tests.support.asking import chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.metrics_page import Page, scrape, unequal, without_routers
from tests.support.peer import ScriptedWorker
from tests.support.stores import FileStore

COUNTED = re.compile(
    r"dynamo_frontend_router_.*|dynamo_router_overhead_(block_hashing|seq_hashing|indexer_find_matches|scheduling|total)"
    r"_ms_count|dynamo_component_router_(kv_hit_rate|overlap_blocks_lost|non_max_overlap|kv_best|kv_selected).*"
)
POLICY = (
    "default_policy_family: all\n"
    "policy_classes:\n"
    "- {name: std, policy_family: all, cache_bucket: any, quantum: 100, prefill_busy_threshold: 0,"
    " request_queue_limit_per_worker: 2}\n"
    "- {name: gold, policy_family: gold, cache_bucket: any, quantum: 100, prefill_busy_threshold: 0}\n"
    "uncached_isl_buckets: [{min_tokens: 0, bucket: any}]\n"
)
DONE = [{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}]
LONG = " ".join(f"word{at}" for at in range(60))
PENDING = "dynamo_frontend_router_queue_pending_requests"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("kv-metrics")
    with Cluster(FileStore(home / "store"), home) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> ScriptedWorker:
    return cluster.scripted_worker(runtime_config={"max_num_batched_tokens": 1000})


@pytest.fixture(scope="module")
def frontends(cluster: Cluster, worker: ScriptedWorker) -> tuple[Frontend, Frontend]:
    policy = cluster.home / "policy.yaml"
    policy.write_text(POLICY)
    arguments = ("--router-mode", "kv", "--no-router-kv-events", "--router-policy-config", str(policy))
    return cluster.real_frontend("tiny", arguments=arguments), cluster.frontend("tiny", arguments=arguments)


def shown(frontend: Frontend) -> Page:
    return without_routers(scrape(frontend.port), COUNTED)


def pending(frontend: Frontend) -> float:
    return sum(value for (name, *_), value in shown(frontend).items() if name == PENDING)


def test_everything_is_there_before_any_request(frontends: tuple[Frontend, Frontend]) -> None:
    assert len([name for name, *_ in shown(frontends[0]) if name.startswith("dynamo_frontend_router_")]) == 2 * 9
    assert unequal(*map(shown, frontends)) == []


def crowded(frontend: Frontend, worker: ScriptedWorker, while_waiting: Callable[[], None]) -> None:
    """One request that runs, two that wait for it, one that is refused."""
    worker.forget()
    worker.say({"scripts": [[worker.held, *DONE], DONE]})

    def ask(at: int) -> int:
        messages = [{"role": "user", "content": f"{LONG} {at}"}]
        return chat(frontend.url, "tiny", messages=messages, max_tokens=2)[0]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, 0)
        worker.wait_for(1)
        others = [pool.submit(ask, at) for at in (1, 2, 3)]
        concurrent.futures.wait(others, return_when=concurrent.futures.FIRST_COMPLETED)
        while_waiting()
        worker.let_go()
        assert sorted(each.result() for each in (first, *others)) == [200, 200, 200, 529]


def test_waiting_and_refused_requests_are_counted_alike(
    frontends: tuple[Frontend, Frontend], worker: ScriptedWorker
) -> None:
    real, ours = frontends
    # those who wait are not shown there: its gauges are set when one is let go
    crowded(real, worker, lambda: None)
    crowded(ours, worker, lambda: until(lambda: pending(ours) == 2, "two that wait"))
    assert pending(ours) == 0
    until(lambda: unequal(*map(shown, frontends)) == [], "the same counts")
