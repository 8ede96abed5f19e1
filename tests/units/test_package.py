"""The Debian package under a real systemd: what dpkg, lintian and the services say of install, upgrade and removal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nspawn import Machine
from tests.support.service import MODEL, UNIT, Service

# The machine and its packages are made once, in the time of the first test; each step there has a limit of its own.
pytestmark = pytest.mark.timeout(300, func_only=True)
INSTANCE = "dynamo-fe@two.service"
PROGRAM = "/usr/lib/dynamo-fe/dynamo-fe"
MOCK = f"dynamo-fe-mock@{MODEL}.service"
STATUS = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "dynamo-fe")


@pytest.fixture
def installed(service: Service, packages: tuple[Path, Path]) -> Iterator[Service]:
    """The service, an instance and the mock worker, enabled and running; the first package at the end."""
    machine = service.machine
    machine.write("/etc/dynamo-fe/two.toml", 'http_port = 0\nhttp_host = "127.0.0.1"\ndiscovery_backend = "mem"\n')
    machine.run("systemctl", "enable", "--now", INSTANCE, MOCK, UNIT)
    yield service
    machine.run("systemctl", "stop", INSTANCE, check=False)
    machine.run("dpkg", "-i", f"/root/{packages[0].name}")


def unit_links(machine: Machine) -> list[str]:
    """What enabling has left."""
    return sorted(link.name for link in (machine.root / "etc/systemd/system").glob("*.wants/dynamo-fe*"))


def running(machine: Machine) -> str:
    """The programs of all processes, one a line."""
    return machine.run("sh", "-c", "readlink /proc/[0-9]*/exe", check=False)


def test_lintian_has_nothing_to_say(packages: tuple[Path, Path]) -> None:
    """Each finding is mended, or overridden with its reason."""
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", packages[0]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dpkg_finds_every_file_as_it_was_packed(machine: Machine) -> None:
    changed = machine.run("dpkg", "--verify", "dynamo-fe", check=False).splitlines()
    assert [line for line in changed if " c /etc/" not in line] == []


def test_an_upgrade_ends_though_a_service_does_not_start(installed: Service, packages: tuple[Path, Path]) -> None:
    machine = installed.machine
    worker = machine.show(MOCK, "MainPID")
    machine.write("/etc/dynamo-fe/two.toml", "http_port = 70000\n")
    told = machine.run("sh", "-c", f"dpkg -i /root/{packages[1].name} 2>&1")
    assert "dynamo-fe: a service has not started again, see: systemctl list-units --failed" in told
    assert machine.run(*STATUS) == "installed 99.0"
    assert INSTANCE in machine.run("systemctl", "list-units", "--failed", "--plain", "dynamo-fe*")
    assert machine.show(UNIT, "ActiveState") == "active" and machine.show(MOCK, "ActiveState") == "active"
    assert machine.show(MOCK, "MainPID") != worker
    machine.until(lambda: MODEL in installed.models(), "the model is listed")


def test_a_removal_ends_and_disables_every_instance(installed: Service) -> None:
    machine = installed.machine
    assert unit_links(machine) == sorted([MOCK, UNIT, "dynamo-fe.socket", INSTANCE])
    assert PROGRAM in running(machine)
    machine.run("dpkg", "-r", "dynamo-fe")
    assert machine.run(*STATUS).startswith("config-files ")
    assert unit_links(machine) == []
    units = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "dynamo-fe*")
    machine.until(lambda: machine.run(*units) == "", "systemd has forgotten them")
    assert PROGRAM not in running(machine)
    assert (machine.root / "etc/dynamo-fe/two.toml").exists(), "configuration outlives a removal"


def test_a_purge_leaves_nothing_but_a_user_that_nobody_can_be(installed: Service) -> None:
    machine = installed.machine
    machine.write("/etc/dynamo-fe/credentials/nats", "hunter2\n")
    number = machine.run("id", "-u", "dynamo-fe").strip()
    machine.run("dpkg", "--purge", "dynamo-fe")
    assert machine.code(*STATUS) != 0
    assert unit_links(machine) == [] and PROGRAM not in running(machine)
    # what the tests themselves put there is not the package's
    left = machine.run("find", "/", "-xdev", "-path", "/root", "-prune", "-o", "-name", "*dynamo-fe*", "-print")
    assert [path for path in left.splitlines() if not path.startswith("/etc/systemd/system/")] == []
    assert machine.run("find", "/", "-xdev", "-user", number) == ""
    assert machine.run("getent", "passwd", "dynamo-fe").strip().endswith("/nologin")
    assert machine.run("getent", "shadow", "dynamo-fe").split(":")[1].startswith("!")
