"""What a frontend makes of the cards of real workers: sets, checksums, namespaces, adapters, files, stages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import HELLO, ask, chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.models import TINY_MODEL_DIR
from tests.support.processes import free_port


def readiness(frontend: Frontend, model: str) -> tuple[int, Any]:
    status, text = ask(f"{frontend.url}/v1/models/{model}/ready")
    return status, json.loads(text)


def test_a_set_split_by_checksum_serves_the_first_until_it_has_gone(cluster: Cluster) -> None:
    first = cluster.scripted_worker(name="tiny", endpoint="dyn://ns.backend.generate")
    frontend = cluster.frontend("tiny")
    other = cluster.scripted_worker(
        name="tiny", control="other", endpoint="dyn://ns.backend.generate", block_size=64
    )
    until(lambda: "rejected" in ask(f"{frontend.url}/ready")[1], "the other is rejected")
    for _ in range(6):
        assert chat(frontend.url, "tiny")[0] == 200
    assert len(first.requests()) == 6
    assert other.requests() == []
    first.stop()
    until(lambda: chat(frontend.url, "tiny")[0] == 200 and len(other.requests()) > 0, "the other takes over")
    assert other.requests()[0]["request"]["mdc_sum"] != first.requests()[0]["request"]["mdc_sum"]


def test_namespaces_with_different_cards_each_get_their_share(cluster: Cluster) -> None:
    """One worker against three: the prompt is made with the card of the namespace that was drawn."""
    single = cluster.scripted_worker(name="tiny", control="a", endpoint="dyn://pre-a.backend.generate", block_size=64)
    three = [
        cluster.scripted_worker(name="tiny", control=f"b{number}", endpoint="dyn://pre-b.backend.generate")
        for number in range(3)
    ]
    outside = cluster.scripted_worker(name="tiny", control="c", endpoint="dyn://other.backend.generate")
    frontend = cluster.frontend("tiny", arguments=("--namespace-prefix", "pre-"))
    until(lambda: len(json.loads(ask(f"{frontend.url}/health")[1])["instances"]) >= 5, "all five are known")
    for _ in range(80):
        assert chat(frontend.url, "tiny")[0] == 200
    counts = [len(worker.requests()) for worker in three]
    assert sum(counts) + len(single.requests()) == 80
    # 20 expected with a standard deviation of 3.9
    assert 4 <= len(single.requests()) <= 40
    assert max(counts) - min(counts) <= 1
    assert outside.requests() == []
    sums = {entry["request"]["mdc_sum"] for worker in three for entry in worker.requests()}
    assert len(sums) == 1
    assert sums.isdisjoint(entry["request"]["mdc_sum"] for entry in single.requests())


def test_adapters_and_aliases(cluster: Cluster) -> None:
    worker = cluster.scripted_worker(name="base", arguments=("--lora", "Ad One", "--lora", "ad2"))
    named = cluster.scripted_worker(
        name="prim", endpoint="dyn://ns.prim.generate", arguments=("--register", '{"model_aliases":["al1","al2"]}')
    )
    frontend = cluster.frontend("base", "Ad One", "ad2", "prim", "al1", "al2")
    real = cluster.real_frontend("base", "Ad One", "ad2", "prim", "al1", "al2")
    for url in (frontend.url, real.url):
        for model in ("base", "Ad One", "ad2"):
            status, body = chat(url, model)
            assert (status, body["model"]) == (200, model)
        status, body = chat(url, "al2")
        assert (status, body["model"]) == (200, "prim")
    worker.wait_for(6)
    seen = [entry["request"] for entry in worker.requests()]
    assert [request["routing"] for request in seen[:3]] == [{}, {"lora_name": "Ad One"}, {"lora_name": "ad2"}]
    assert seen[:3] == seen[3:]
    assert len({request["mdc_sum"] for request in seen}) == 1
    named.wait_for(2)
    ours, theirs = (entry["request"] for entry in named.requests())
    assert ours == theirs
    assert ours["model"] == "prim"


def test_files_from_the_worker_itself(cluster: Cluster, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(TINY_MODEL_DIR, directory)
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }} world")
    custom = tmp_path / "own.jinja"
    custom.write_text("{{ messages[0].content }} custom")
    cache = tmp_path / "cache"
    register = {"self_host_metadata": True, "custom_template_path": str(custom)}
    worker = cluster.scripted_worker(
        name="tiny",
        model_dir=directory,
        arguments=("--register", json.dumps(register)),
        environment={"DYN_SYSTEM_PORT": str(free_port())},
    )
    frontend = cluster.frontend("tiny", environment={"DYN_FE_CACHE_DIR": str(cache)})
    real = cluster.real_frontend("tiny")
    status, body = chat(frontend.url, "tiny")
    assert (status, body["choices"][0]["message"]["content"]) == (200, "hello custom")
    assert len(list((cache / "blobs").iterdir())) >= 4
    assert chat(real.url, "tiny")[0] == 200
    ours, theirs = (entry["request"] for entry in worker.requests())
    assert ours == theirs
    shutil.rmtree(directory)
    custom.unlink()
    again = cluster.frontend("tiny", environment={"DYN_FE_CACHE_DIR": str(cache)})
    assert chat(again.url, "tiny")[0] == 200


def test_files_from_the_model_path(cluster: Cluster, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(TINY_MODEL_DIR, directory)
    cluster.scripted_worker(name="tiny", model_dir=directory)
    moved = directory.rename(tmp_path / "moved")
    frontend = cluster.frontend("tiny", arguments=("--model-path", str(moved)))
    assert chat(frontend.url, "tiny")[0] == 200


def test_a_model_goes_and_returns(cluster: Cluster) -> None:
    mocker = cluster.mocker("mock", speedup_ratio=0)
    frontend = cluster.frontend("mock")
    assert chat(frontend.url, "mock", max_tokens=2)[0] == 200
    mocker.stop()
    until(lambda: frontend.models() == set(), "the model is gone")
    # no chat model is left: the route is off, as in the original
    assert ask(f"{frontend.url}/v1/chat/completions", {"model": "mock", "messages": HELLO}) == (404, "")
    cluster.mocker("mock", speedup_ratio=0)
    frontend.wait_listed("mock")
    assert chat(frontend.url, "mock", max_tokens=2)[0] == 200


@pytest.mark.parametrize("arguments", [("--namespace", "ns1"), ("--namespace-prefix", "ns1")])
def test_only_shown_namespaces_are_served(cluster: Cluster, arguments: tuple[str, str]) -> None:
    cluster.mocker("one", endpoint="dyn://ns1.backend.generate", speedup_ratio=0)
    cluster.mocker("two", endpoint="dyn://ns2.backend.generate", speedup_ratio=0)
    frontend = cluster.frontend("one", arguments=arguments)
    assert frontend.models() == {"one"}
    assert chat(frontend.url, "one", max_tokens=2)[0] == 200
    assert chat(frontend.url, "two")[0] == 404


def test_readiness_of_stages_as_the_original_tells_it(cluster: Cluster) -> None:
    cluster.scripted_worker(name="tiny")
    needs = '[["Prefill","Encode"],["Encode","Decode"]]'
    cluster.scripted_worker(name="dnf", endpoint="dyn://ns.dnf.generate", arguments=("--needs", needs))
    decode = ("--worker-type", "Decode", "--needs", '[["Prefill"]]')
    cluster.scripted_worker(name="lonely", endpoint="dyn://ns.lonely.generate", arguments=decode)
    frontend, real = cluster.frontend("tiny"), cluster.real_frontend("tiny")
    for model, expected in (("tiny", 200), ("dnf", 503), ("lonely", 503), ("nobody", 404)):
        until(lambda model=model, expected=expected: readiness(real, model)[0] == expected, model)  # type: ignore[misc]
        until(lambda model=model, expected=expected: readiness(frontend, model)[0] == expected, model)  # type: ignore[misc]
        ours, theirs = readiness(frontend, model)[1], readiness(real, model)[1]
        ours.pop("error", None)
        assert ours == theirs
        if expected == 503:
            assert chat(frontend.url, model)[0] == chat(real.url, model)[0] == 503


def test_the_gauges_of_models_are_those_of_the_original(cluster: Cluster) -> None:
    runtime_config = {"total_kv_blocks": 100, "max_num_seqs": 7, "max_num_batched_tokens": 512}
    register = ("--register", '{"model_aliases":["al1"]}')
    cluster.scripted_worker(name="prim", runtime_config=runtime_config, arguments=register)
    decode = ("--worker-type", "Aggregated", "--needs", '[["Encode"]]')
    cluster.scripted_worker(name="lonely", endpoint="dyn://ns.lonely.generate", arguments=decode)
    frontend, real = cluster.frontend("prim"), cluster.real_frontend("prim")
    wanted = {
        "model_ready", "model_context_length", "model_kv_cache_block_size", "model_migration_limit",
        "model_total_kv_blocks", "model_max_num_seqs", "model_max_num_batched_tokens",
    }

    def gauges(of: Frontend) -> dict[str, float]:
        lines = (line.rsplit(" ", 1) for line in ask(f"{of.url}/metrics")[1].splitlines() if line[:1] not in ("", "#"))
        found = {name.removeprefix("dynamo_frontend_"): float(value) for name, value in lines}
        return {name: value for name, value in found.items() if name.partition("{")[0] in wanted}

    until(lambda: any("lonely" in name for name in gauges(real)), "the original shows both")
    until(lambda: any("lonely" in name for name in gauges(frontend)), "ours shows both")
    until(lambda: gauges(frontend) == gauges(real), "the same gauges")
