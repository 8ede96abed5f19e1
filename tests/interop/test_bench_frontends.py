"""`dynamo-fe bench` against both frontends over the same real mocker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.processes import clean_environment
from tests.support.stores import FileStore


def bench(url: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "dynamo_fe", "bench", "--url", url, "--requests", "30", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment({}), timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("whose", ["ours", "original"])
def test_it_measures_either_frontend(whose: str, file_store: FileStore, tmp_path: Path, large_model_dir: Path) -> None:
    with Cluster(file_store, tmp_path) as cluster:
        cluster.mocker(model_dir=large_model_dir, speedup_ratio=10)
        frontend = (cluster.frontend if whose == "ours" else cluster.real_frontend)("mock")
        streamed = bench(frontend.url, "--output-tokens", "32", "--prompt-tokens", "200")
        assert streamed["requests"]["complete"] == 30 and streamed["completion_tokens"] == 30 * 32
        assert 180 * 30 < streamed["prompt_tokens"] < 220 * 30
        assert 0 < streamed["ttft_ms"]["p50"] < streamed["e2e_ms"]["p99"]
        assert streamed["cpu"]["secs"] > 0
        whole = bench(frontend.url, "--output-tokens", "4", "--no-stream")
        assert whole["completion_tokens"] == 120 and whole["ttft_ms"] is None
