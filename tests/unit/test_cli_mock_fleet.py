import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from dynamo_fe.appliance.child import spawn
from dynamo_fe.cli.mock_fleet import MockFleet, check_fleet
from dynamo_fe.config import ConfigError, load
from tests.support.forks import orphan_of


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


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def killed(temporary: Path) -> Path:
    """The folder of one that could not close it."""
    assert os.waitpid(spawn(lambda: int(new_fleet("--mock-workers", "1") is None)), 0)[1] == 0
    (left,) = temporary.iterdir()
    return left


def test_what_a_kill_left_the_next_one_removes(temporary: Path) -> None:
    left = killed(temporary)
    fleet = new_fleet("--mock-workers", "1")
    assert not left.exists() and Path(fleet.settings.file_kv or "").is_dir()
    fleet.close()
    assert list(temporary.iterdir()) == []


def test_what_another_uses_stays(temporary: Path) -> None:
    """And for as long as a fork of it lives."""
    other = new_fleet("--mock-workers", "1")
    with orphan_of(lambda: new_fleet("--mock-workers", "1")) as end:
        new_fleet("--mock-workers", "1").close()
        assert Path(other.settings.file_kv or "").is_dir() and len(list(temporary.iterdir())) == 2
        end()
        new_fleet("--mock-workers", "1").close()
        assert [folder / "held" for folder in temporary.iterdir()] == [Path(other.settings.file_kv or "")]
    other.close()


def of_another_name(temporary: Path) -> Path:
    return killed(temporary).rename(temporary / "dynamo-fe-of-mine")


def of_another_kind(temporary: Path) -> Path:
    left = killed(temporary)
    (left / "held").rename(left / "kept")
    return left


def behind_a_link(temporary: Path) -> Path:
    left = killed(temporary)
    (temporary / "elsewhere").mkdir()
    target = left.rename(temporary / "elsewhere" / left.name)
    left.symlink_to(target)
    return target


@pytest.mark.parametrize("made", [of_another_name, of_another_kind, behind_a_link])
def test_what_may_be_anothers_stays(made: Callable[[Path], Path], temporary: Path) -> None:
    folder = made(temporary)
    new_fleet("--mock-workers", "1").close()
    assert list(folder.iterdir()) != []


def test_what_another_user_left_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = killed(temporary)
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    new_fleet("--mock-workers", "1").close()
    assert left.exists()


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
