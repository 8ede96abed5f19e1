"""What is shown of KV events and of guesses, on the metrics pages of the real frontend and ours beside it."""

from __future__ import annotations

import re

import pytest

from tests.support.asking import chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.kv_shadow import MOCKER
from tests.support.metrics_page import Page, scrape, unequal, without_routers

COUNTED = re.compile(
    r"dynamo_component_kv_cache_events_applied|dynamo_component_router_kv_zmq_ingress_(batches_total|sources)"
    r"|dynamo_component_router_active_sequence_ingress_(events_applied_total|queue_depth)"
    r"|dynamo_component_router_approximate_cache_\w+|dynamo_(component_)?router_(overhead_)?(shared_cache|kv_transfer)_.*"
)
APPLIED = "dynamo_component_kv_cache_events_applied"


def shown(frontend: Frontend) -> Page:
    return without_routers(scrape(frontend.port), COUNTED)


def applied(frontend: Frontend) -> float:
    return sum(value for (name, *_), value in shown(frontend).items() if name == APPLIED)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_events_are_counted_alike_from_the_start(cluster: Cluster, processes: str) -> None:
    cluster.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
    kv = ("--router-mode", "kv")
    real = cluster.real_frontend("mock", arguments=kv)
    ours = cluster.frontend("mock", arguments=(*kv, "--workers", processes))
    until(lambda: unequal(shown(real), shown(ours)) == [], "the same at the start")
    for at in range(12):
        messages = [{"role": "user", "content": f"{at // 2} " * 200}]
        assert chat((real if at % 2 else ours).url, "mock", messages=messages, max_tokens=4)[0] == 200
    until(lambda: applied(ours) >= 6, "events of six prompts")
    until(lambda: unequal(shown(real), shown(ours)) == [], "the same counts")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-router-kv-events",),
        ("--no-router-kv-events", "--router-approximate-cache-policy", "lru"),
        ("--router-kv-overlap-score-credit", "0"),
    ],
)
def test_the_policy_of_guesses_is_shown_alike(cluster: Cluster, arguments: tuple[str, ...]) -> None:
    cluster.mocker()
    frontends = [start("mock", arguments=("--router-mode", "kv", *arguments)) for start in
                 (cluster.real_frontend, cluster.frontend)]  # fmt: skip
    names = "dynamo_component_router_approximate_cache_"
    pages = [{key: value for key, value in shown(each).items() if key[0].startswith(names)} for each in frontends]
    assert pages[0] == pages[1] and len(pages[0]) == 6
