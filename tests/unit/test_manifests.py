"""The Kubernetes manifests are what an API server takes, refer to what is there, and say what the program knows."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from dynamo_fe.cli.roles import grace_secs
from dynamo_fe.config import TABLE, Settings, load
from dynamo_fe.http.routes import Routes
from dynamo_fe.workers.options import parse_options
from tests.support.manifests import (
    BASE,
    FOLDER,
    GRAPH,
    MOCK_WORKERS,
    OPERATORS_ARGUMENTS,
    OPERATORS_VARIABLES,
    Object,
    build,
    documents,
    files,
    graphs_frontend,
    of_kind,
)

KUBERNETES = ("1.30", "1.37")
IDENTITY = ("POD_NAME", "POD_NAMESPACE", "POD_UID")
DISCOVERED = "nvidia.com/dynamo-discovery-enabled"
CAPTURED_CRD = Path(__file__).parents[1] / "fixtures" / "kubernetes" / "manifests" / "crd.yaml"
# nvidia.com/v1beta1, as far as a frontend and its workers need it; what is in a pod has Kubernetes' own schema.
GRAPH_SCHEMA = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "nvidia.com/v1beta1"},
        "kind": {"const": "DynamoGraphDeployment"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["components"],
            "additionalProperties": False,
            "properties": {
                "components": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "type"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "type": {"enum": ["frontend", "worker", "prefill", "decode"]},
                            "replicas": {"type": "integer", "minimum": 0},
                            "podTemplate": {"type": "object", "properties": {"spec": {"type": "object"}}},
                        },
                    },
                }
            },
        },
    },
}


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """All of them: the mock workers come with the frontends."""
    return build(MOCK_WORKERS)


def deployments(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Each with its only container."""
    for deployment in of_kind(objects, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        yield deployment, container


def deployment(objects: list[Object], name: str) -> tuple[Object, Object]:
    return next(found for found in deployments(objects) if found[0]["metadata"]["name"] == name)


def images_variables() -> dict[str, str]:
    lines = (FOLDER.parent / "Containerfile").read_text().splitlines()
    return dict(line.removeprefix("ENV ").split("=", 1) for line in lines if line.startswith("ENV "))


def plain_variables(container: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize("version", KUBERNETES)
def test_an_api_server_takes_them(objects: list[Object], version: str) -> None:
    for obj in objects:
        kubernetes_validate.validate(obj, version, strict=True)
    spoilt = copy.deepcopy(of_kind(objects, "Deployment")[0])
    spoilt["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, version, strict=True)


def test_no_file_lies_there_unused() -> None:
    assert files(MOCK_WORKERS) | {GRAPH} == {path for path in FOLDER.glob("**/*") if path.is_file()}
    assert build(BASE)


def test_selectors_find_the_pods(objects: list[Object]) -> None:
    pods = [each["spec"]["template"]["metadata"]["labels"] for each, _ in deployments(objects)]
    for each, _ in deployments(objects):
        labels, spec = each["spec"]["template"]["metadata"]["labels"], each["spec"]
        selectors = [spec["selector"]["matchLabels"]]
        spread = spec["template"]["spec"].get("topologySpreadConstraints", [])
        selectors += [constraint["labelSelector"]["matchLabels"] for constraint in spread]
        assert all(selector.items() <= labels.items() for selector in selectors)
    others = [each["spec"]["selector"] for each in of_kind(objects, "Service")]
    others += [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodDisruptionBudget")]
    for selector in others:
        assert sum(selector.items() <= labels.items() for labels in pods) == 1


def test_ports_have_the_names_that_are_used(objects: list[Object]) -> None:
    names = {each["metadata"]["name"]: {port["name"] for port in of["ports"]} for each, of in deployments(objects)}
    for service in of_kind(objects, "Service"):
        used = {port["targetPort"] for port in service["spec"]["ports"]}
        assert used <= names[service["metadata"]["name"]]
    for each, container in deployments(objects):
        probes = (container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container)
        used = {(probe.get("httpGet") or probe["tcpSocket"])["port"] for probe in probes}
        assert used <= names[each["metadata"]["name"]]


def test_accounts_roles_and_settings_exist(objects: list[Object]) -> None:
    named = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    for each, container in deployments(objects):
        pod = each["spec"]["template"]["spec"]
        assert ("ServiceAccount", pod["serviceAccountName"]) in named
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        for source in container.get("envFrom", []):
            assert ("ConfigMap", source["configMapRef"]["name"]) in named
    for binding in of_kind(objects, "RoleBinding"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in named
        for subject in binding["subjects"]:
            account = named[subject["kind"], subject["name"]]
            assert subject["namespace"] == account["metadata"]["namespace"] == binding["metadata"]["namespace"]
    bound = {subject["name"] for binding in of_kind(objects, "RoleBinding") for subject in binding["subjects"]}
    assert bound == {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}


def test_everybody_knows_who_it_is(objects: list[Object]) -> None:
    for _, container in deployments(objects):
        fields = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in container["env"]
                  if "valueFrom" in each}  # fmt: skip
        assert fields == {name: f"metadata.{name.removeprefix('POD_').lower()}" for name in IDENTITY}


def test_the_frontend_knows_its_arguments_and_variables(objects: list[Object]) -> None:
    _, container = deployment(objects, "dynamo-fe")
    (settings,) = of_kind(objects, "ConfigMap")
    variables = settings["data"] | plain_variables(container)
    assert variables.keys() <= {setting.variable for setting in TABLE}
    loaded = load(container["args"][1:], variables)
    assert loaded.warnings == []
    assert loaded.settings.discovery_backend == "kubernetes"
    assert container["ports"] == [{"name": "http", "containerPort": loaded.settings.http_port}]


def test_the_mock_worker_knows_them_too(objects: list[Object]) -> None:
    worker, container = deployment(objects, "dynamo-fe-mock-worker")
    options = parse_options(container["args"][1:], plain_variables(container))
    assert options.discovery_backend == "kubernetes"
    assert container["ports"] == [{"name": "requests", "containerPort": options.rpc_port}]
    pod = worker["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > options.drain_secs


def test_probes_ask_what_is_there_and_the_end_has_time(objects: list[Object]) -> None:
    frontend, container = deployment(objects, "dynamo-fe")
    routes = Routes(Settings())
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert routes.find(container[probe]["httpGet"]["path"]) is not None
    pod = frontend["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= grace_secs(Settings(discovery_backend="kubernetes"))


def test_workers_slices_are_labelled_and_say_whether_they_are_ready(objects: list[Object]) -> None:
    worker, _ = deployment(objects, "dynamo-fe-mock-worker")
    labels = worker["spec"]["template"]["metadata"]["labels"]
    services = [each for each in of_kind(objects, "Service") if each["spec"]["selector"].items() <= labels.items()]
    (service,) = services
    assert service["metadata"]["labels"][DISCOVERED] == labels[DISCOVERED] == "true"
    assert "publishNotReadyAddresses" not in service["spec"]


def test_records_are_those_of_the_operator(objects: list[Object]) -> None:
    (ours,) = of_kind(objects, "CustomResourceDefinition")
    assert [ours] == documents(CAPTURED_CRD)


@pytest.mark.parametrize("version", KUBERNETES)
def test_a_graph_is_one(version: str) -> None:
    (graph,) = documents(GRAPH)
    jsonschema.validate(graph, GRAPH_SCHEMA)
    for component in graph["spec"]["components"]:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **component["podTemplate"]}
        kubernetes_validate.validate(pod, version, strict=True)


def test_a_graph_swaps_the_frontend_and_nothing_else() -> None:
    container = graphs_frontend()
    assert container.keys() == {"name", "image", "command", "args"}
    assert (container["name"], container["command"]) == ("main", ["dynamo-fe"])
    # Arguments that are left out, or empty, are the operator's.
    assert container["args"] and container["args"] != OPERATORS_ARGUMENTS
    arguments: list[Any] = container["args"][1:]
    loaded = load(arguments, images_variables() | OPERATORS_VARIABLES)
    assert (loaded.warnings, loaded.settings.http_port) == ([], 8000)
    # What comes from the workers is kept where whoever the operator lets it run as can write.
    assert Path(loaded.settings.cache_dir).is_relative_to("/tmp")
