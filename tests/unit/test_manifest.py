"""The Kubernetes manifest says only what the program and its routes know."""

from pathlib import Path
from typing import Any

import yaml

from dynamo_fe.config import TABLE, Settings, load
from dynamo_fe.http.routes import Routes

MANIFEST = Path(__file__).parents[2] / "packaging" / "kubernetes.yaml"


def documents() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}


def test_arguments_and_variables_are_known() -> None:
    (container,) = documents()["Deployment"]["spec"]["template"]["spec"]["containers"]
    known = {setting.variable for setting in TABLE}
    plain = {each["name"]: each["value"] for each in container["env"]}
    assert plain.keys() <= known
    loaded = load(container["args"][1:], plain)
    assert loaded.warnings == []
    assert container["ports"] == [{"name": "http", "containerPort": loaded.settings.http_port}]


def test_probes_ask_what_is_there_and_the_end_has_time() -> None:
    pod = documents()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    routes = Routes(Settings())
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert routes.find(container[probe]["httpGet"]["path"]) is not None
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > waits + Settings().drain_timeout_secs


def test_the_service_finds_the_pods() -> None:
    found = documents()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"].items() <= labels.items()
    assert found["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
