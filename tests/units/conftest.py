"""One machine with a real systemd for all tests of this folder, with our package on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nspawn import Machine
from tests.support.packaging_scripts import packaging_module
from tests.support.processes import free_port
from tests.support.service import Service


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The package, and one of a later version."""
    packaging_module("sbom").build()
    deb = packaging_module("deb")
    later: Path = deb.build("99.0", "none", tmp_path_factory.mktemp("later"))
    return deb.build(), later


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, packages: tuple[Path, Path]) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine")) as machine:
        for package in packages:
            shutil.copy(package, machine.root / "root" / package.name)
        machine.run("dpkg", "-i", f"/root/{packages[0].name}")
        yield machine


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """dynamo-fe.service on its socket in front of one mock worker that serves MODEL, both started."""
    service = Service(machine, free_port())
    service.start()
    yield service
    service.stop()
