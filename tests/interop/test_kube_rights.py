"""The Roles of the manifests allow exactly what the programs do: both run on them, and use every right."""

from collections.abc import Iterable
from pathlib import Path

from tests.support.asking import chat, until
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer, Right
from tests.support.manifests import MOCK_WORKERS, Object, build, rules_of

FRONTEND, WORKER = "dynamo-fe", "dynamo-fe-mock-worker"


def granted(rules: Iterable[Object]) -> set[Right]:
    return {
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_roles_are_what_is_used(kube_server: KubeServer, tmp_path: Path) -> None:
    objects = build(MOCK_WORKERS)
    rules = {account: rules_of(objects, account) for account in (FRONTEND, WORKER)}
    for account, allowed in rules.items():
        kube_server.grant(account, allowed)
    with KubeCluster(kube_server, tmp_path) as kube:
        worker = kube.pod("worker-0", token=WORKER).mock_worker("--speedup-ratio", "0")
        frontend = kube.pod("frontend-0", token=FRONTEND, service="frontend").frontend("mock")
        assert chat(frontend.url, "mock", max_tokens=3)[0] == 200
        # Everything that comes after a fault is done on these rights too.
        kube_server.watches("error410")
        kube_server.delete("dynamoworkermetadatas", "worker-0")
        until(lambda: kube_server.record("worker-0") is not None, "the lost record is not written again")
        frontend.wait_listed("mock")
        worker.stop()
        frontend.stop()
    for account, allowed in rules.items():
        assert kube_server.rights_used(account) == granted(allowed)


def test_container_mode_reads_pods_instead_of_slices(kube_server: KubeServer, tmp_path: Path) -> None:
    with KubeCluster(kube_server, tmp_path) as kube:
        kube.pod("worker-0", container="main").mock_worker("--speedup-ratio", "0", "--no-kv-events")
        frontend = kube.pod("frontend-0", token=FRONTEND, container="main").frontend("mock")
        assert chat(frontend.url, "mock", max_tokens=3)[0] == 200
    slices = granted(rules_of(build(MOCK_WORKERS), FRONTEND))
    expected = {right if right.resource != "endpointslices" else Right("", "pods", right.verb) for right in slices}
    assert kube_server.rights_used(FRONTEND) == expected
