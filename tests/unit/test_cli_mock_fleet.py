import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dynamo_fe.cli.mock_fleet import MockFleet, check_fleet
from dynamo_fe.config import ConfigError, load


def new_fleet(*argv: str, **environ: str) -> MockFleet:
    loaded = load(argv, environ)
    return MockFleet(loaded.settings, loaded.origins)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines with which mock workers were run."""
    lines: list[list[str]] = []

    def run(argv: list[str]) -> int:
        lines.append(argv)
        return 0

    command = ModuleType("dynamo_fe.workers.command")
    command.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dynamo_fe.workers.command", command)
    return lines


@pytest.mark.parametrize(
    "argv",
    [["--request-plane", "nats"], ["--tcp-tls-ca-cert-path", "ca.pem"], ["--discovery-backend", "kubernetes"]],
)
def test_what_they_cannot_speak_is_refused(argv: list[str]) -> None:
    with pytest.raises(ConfigError, match="--mock-workers"):
        check_fleet(load(["--mock-workers", "1", *argv], {}).settings)


def test_without_mock_workers_nothing_is_changed() -> None:
    fleet = new_fleet("--http-port", "1")
    assert fleet.settings == load(["--http-port", "1"], {}).settings


def test_they_register_in_a_folder_of_their_own_that_goes_with_them(started: list[list[str]]) -> None:
    fleet = new_fleet("--mock-workers", "2")
    folder = Path(fleet.settings.file_kv or "")
    assert fleet.settings.discovery_backend == "file"
    assert folder.is_dir()
    assert fleet.run_worker() == 0
    where = ["--discovery-backend", "file", "--model-name", "mock", "--file-kv", str(folder)]
    assert started == [[*where, "--no-kv-events"]]
    fleet.close()
    assert not folder.exists()


@pytest.mark.parametrize("environ", [{}, {"DYN_DISCOVERY_BACKEND": "file"}])
def test_a_folder_that_the_user_named_is_used_and_kept(
    environ: dict[str, str], tmp_path: Path, started: list[list[str]]
) -> None:
    fleet = new_fleet("--mock-workers", "1", DYN_FILE_KV=str(tmp_path), **environ)
    fleet.run_worker()
    assert fleet.settings.discovery_backend == "file"
    assert started[0][-3:-1] == ["--file-kv", str(tmp_path)]
    fleet.close()
    assert tmp_path.is_dir()


def test_model_name_and_namespace_of_the_user_are_theirs_too(started: list[list[str]]) -> None:
    fleet = new_fleet("--mock-workers", "1", "--discovery-backend", "etcd", "--model-name", "m", "--namespace", "n")
    fleet.run_worker()
    assert started[0][:-1] == ["--discovery-backend", "etcd", "--model-name", "m", "--namespace", "n"]


def test_a_router_that_looks_at_caches_has_them_tell_of_theirs(started: list[list[str]]) -> None:
    argv = ("--mock-workers", "1", "--router-mode", "kv", "--event-plane", "nats")
    fleet = new_fleet(*argv, NATS_SERVER="nats://n:1")
    fleet.run_worker()
    fleet.close()
    events = ["--event-plane", "nats", "--nats-server", "nats://n:1", "--kv-block-size", "16"]
    assert started[0][-6:] == events


def test_mem_discovery_cannot_show_them() -> None:
    with pytest.raises(ConfigError, match="mem discovery"):
        check_fleet(load(["--mock-workers", "1", "--discovery-backend", "mem"], {}).settings)


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000/"), ("::", "http://[::1]:8000/"), ("::2", "http://[::2]:8000/")],
)
def test_the_example_can_be_pasted(host: str, url: str) -> None:
    example = new_fleet("--model-name", "m").example(host, 8000)
    assert url in example
    body = re.search(r"-d '(.*)'$", example)
    assert body is not None
    assert json.loads(body[1])["model"] == "m"
