"""The installed service under a real systemd: start, restart, watchdog, reload, upgrade, removal."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.load import SteadyLoad, client, stream_chat
from tests.support.new_connections import NewConnections
from tests.support.nspawn import Machine
from tests.support.service import CONFIGURATION, MODEL, UNIT, Service

# The machine and its packages are made once, in the time of the first test; each step there has a limit of its own.
pytestmark = pytest.mark.timeout(300, func_only=True)
UNITS = ("dynamo-fe.service", "dynamo-fe.socket", "dynamo-fe@one.service", "dynamo-fe-mock@one.service")


async def restart_under_load(service: Service, *command: str) -> NewConnections:
    """Runs the command while new connections come, and some after it."""
    async with NewConnections(service.port) as connections:
        await connections.more(20)
        await asyncio.to_thread(service.machine.run, *command)
        await connections.more(20)
    return connections


def test_the_units_are_good_and_hardened(machine: Machine) -> None:
    assert machine.run("systemd-analyze", "verify", "--man=no", *UNITS) == ""
    for unit in UNITS:
        if unit.endswith(".service"):
            words = machine.run("systemd-analyze", "security", "--offline=true", unit).splitlines()[-1]
            assert float(words.split(":")[1].split()[0]) <= 1.5, words


async def test_it_is_ready_when_it_listens_and_says_what_it_serves(service: Service) -> None:
    machine = service.machine
    assert machine.show(UNIT, "ActiveState") == "active"
    assert machine.show(UNIT, "User") == "dynamo-fe"
    async with client(service.url) as source:
        assert await stream_chat(source, MODEL, 20) == 20
    machine.until(lambda: machine.show(UNIT, "StatusText") == f"serving 1 model: {MODEL}", "the status")
    machine.run("systemctl", "stop", f"dynamo-fe-mock@{MODEL}.service")
    machine.until(lambda: machine.show(UNIT, "StatusText").startswith("waiting: "), "the status without workers")
    assert "dynamo_fe.cli: serving on" in machine.journal(UNIT, "-p", "info..info")


def test_the_socket_starts_it(service: Service) -> None:
    machine = service.machine
    machine.run("systemctl", "stop", UNIT)
    machine.until(lambda: MODEL in service.models(), "the model is listed")
    machine.until(lambda: machine.show(UNIT, "ActiveState") == "active", "systemd knows")


async def test_a_restart_refuses_no_connection(service: Service) -> None:
    before = service.main_pid()
    connections = await restart_under_load(service, "systemctl", "restart", UNIT)
    assert connections.refused == {}
    assert service.main_pid() != before


async def test_a_stopped_loop_is_replaced(service: Service) -> None:
    main, (first, second) = service.main_pid(), service.children()
    os.kill(first, signal.SIGSTOP)
    # READY=1 comes with the first of the two that serves: the other may still be starting, for which it has 30 s.
    replaced = "the process is replaced"
    await asyncio.to_thread(service.machine.until, lambda: first not in service.children(), replaced)
    assert service.main_pid() == main and second in service.children()
    async with client(service.url) as source:
        assert await stream_chat(source, MODEL, 5) == 5


def test_the_watchdog_restarts_the_service_when_its_main_process_hangs(service: Service) -> None:
    machine, main = service.machine, service.main_pid()
    os.kill(machine.host_pid(main), signal.SIGSTOP)
    machine.until(lambda: service.main_pid() not in (0, main), "another main process")
    machine.until(lambda: MODEL in service.models(), "the model is listed")
    assert "Watchdog timeout" in machine.journal(UNIT)


async def test_a_reload_takes_the_new_configuration_and_refuses_a_bad_one(service: Service) -> None:
    machine, main, old = service.machine, service.main_pid(), service.children()
    streams = SteadyLoad(service.url, MODEL, streams=4, tokens=40)
    streams.start()
    service.configure("workers = 2\nmodels_of_nobody = 1\n")
    assert machine.code("systemctl", "reload", UNIT) != 0
    machine.run("systemctl", "kill", "--kill-who=main", "--signal=HUP", UNIT)
    line = f"reload refused: {CONFIGURATION}:4: unknown key models_of_nobody"
    await asyncio.to_thread(machine.until, lambda: line in machine.show(UNIT, "StatusText"), "the refusal")
    assert service.children() == old
    service.configure('workers = 2\nlog_level = "debug"\n')
    connections = await restart_under_load(service, "systemctl", "reload", UNIT)
    await asyncio.to_thread(machine.until, lambda: not set(old) & set(service.children()), "the old have gone")
    outcome = await streams.finish()
    assert connections.refused == {} and outcome.failures == [] and outcome.complete >= 4
    assert service.main_pid() == main and len(service.children()) == 2
    assert "reloading; changed: DYN_LOG" in machine.journal(UNIT)


def test_a_bad_configuration_fails_at_once_with_its_line(service: Service) -> None:
    machine = service.machine
    machine.run("systemctl", "stop", "dynamo-fe.socket", UNIT)
    service.configure("http_port = 70000\n")
    assert machine.code("systemctl", "start", UNIT) != 0
    assert machine.show(UNIT, "ExecMainStatus") == "78"
    errors = machine.journal(UNIT, "-p", "err", "-n", "20")
    assert f"{CONFIGURATION}:3: http_port must be between 0 and 65535, got 70000" in errors
    machine.until(lambda: machine.show(UNIT, "ActiveState") == "failed", "it is not tried again")


def test_a_credential_reaches_the_service_and_nobody_else(service: Service) -> None:
    machine = service.machine
    machine.write("/etc/dynamo-fe/credentials/nats", "hunter2\n")
    service.configure('workers = 1\nnats_auth_token = "credential:nats"\n')
    machine.run("systemctl", "restart", UNIT)
    service.configure('workers = 1\nnats_auth_token = "credential:other"\n')
    machine.run("systemctl", "stop", "dynamo-fe.socket", UNIT)
    assert machine.code("systemctl", "start", UNIT) != 0
    assert machine.show(UNIT, "ExecMainStatus") == "66"
    assert "there is no credential other; there is: nats" in machine.journal(UNIT, "-p", "err", "-n", "20")
    assert machine.run("stat", "-c", "%a %U", "/etc/dynamo-fe/credentials").split() == ["700", "root"]


def test_a_reload_keeps_the_credentials_and_a_restart_renews_them(service: Service, tmp_path: Path) -> None:
    machine, authority, folder = service.machine, Authority(tmp_path), "/etc/dynamo-fe/credentials"
    with_tls = 'workers = 1\ntls_cert_path = "credential:cert"\ntls_key_path = "credential:{}"\n'

    def renew(name: str) -> str:
        for source, target in zip(authority.issue(name), ("cert", "key"), strict=True):
            machine.write(f"{folder}/{target}", source.read_text())
        return (tmp_path / f"{name}.crt").read_text()

    first = renew("first")
    service.configure(with_tls.format("key"))
    machine.run("systemctl", "restart", UNIT)
    serving, second = service.children(), renew("second")
    service.configure(with_tls.format("other"))
    assert machine.code("systemctl", "reload", UNIT) != 0
    assert "there is no credential other; there is: cert, key" in machine.journal(UNIT, "-p", "err", "-n", "20")
    assert service.children() == serving
    service.configure(with_tls.format("key") + 'log_level = "debug"\n')
    machine.run("systemctl", "reload", UNIT)
    machine.until(lambda: not set(serving) & set(service.children()), "the old have gone")
    assert ssl.get_server_certificate(("127.0.0.1", service.port)) == first
    machine.run("systemctl", "restart", UNIT)
    assert ssl.get_server_certificate(("127.0.0.1", service.port)) == second


def test_instances_serve_beside_it(service: Service) -> None:
    machine = service.machine
    machine.write("/etc/dynamo-fe/two.toml", 'http_port = 0\nhttp_host = "127.0.0.1"\ndiscovery_backend = "mem"\n')
    machine.run("systemctl", "start", "dynamo-fe@two.service")
    assert machine.show("dynamo-fe@two.service", "StatusText").startswith("waiting: ")
    assert MODEL in service.models()
    machine.run("systemctl", "stop", "dynamo-fe@two.service")


async def test_upgrade_and_removal(service: Service, packages: tuple[Path, Path]) -> None:
    machine, before = service.machine, service.main_pid()
    connections = await restart_under_load(service, "dpkg", "-i", f"/root/{packages[1].name}")
    assert connections.refused == {}
    assert service.main_pid() != before
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", "dynamo-fe") == "99.0"
    machine.run("dpkg", "-r", "dynamo-fe")
    assert machine.show(UNIT, "ActiveState") == "inactive" and machine.show(UNIT, "LoadState") == "not-found"
    assert (machine.root / CONFIGURATION[1:]).exists(), "configuration outlives a removal"
    machine.run("dpkg", "-P", "dynamo-fe")
    assert not (machine.root / "etc/dynamo-fe").exists()
    machine.run("dpkg", "-i", f"/root/{packages[0].name}")
