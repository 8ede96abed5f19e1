"""What /metrics shows under the original's names has the original's types, labels and edges."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dynamo_fe.cli.kv_index import mirror_kv_index
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.metrics import Family
from dynamo_fe.routing.kv.metrics import RouterMetrics
from dynamo_fe.routing.kv.pools import PoolKey
from dynamo_fe.routing.kv.rules import single_class
from dynamo_fe.routing.kv_events.memory import IndexMemory

SCHEMA: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "http" / "metrics_schema.json").read_text()
)

# Shown by the original with round robin routing and not yet by ours.
NOT_YET = {
    "an accept that fails, of which the event loop does not tell": r"dynamo_transport_tcp_accept_backoff_total",
    "embeddings": r"dynamo_frontend_embedding_latency_seconds",
    "the original's cache of tokenized prefixes": r"dynamo_frontend_tokenizer_cache_.*",
    "the original's threads, which we do not have": r"dynamo_tokio_.*",
}


# The same of KV routing. A process shows them in that mode alone, the original (most of them at 0) in every.
NOT_YET_OF_KV = NOT_YET | {
    "its threads and queues that take events in": (
        r"dynamo_component_router_(kv_zmq_ingress_lifecycle|active_sequence_(zmq_ingress|ingress_drain))_.*"
    ),
    "the threads and queues of its approximate index": r"dynamo_component_router_approximate_lru_.*",
    "what workers say they reused, 0 there": r"dynamo_component_router_kv_worker_reused_tokens_total",
    "workers whose events come from elsewhere": r"dynamo_component_router_kv_event_source_mismatch_workers",
    "repeated stores, and changes of its index": r"dynamo_component_(kv_cache_event_warnings|ckf_mutation_total)",
}


KEY = PoolKey("x", "x", "x", 16)


class Routed:
    """A router with one pool, as what is shown of an index sees it."""

    def pools(self) -> list[tuple[PoolKey, SimpleNamespace]]:
        return [(KEY, SimpleNamespace(partial_finds=0))]


def shown() -> dict[str, dict[str, Any]]:
    """Type, labels and edges of every family that could appear, read off the page."""
    metrics = FrontendMetrics()
    router = RouterMetrics(metrics.registry, "dynamo_frontend", 1)
    router.served(KEY, "x", single_class(None, "fcfs"))
    mirror_kv_index(metrics.registry, IndexMemory(1 << 20), Routed(), by_zmq=True)  # type: ignore[arg-type]
    of_workers = (*vars(metrics.workers).values(), *metrics.workers.transport.values())
    for family in (*vars(metrics).values(), *of_workers, *vars(router).values()):
        if isinstance(family, Family):
            family.labels(*["x"] * len(family.label_names))
    page = metrics.registry.exposition().decode()
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"labels": set(), "buckets": []})
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
        found[name]["type"] = kind
    for line, labels in re.findall(r"^([a-z_]+)\{(.*)\} ", page, re.MULTILINE):
        name = line if line in found else re.sub(r"_(bucket|sum|count)$", "", line)
        for key, value in re.findall(r'(\w+)="([^"]*)"', labels):
            if key == "le" and value in found[name]["buckets"]:
                continue  # of another series
            if key == "le":
                found[name]["buckets"].append(value)
            else:
                found[name]["labels"].add(key)
    return found


SHOWN = shown()
OURS = sorted(name for name in SHOWN if not name.startswith("dynamo_fe_"))


@pytest.mark.parametrize("name", OURS)
def test_a_family_of_the_original_looks_as_there(name: str) -> None:
    expected = SCHEMA[name]
    assert SHOWN[name]["type"] == expected["type"]
    assert SHOWN[name]["labels"] == set(expected["labels"])
    assert SHOWN[name]["buckets"] == expected.get("buckets", [])


@pytest.mark.parametrize(("mode", "not_yet"), [("round_robin", NOT_YET), ("kv", NOT_YET_OF_KV)])
def test_what_is_missing_is_named(mode: str, not_yet: dict[str, str]) -> None:
    expected = {name for name, entry in SCHEMA.items() if mode in entry["seen_in"]}
    missing = {
        name for name in expected if name not in SHOWN and not any(re.fullmatch(p, name) for p in not_yet.values())
    }
    assert missing == set()
    named = [pattern for pattern in not_yet.values() if not any(re.fullmatch(pattern, name) for name in SCHEMA)]
    assert named == []
