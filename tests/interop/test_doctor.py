"""`dynamo-fe doctor` in front of a real etcd, real workers, and what can be wrong with them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster
from tests.support.frontends import our_command
from tests.support.nats_server import NatsServer
from tests.support.processes import clean_environment, free_port
from tests.support.stores import EtcdServer


def doctor(
    environment: dict[str, str], *arguments: str, under: Sequence[str] = ()
) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings; `under` is a program that runs it."""
    command = [*under, *our_command(), "doctor", "--json", "--http-host", "127.0.0.1", *arguments]
    done = subprocess.run(command, env=clean_environment(environment), capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def failures(findings: list[dict[str, Any]]) -> list[str]:
    assert all(each["remedy"] for each in findings if each["verdict"] == "fail")
    return [f"{each['what']}: {each['text']}" for each in findings if each["verdict"] == "fail"]


async def test_all_is_well_in_front_of_a_real_worker(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
    code, findings = await asyncio.to_thread(doctor, cluster.store.environment, "--http-port", str(free_port()))
    assert (code, failures(findings)) == (0, [])
    assert {"discovery", "worker", "model mock", "port", "clock"} <= {each["what"] for each in findings}


async def test_a_port_that_our_own_service_uses_is_no_failure(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--workers", "2"])
    code, findings = await asyncio.to_thread(doctor, cluster.store.environment, "--http-port", str(frontend.port))
    (said,) = [each for each in findings if each["what"] == "port"]
    assert (code, said["verdict"]) == (0, "warn")
    assert said["text"] == f"127.0.0.1:{frontend.port} is in use by dynamo-fe, process {frontend.process.pid}"


async def test_a_worker_that_is_gone_a_port_in_use_and_another_block_size(cluster_on_etcd: Cluster) -> None:
    mocker = await asyncio.to_thread(cluster_on_etcd.mocker, speedup_ratio=0)
    mocker.process.kill()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["--http-port", port, "--kv-cache-block-size", "7"]
        code, findings = await asyncio.to_thread(doctor, cluster_on_etcd.store.environment, *arguments)
    assert code == 3
    text = "\n".join(failures(findings))
    assert f"port {port} already in use" in text
    assert "cannot be connected to" in text
    assert "--kv-cache-block-size says 7" in text


def test_the_clock_is_held_against_that_of_the_store(etcd_server: EtcdServer) -> None:
    _, findings = doctor(etcd_server.environment, "--http-port", "0")
    (said,) = [each for each in findings if each["what"] == "clock"]
    assert said["verdict"] == "ok" and re.search(r"Z, as etcd at [\w.]+:\d+ has it$", said["text"]), said


def test_a_store_that_is_away(etcd_server: EtcdServer) -> None:
    etcd_server.stop()
    code, findings = doctor(etcd_server.environment, "--http-port", "0")
    assert code == 3
    assert [each for each in failures(findings) if each.startswith("discovery: ") and "does not answer" in each]


def test_a_nats_server_that_is_away_and_a_temporary_folder_that_is_not_there(tmp_path: Path) -> None:
    variables = {"NATS_SERVER": f"nats://127.0.0.1:{free_port()}", "TMPDIR": str(tmp_path / "none")}
    variables |= {"DYN_DISCOVERY_BACKEND": "mem", "DYN_REQUEST_PLANE": "nats"}
    code, findings = doctor(variables, "--http-port", "0")
    assert code == 3
    assert any(each.startswith("NATS: ") for each in failures(findings))
    assert any(each.startswith("temporary folder: no temporary folder") for each in failures(findings))


def test_few_open_files_are_a_warning_and_too_few_a_failure() -> None:
    def files(limit: int) -> dict[str, Any]:
        arguments = ["--discovery-backend", "mem", "--http-port", "0"]
        _, findings = doctor({}, *arguments, under=["prlimit", f"--nofile={limit}:{limit}"])
        (found,) = (each for each in findings if each["what"] == "open files")
        return found

    assert files(40)["verdict"] == "fail"
    few = files(1000)
    assert (few["verdict"], few["text"]) == (
        "warn", "1000 may be open in each process, enough for 405 connections at a time"
    )  # fmt: skip


def test_looking_into_a_folder_of_records_makes_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    variables = {"DYN_DISCOVERY_BACKEND": "file", "DYN_FILE_KV": str(store)}
    absent = f"the folder {store} is not there: no worker has registered"
    for text in (absent, "file answers, but no worker has registered"):
        _, findings = doctor(variables, "--http-port", "0")
        (said,) = [each for each in findings if each["what"] == "discovery"]
        assert (said["verdict"], said["text"]) == ("warn", text)
        assert said["remedy"] and not list(tmp_path.rglob("v1"))
        store.mkdir(exist_ok=True)


def test_a_configuration_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text("http_prot = 1\n")
    code, findings = doctor({}, "--config", str(tmp_path / "file.toml"))
    assert (code, failures(findings)) == (
        78, [f"configuration: {tmp_path}/file.toml:1: unknown key http_prot (did you mean http_port?)"]
    )  # fmt: skip


def test_a_nats_server_is_spoken_to_and_not_only_connected_to(etcd_server: EtcdServer, tmp_path: Path) -> None:
    server = NatsServer(tmp_path, ["--user", "u", "--pass", "right"])
    server.start()
    try:
        found = {}
        for address in (f"u:right@127.0.0.1:{server.port}", f"u:wr0ng@127.0.0.1:{server.port}",
                        etcd_server.environment["ETCD_ENDPOINTS"].rpartition("/")[2]):  # fmt: skip
            variables = {"NATS_SERVER": f"nats://{address}", "DYN_DISCOVERY_BACKEND": "mem"}
            code, findings = doctor(variables, "--http-port", str(free_port()), "--event-plane", "nats")
            (said,) = [each for each in findings if each["what"] == "NATS"]
            assert "wr0ng" not in json.dumps(findings)
            found[address.partition("@")[0]] = code, said["verdict"], said["text"].partition(" ")[2]
    finally:
        server.stop()
    good, refused, other = found.values()
    assert good == (0, "ok", "lets this frontend in")
    assert refused[:2] == (3, "fail") and "Authorization Violation" in refused[2]
    assert other[:2] == (3, "fail") and other[2].startswith("by which events come, cannot be used: ")
