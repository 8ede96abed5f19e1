"""What /metrics shows under the original's names has the original's types, labels and edges."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.metrics import Family

SCHEMA: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "http" / "metrics_schema.json").read_text()
)

# Shown by the original with round robin routing and not yet by ours.
NOT_YET = {
    "what only KV routing counts, zero there": r"dynamo_component_router_(kv|shared_cache|non_max_overlap|overlap)_.*",
    "how long KV routing takes, zero there": r"dynamo_router_(overhead|shared_cache)_.*",
    "an accept that fails, of which the event loop does not tell": r"dynamo_transport_tcp_accept_backoff_total",
    "the tokens of images, which neither computes": r"dynamo_frontend_image_tokens_per_request",
    "embeddings": r"dynamo_frontend_embedding_latency_seconds",
    "the original's cache of tokenized prefixes": r"dynamo_frontend_tokenizer_cache_.*",
    "the original's threads, which we do not have": r"dynamo_tokio_.*",
}


def shown() -> dict[str, dict[str, Any]]:
    """Type, labels and edges of every family that could appear, read off the page."""
    metrics = FrontendMetrics()
    for family in (*vars(metrics).values(), *vars(metrics.workers).values(), *metrics.workers.transport.values()):
        if isinstance(family, Family):
            family.labels(*["x"] * len(family.label_names))
    page = metrics.registry.exposition().decode()
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"labels": set(), "buckets": []})
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
        found[name]["type"] = kind
    for line, labels in re.findall(r"^([a-z_]+)\{(.*)\} ", page, re.MULTILINE):
        name = line if line in found else re.sub(r"_(bucket|sum|count)$", "", line)
        for key, value in re.findall(r'(\w+)="([^"]*)"', labels):
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


def test_what_is_missing_is_named() -> None:
    expected = {name for name, entry in SCHEMA.items() if "round_robin" in entry["seen_in"]}
    missing = {
        name for name in expected if name not in SHOWN and not any(re.fullmatch(p, name) for p in NOT_YET.values())
    }
    assert missing == set()
    named = [pattern for pattern in NOT_YET.values() if not any(re.fullmatch(pattern, name) for name in SCHEMA)]
    assert named == []
