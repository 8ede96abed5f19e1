"""In a graph of the operator ours stands where the original's frontend stood: with what the operator gives it, it sees
the same workers, of its own graph and of every generation."""

from pathlib import Path

from tests.support.asking import chat
from tests.support.cluster import Cluster
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubePod, KubeServer
from tests.support.manifests import OPERATORS_VARIABLES, graphs_frontend
from tests.support.stores import StoreWith

GRAPH = OPERATORS_VARIABLES["DYN_NAMESPACE_PREFIX"]


def operated(pod: Cluster) -> Cluster:
    """What runs in it gets the operator's variables."""
    assert isinstance(pod.store, KubePod)
    pod.store = StoreWith(pod.store, OPERATORS_VARIABLES)
    return pod


def test_both_see_the_workers_of_the_graph_alone(kube_server: KubeServer, tmp_path: Path) -> None:
    with KubeCluster(kube_server, tmp_path) as kube:
        # Two generations of its workers, and those of a graph whose name begins as its own does.
        spaces = {"old": f"{GRAPH}-0a1b2c3d", "new": f"{GRAPH}-4e5f6071", "others": f"{GRAPH}-two"}
        for name, space in spaces.items():
            endpoint = f"dyn://{space}.backend.generate"
            kube.pod(f"worker-{name}").mocker(name, speedup_ratio=0, endpoint=endpoint)
        arguments = graphs_frontend()["args"][1:]
        ours = operated(kube.pod("frontend-0", service="frontend")).frontend("old", "new", arguments=arguments)
        real = operated(kube.pod("frontend-1", service="frontend")).real_frontend("old", "new")
        assert ours.models() == real.models() == {"old", "new"}
        for name in ("old", "new"):
            assert chat(ours.url, name, max_tokens=3)[0] == chat(real.url, name, max_tokens=3)[0] == 200
