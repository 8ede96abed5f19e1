"""Who a process is to Kubernetes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynamo_fe.discovery.kube_identity import Identity, instance_id, read_identity

FIXTURES = Path(__file__).parent.parent / "fixtures" / "kubernetes"
NUMBERS: dict[str, dict[str, list[object]]] = json.loads((FIXTURES / "instance_ids.json").read_text())
POD = {"POD_NAME": "w0", "POD_UID": "uid-w0"}


def test_the_number_is_that_of_the_original() -> None:
    names = {name: expected for group in NUMBERS.values() for name, expected in group.items()}
    assert {name: [instance_id(name), f"{instance_id(name):x}"] for name in names} == names


def test_from_the_variables(tmp_path: Path) -> None:
    assert read_identity(POD, tmp_path) == Identity("w0", "uid-w0", "default")
    assert read_identity(POD | {"POD_NAMESPACE": "ns"}, tmp_path).namespace == "ns"


def test_files_win_over_variables(tmp_path: Path) -> None:
    for name, text in {"pod_name": " from-file\n", "pod_uid": "uid-file", "pod_namespace": "\n"}.items():
        (tmp_path / name).write_text(text)
    identity = read_identity(POD | {"POD_NAMESPACE": "ns"}, tmp_path)
    assert identity == Identity("from-file", "uid-file", "ns")


def test_container_mode(tmp_path: Path) -> None:
    mode = POD | {"DYN_KUBE_DISCOVERY_MODE": "container"}
    assert read_identity(mode | {"CONTAINER_NAME": "engine-0"}, tmp_path).record_name == "w0-engine-0"
    assert read_identity(mode | {"CONTAINER_NAME": "main"}, tmp_path).record_name == "w0"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"POD_UID": "u"}, "needs POD_NAME in"),
        ({"POD_NAME": "w0", "POD_UID": " "}, "needs POD_UID in"),
        ({}, "needs POD_NAME and POD_UID"),
        (POD | {"DYN_KUBE_DISCOVERY_MODE": "container"}, "needs CONTAINER_NAME"),
        (POD | {"DYN_KUBE_DISCOVERY_MODE": "node"}, "is 'node'; it can be pod or container"),
    ],
)
def test_what_is_missing_is_named(environment: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read_identity(environment, tmp_path)
