"""The Kubernetes manifests as `kubectl apply -k` would send them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "packaging" / "kubernetes"
BASE = FOLDER / "base"
MOCK_WORKERS = FOLDER / "mock-workers"
GRAPH = FOLDER / "graph.yaml"

# What the operator gives a frontend's container where the graph says nothing else.
OPERATORS_ARGUMENTS = ["-m", "dynamo.frontend"]
OPERATORS_VARIABLES = {
    "DYNAMO_PORT": "8000",
    "DYN_HTTP_PORT": "8000",
    "DYN_NAMESPACE_PREFIX": "serving-mock",
    "DYN_NAMESPACE_PREFIX_STRICT": "true",
    "DYN_NAMESPACE": "serving-mock",
    "DYN_COMPONENT": "Frontend",
    "DYN_PARENT_DGD_K8S_NAME": "mock",
    "DYN_PARENT_DGD_K8S_NAMESPACE": "serving",
    "DYN_DISCOVERY_BACKEND": "kubernetes",
}

Object = dict[str, Any]
# Kinds that lie outside of a namespace.
_CLUSTER_KINDS = ("CustomResourceDefinition",)
_FIELDS = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator"}


def build(folder: Path) -> list[Object]:
    """What kustomize makes of a folder: its resources and generated config maps, put into its namespace.

    Raises ValueError for a field that this knows nothing of, OSError for a file that is missing.
    """
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if kustomization.keys() - _FIELDS:
        raise ValueError(f"{folder}: {sorted(kustomization.keys() - _FIELDS)}")
    objects: list[Object] = []
    for name in kustomization["resources"]:
        path = folder / name
        objects += build(path) if path.is_dir() else documents(path)
    objects += [_config_map(folder, asked) for asked in kustomization.get("configMapGenerator", [])]
    for obj in objects:
        if obj["kind"] not in _CLUSTER_KINDS:
            obj["metadata"]["namespace"] = kustomization["namespace"]
    return objects


def files(folder: Path) -> set[Path]:
    """All files that `build` reads."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found = {folder / "kustomization.yaml"}
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        found |= files(path) if path.is_dir() else {path}
    for asked in kustomization.get("configMapGenerator", []):
        found |= {folder / name for name in asked["envs"]}
    return found


def documents(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text()))


def graphs_frontend() -> Object:
    """The container of the frontend in the graph."""
    (graph,) = documents(GRAPH)
    components = (each for each in graph["spec"]["components"] if each["type"] == "frontend")
    container: Object = next(components)["podTemplate"]["spec"]["containers"][0]
    return container


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [obj for obj in objects if obj["kind"] == kind]


def rules_of(objects: list[Object], account: str) -> list[Object]:
    """The rules of the Roles that are bound to a service account."""
    bound = [
        binding["roleRef"]["name"]
        for binding in of_kind(objects, "RoleBinding")
        if any(subject["name"] == account for subject in binding["subjects"])
    ]
    return [rule for role in of_kind(objects, "Role") if role["metadata"]["name"] in bound for rule in role["rules"]]


def _config_map(folder: Path, asked: Object) -> Object:
    lines = [line for name in asked["envs"] for line in (folder / name).read_text().splitlines()]
    data = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": asked["name"]}, "data": data}
