"""The real frontend and real workers over the fake API server: it is what they take it for."""

from pathlib import Path

from tests.support.asking import chat, until
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer


def test_the_real_frontend_serves_a_real_worker_while_its_pod_is_ready(kube_server: KubeServer, tmp_path: Path) -> None:
    with KubeCluster(kube_server, tmp_path) as kube:
        kube.pod("worker-0").mocker("mock", speedup_ratio=0)
        frontend = kube.pod("frontend-0", service="frontend").real_frontend("mock")
        status, answer = chat(frontend.url, "mock", max_tokens=4)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 4)
        kube_server.pod_ready("worker-0", ready=False)
        until(lambda: not frontend.models(), "still listed after its pod turned unready")
        kube_server.pod_ready("worker-0", ready=True)
        frontend.wait_listed("mock")
        kube_server.delete_pod("worker-0")
        until(lambda: not frontend.models(), "still listed after its pod had gone")
        assert kube_server.record("worker-0") is None
