"""What a load balancer is told in every state of a frontend, beside the real one's own words; and our reasons."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.asking import ask, chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.processes import free_port
from tests.support.stores import FileStore, StoreWith

PATHS = ("/live", "/health", "/v1/models", "/v1/models/tiny", "/v1/models/tiny/ready", "/v1/models/nope/ready")
# the port stays open for so long that the answers of a draining process can be asked for
ENVIRONMENT = {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "4", "DYN_RUNTIME_INHIBITED_DURATION_SECS": "5"}


def state(frontend: Frontend) -> dict[str, Any]:
    """Status and body by path, without what differs from one moment to the next."""
    found: dict[str, Any] = {}
    for path in PATHS:
        status, text = ask(frontend.url + path)
        body = json.loads(text) if text else ""
        body.pop("error", None)
        for entry in (body, *body.get("data", ())):
            entry.pop("created", None)
        found[path] = (status, body)
    return found


def ready(frontend: Frontend) -> tuple[int, list[str]]:
    status, text = ask(f"{frontend.url}/ready")
    return status, json.loads(text)["reasons"]


def listening(frontend: Frontend) -> bool:
    try:
        return ask(f"{frontend.url}/live")[0] == 200
    except OSError:
        return False


def is_draining(frontend: Frontend) -> bool:
    return ask(f"{frontend.url}/live")[0] == 503


def test_every_state_is_told_as_the_original_tells_it(tmp_path: Path) -> None:
    store = StoreWith(FileStore(tmp_path / "store"), ENVIRONMENT)
    with Cluster(store, tmp_path) as cluster:
        real, ours = cluster.real_frontend(), cluster.frontend(arguments=["--migration-limit", "0"])
        for frontend in (real, ours):
            until(partial(listening, frontend), "it listens")
        assert state(ours) == state(real)
        assert ready(ours) == (503, ["no model is registered in discovery"])

        half = cluster.scripted_worker(control="half", arguments=("--needs", '[["Prefill"]]'))
        until(lambda: "missing" in ask(f"{real.url}/v1/models/tiny/ready")[1], "the real one has found the model")
        until(lambda: state(ours) == state(real), "both say what is missing")
        status, [reason] = ready(ours)
        assert status == 503 and "missing worker types: prefill" in reason
        half.stop()
        until(lambda: ready(ours)[1] == ["no model is registered in discovery"], "it is forgotten")

        worker = cluster.scripted_worker()
        until(lambda: real.models() == ours.models() == {"tiny"}, "both serve")
        until(lambda: state(ours) == state(real), "both say so")
        until(lambda: ready(ours) == (200, []), "ours is ready")

        worker.say([{"!http": [504, "late"]}])
        aside = []
        for frontend in (real, ours):
            assert chat(frontend.url, "tiny")[0] == 500
            aside.append(state(frontend))
            assert 'dynamo_frontend_model_ready{model="tiny"} 0' in ask(f"{frontend.url}/metrics")[1]
        assert aside[0] == aside[1]
        assert ready(ours) == (503, ["model tiny: every worker is set aside after a failure"])
        until(lambda: ready(ours) == (200, []), "it is asked again")

        worker.forget()
        worker.say([{"token_ids": [272]}, worker.held, {"token_ids": [], "finish_reason": "stop"}])
        with ThreadPoolExecutor() as pool:
            # without one running they would end at once
            running = [pool.submit(chat, frontend.url, "tiny") for frontend in (real, ours)]
            worker.wait_for(2)
            for frontend in (real, ours):
                frontend.process.send_signal(signal.SIGTERM)
            for frontend in (real, ours):
                until(partial(is_draining, frontend), "it drains")
            assert state(ours) == state(real)
            status, [reason, *_] = ready(ours)
            assert status == 503 and reason == "draining: the process is to end"
            refused = [chat(frontend.url, "tiny")[1]["message"] for frontend in (real, ours)]
            assert refused == ["Service is not ready"] * 2
            worker.let_go()
            assert [done.result()[0] for done in running] == [200, 200]


def test_without_discovery_nothing_is_ready_and_the_reason_says_so(tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        variables = {"DYN_DISCOVERY_BACKEND": "etcd", "ETCD_ENDPOINTS": endpoint}
        frontend = cluster.frontend(environment=variables)
        until(lambda: listening(frontend), "it listens all the same")
        status, [reason, *_] = ready(frontend)
        assert status == 503 and reason.startswith("discovery (etcd) is not connected: ")
        assert ask(f"{frontend.url}/health")[0] == ask(f"{frontend.url}/live")[0] == 200
        assert chat(frontend.url, "tiny")[0] == 503
