"""An API server that fails in every way while requests are served: none suffers, and /ready says what is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import ask, chat, until
from tests.support.frontends import Frontend
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer
from tests.support.load import SteadyLoad

SLICES, RECORDS = "endpointslices", "dynamoworkermetadatas"
FAST = ("--speedup-ratio", "0", "--no-kv-events")


@pytest.fixture
def kube(kube_server: KubeServer, tmp_path: Path) -> Iterator[KubeCluster]:
    with KubeCluster(kube_server, tmp_path) as cluster:
        yield cluster


def frontend_of(kube: KubeCluster, *models: str, **environment: str) -> Frontend:
    return kube.pod("frontend-0", service="frontend").frontend(*models, environment=environment)


def readiness(frontend: Frontend) -> tuple[int, dict[str, Any]]:
    """Status and body of /ready; status 0 while nobody listens."""
    try:
        status, text = ask(f"{frontend.url}/ready")
    except OSError:
        return 0, {"reasons": []}
    return status, json.loads(text)


def says(frontend: Frontend, words: str) -> bool:
    return any(words in reason for reason in readiness(frontend)[1]["reasons"])


def instances(frontend: Frontend) -> int:
    return len(json.loads(ask(f"{frontend.url}/health")[1])["instances"])


def metric(frontend: Frontend, line: str) -> float:
    """The value of one series, 0 if it is not there."""
    values = [text for text in ask(f"{frontend.url}/metrics")[1].splitlines() if text.startswith(f"{line} ")]
    return float(values[0].rpartition(" ")[2]) if values else 0.0


async def in_thread(act: Callable[[], object]) -> None:
    await asyncio.to_thread(act)


async def test_an_outage_costs_no_request_and_what_comes_after_it_is_seen(
    kube: KubeCluster, kube_server: KubeServer
) -> None:
    await in_thread(lambda: kube.pod("worker-0").mocker("mock"))
    frontend = await asyncio.to_thread(frontend_of, kube, "mock")
    load = SteadyLoad(frontend.url, "mock", streams=4, tokens=10)
    load.start()
    await load.completes(8)
    await in_thread(lambda: kube_server.compact(hard=True))
    await in_thread(kube_server.stop)
    await in_thread(lambda: until(lambda: says(frontend, f"watch of {RECORDS}.nvidia.com"), "the outage in /ready"))
    status, body = await asyncio.to_thread(readiness, frontend)
    assert (status, body["models"]) == (200, ["mock"])
    assert any("the view is" in reason for reason in body["reasons"])
    assert body["discovery"]["connected"] is False and body["discovery"]["view_age_secs"] >= 0
    await load.completes(20)
    await in_thread(kube_server.start)
    await in_thread(lambda: kube.pod("worker-1").mocker("late"))
    await in_thread(lambda: until(lambda: "late" in frontend.models(), "the late worker"))
    await in_thread(lambda: until(lambda: not readiness(frontend)[1]["reasons"], "all well"))
    outcome = await load.finish()
    assert outcome.failures == [] and outcome.complete >= 28


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (SLICES, "the Role lacks the verb list on endpointslices"),
        (RECORDS, "the Role lacks the verb list on dynamoworkermetadatas"),
    ],
)
def test_a_list_that_is_forbidden_at_the_start_is_named(
    kube: KubeCluster, kube_server: KubeServer, resource: str, reason: str
) -> None:
    kube_server.fault({"status": 403}, verb="list", resource=resource)
    frontend = frontend_of(kube)
    until(lambda: says(frontend, reason), "the reason in /ready")
    status, body = readiness(frontend)
    assert (status, body["discovery"]["connected"], body["discovery"]["view_age_secs"]) == (503, False, None)
    assert [ask(f"{frontend.url}{path}")[0] for path in ("/live", "/health")] == [200, 200]
    assert metric(frontend, f'dynamo_fe_kubernetes_list_errors_total{{resource="{resource}",code="403"}}') >= 1
    kube.pod("worker-0").mock_worker(*FAST)
    assert frontend.models() == set()
    kube_server.no_faults()
    frontend.wait_listed("mock")


def test_a_missing_crd_is_named_at_the_start_and_while_serving(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube_server.install_crd(False)
    frontend = frontend_of(kube)
    words = "the CRD dynamoworkermetadatas.nvidia.com is not installed"
    until(lambda: says(frontend, words), "the reason in /ready")
    kube_server.install_crd(True)
    kube.pod("worker-0").mock_worker(*FAST)
    frontend.wait_listed("mock")
    kube_server.install_crd(False)
    kube_server.watches("eof")
    until(lambda: says(frontend, words), "the reason in /ready, again")
    assert readiness(frontend)[0] == 200
    assert chat(frontend.url, "mock", max_tokens=4)[0] == 200


def test_a_watch_that_is_forbidden_while_serving_keeps_what_is_known(
    kube: KubeCluster, kube_server: KubeServer
) -> None:
    kube.pod("worker-0").mock_worker(*FAST)
    frontend = frontend_of(kube, "mock")
    kube_server.fault({"status": 403}, verb="watch")
    kube_server.watches("eof")
    until(lambda: says(frontend, "the Role lacks the verb watch on endpointslices"), "the reason in /ready")
    kube_server.pod_ready("worker-0", ready=False)
    assert chat(frontend.url, "mock", max_tokens=4)[0] == 200
    kube_server.no_faults()
    until(lambda: not frontend.models(), "what happened meanwhile")
    assert metric(frontend, 'dynamo_fe_kubernetes_watch_restarts_total{resource="endpointslices",reason="403"}') >= 1
    assert metric(frontend, 'dynamo_fe_kubernetes_records{state="not_ready"}') == 1


def test_a_watch_gone_silent_is_opened_anew(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube.pod("worker-0").mock_worker(*FAST)
    frontend = frontend_of(kube, "mock", DYN_FE_KUBE_SILENCE_SECS="2")
    kube_server.watches("stall")
    kube_server.pod_ready("worker-0", ready=False)
    until(lambda: not frontend.models(), "what the silent watch kept back")
    assert metric(frontend, 'dynamo_fe_kubernetes_watch_restarts_total{resource="endpointslices",reason="silent"}') >= 1


@pytest.mark.parametrize("last_page", [{"status": 500}, {"status": 410}, {"reset": True}, {"status": 200, "text": "{"}])
def test_a_list_that_breaks_off_changes_nothing(
    kube: KubeCluster, kube_server: KubeServer, last_page: dict[str, Any]
) -> None:
    """The second page fails, on which the worker stands: it must not be taken for gone."""
    kube.pod("worker-0").mock_worker(*FAST)
    frontend = frontend_of(kube, "mock")
    for number in range(600):
        meta = {"name": f"aaa-{number:03}", "namespace": "serving", "uid": f"{number}"}
        kube_server.put(RECORDS, {"metadata": meta, "spec": {"data": {}}})
    until(lambda: metric(frontend, 'dynamo_fe_kubernetes_records{state="no_endpoint"}') >= 600, "600 others")
    before = len(list_of_records(kube_server))
    kube_server.fault(last_page, verb="list", resource=RECORDS, query="continue", times=2)
    kube_server.watches("error410")
    # Two that break off on their second page, and a whole one.
    until(lambda: len(list_of_records(kube_server)) >= before + 6, "three more lists")
    until(lambda: not says(frontend, "list of"), "a whole list at last")
    assert "is let go" not in frontend.process.output()
    assert chat(frontend.url, "mock", max_tokens=4)[0] == 200


def test_a_token_switched_hard_leaves_no_gap(kube: KubeCluster, kube_server: KubeServer, tmp_path: Path) -> None:
    kube.pod("worker-0").mock_worker(*FAST)
    config = json.loads(kube_server.kubeconfig().read_text())
    config["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
    (tmp_path / "token").write_text("T1")
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    frontend = frontend_of(kube, "mock", KUBECONFIG=str(tmp_path / "kubeconfig"))
    kube_server.accept_tokens("T2")
    kube_server.watches("reset")
    until(lambda: says(frontend, "401"), "the refusal in /ready")
    (tmp_path / "token").write_text("T2")
    kube_server.pod_ready("worker-0", ready=False)
    until(lambda: not frontend.models(), "what is seen with the new token")


async def test_on_sigterm_it_is_unready_at_once_and_serves_on_for_a_while(
    kube: KubeCluster, kube_server: KubeServer
) -> None:
    await in_thread(lambda: kube.pod("worker-0").mock_worker(*FAST))
    # one that is there, but not ready yet
    await in_thread(lambda: kube.pod("worker-1", ready=False).mock_worker(*FAST, "--model-name", "late"))
    frontend = await asyncio.to_thread(frontend_of, kube, "mock", DYN_FE_DRAIN_ACCEPT_SECS="10")
    frontend.process.send_signal(signal.SIGTERM)
    await in_thread(lambda: until(lambda: readiness(frontend)[0] == 503, "unready"))
    assert [ask(f"{frontend.url}{path}")[0] for path in ("/health", "/live")] == [503, 200]
    assert (await asyncio.to_thread(chat, frontend.url, "mock", max_tokens=4))[0] == 200
    # Discovery goes on meanwhile.
    await in_thread(lambda: kube_server.pod_ready("worker-1", ready=True))
    await in_thread(lambda: until(lambda: "late" in frontend.models(), "a worker that came meanwhile"))
    assert await asyncio.to_thread(frontend.process.wait_for_exit) == 0


def test_a_worker_whose_pod_is_being_deleted_gets_nothing_while_there_is_another(
    kube: KubeCluster, kube_server: KubeServer
) -> None:
    workers = [kube.pod(f"worker-{number}").scripted_worker("tiny", control=f"w{number}") for number in range(2)]
    frontend = frontend_of(kube, "tiny")
    until(lambda: instances(frontend) == 2, "both")
    for worker in workers:
        worker.say([{"token_ids": [], "text": "x", "finish_reason": "stop"}])
    put_terminating(kube_server, "worker-0")
    # they take turns: of two requests in a row none goes there only once that is known
    until(lambda: not any(asked_of(frontend, workers[0]) for _ in range(2)), "no request for the one that is to go")
    for _ in range(6):
        assert not asked_of(frontend, workers[0])
    workers[1].stop()
    until(lambda: instances(frontend) == 1, "the other gone")
    assert asked_of(frontend, workers[0])


def list_of_records(server: KubeServer) -> list[dict[str, Any]]:
    """The pages that were asked for."""
    pages: list[dict[str, Any]] = server.requests(verb="list", resource=RECORDS)
    return pages


def put_terminating(server: KubeServer, pod: str) -> None:
    """Ready and terminating, as a Service that publishes pods that are not ready makes it."""
    (found,) = (each for each in server.objects(SLICES) if "worker" in each["metadata"]["name"])
    for endpoint in found["endpoints"]:
        if endpoint["targetRef"]["name"] == pod:
            endpoint["conditions"]["terminating"] = True
    server.put(SLICES, found)


def asked_of(frontend: Frontend, worker: Any) -> bool:
    """Whether one chat goes to that worker."""
    worker.forget()
    assert chat(frontend.url, "tiny")[0] == 200
    return bool(worker.requests())
