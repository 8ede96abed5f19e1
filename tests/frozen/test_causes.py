"""Whatever keeps it from serving is one line and the exit code that the manual gives for it, in every form."""

from __future__ import annotations

import asyncio
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dynamo_fe.cli.exit_codes import EXIT_CODES
from tests.support.asking import ask, chat
from tests.support.cluster import Cluster
from tests.support.frontends import ROOT, frozen_binary
from tests.support.stores import FileStore

Command = Sequence[str | Path]

FORMS: dict[str, Callable[[], Command]] = {
    "source": lambda: [sys.executable, "-m", "dynamo_fe"],
    "file": lambda: [frozen_binary()],
    "folder": lambda: [ROOT / "dist" / "dynamo-fe.d" / "dynamo-fe"],
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@dataclass
class Cause:
    """What a start is given, and what it says and ends with."""

    code: int
    says: str
    arguments: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    files: int | None = None


def bad_key(home: Path, stack: ExitStack) -> Cause:
    (home / "bad.toml").write_text("http_prot = 1\n")
    return Cause(78, "unknown key http_prot (did you mean http_port?)", ["--config", f"{home}/bad.toml"])


def bad_syntax(home: Path, stack: ExitStack) -> Cause:
    (home / "bad.toml").write_text("http_port = \n")
    return Cause(78, "bad.toml:1:", ["--config", f"{home}/bad.toml"])


def bad_value(home: Path, stack: ExitStack) -> Cause:
    (home / "bad.toml").write_text('\nhttp_port = "x"\n')
    return Cause(78, "bad.toml:2:", ["--config", f"{home}/bad.toml"])


def no_file(home: Path, stack: ExitStack) -> Cause:
    return Cause(66, "cannot read", ["--config", f"{home}/none.toml"])


def bad_flag(home: Path, stack: ExitStack) -> Cause:
    return Cause(2, "invalid int value", ["--http-port", "x"])


def flag_out_of_range(home: Path, stack: ExitStack) -> Cause:
    return Cause(1, "--workers must be between 1 and 256, got 0", ["--workers", "0"])


def bad_variable(home: Path, stack: ExitStack) -> Cause:
    return Cause(78, "DYN_FE_WORKERS must be between 1 and 256, got 0", environ={"DYN_FE_WORKERS": "0"})


def no_certificate_of_a_flag(home: Path, stack: ExitStack) -> Cause:
    arguments = ["--tls-cert-path", "/none.pem", "--tls-key-path", "/none.pem"]
    return Cause(1, "--tls-cert-path: certificate /none.pem: No such file", arguments)


def no_certificate_of_a_file(home: Path, stack: ExitStack) -> Cause:
    (home / "tls.toml").write_text('\ntls_cert_path = "/none.pem"\ntls_key_path = "/none.pem"\n')
    return Cause(78, "tls.toml:2: tls_cert_path: certificate /none.pem: No such", ["--config", f"{home}/tls.toml"])


def no_use_of_certificate(home: Path, stack: ExitStack) -> Cause:
    (home / "bad.pem").write_text("no certificate\n")
    (home / "tls.toml").write_text(f'tls_cert_path = "{home}/bad.pem"\ntls_key_path = "{home}/bad.pem"\n')
    return Cause(78, "bad.pem is not PEM", ["--config", f"{home}/tls.toml"])


def port_in_use(home: Path, stack: ExitStack) -> Cause:
    taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = taken.getsockname()[1]
    return Cause(1, f"port {port} already in use", ["--http-port", str(port)])


def call_back_port_in_use(home: Path, stack: ExitStack) -> Cause:
    port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
    environ = {"DYN_TCP_RESPONSE_STREAM_PORT": str(port), "DYN_TCP_RESPONSE_STREAM_HOST": "127.0.0.1"}
    said = f"DYN_TCP_RESPONSE_STREAM_PORT: cannot listen on 127.0.0.1 port {port} for call-backs of workers: Address"
    return Cause(1, said, environ=environ)


def no_address_of_ours(home: Path, stack: ExitStack) -> Cause:
    return Cause(1, "cannot listen on 192.0.2.7", ["--http-host", "192.0.2.7"])


def no_credential(home: Path, stack: ExitStack) -> Cause:
    environ = {"NATS_AUTH_TOKEN": "credential:x", "CREDENTIALS_DIRECTORY": str(home)}
    return Cause(66, "there is no credential x", environ=environ)


def unreadable_credential(home: Path, stack: ExitStack) -> Cause:
    """Root reads everything but a folder."""
    (home / "x").mkdir()
    environ = {"NATS_AUTH_TOKEN": "credential:x", "CREDENTIALS_DIRECTORY": str(home)}
    return Cause(66, "credential x", environ=environ)


def no_descriptors(home: Path, stack: ExitStack) -> Cause:
    return Cause(71, "only 20 files may be open", files=20)


def full_temporary_folder(home: Path, stack: ExitStack) -> Cause:
    folder = stack.enter_context(full_file_system(home))
    return Cause(73, "No space left on device", ["--mock-workers", "1"], {"TMPDIR": str(folder)})


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def full_file_system(home: Path) -> Iterator[Path]:
    with mounted(home / "full", "size=64k") as folder:
        (folder / "filler").write_bytes(bytes(64 << 10))
        yield folder


def file_system_without_programs(home: Path) -> AbstractContextManager[Path]:
    return mounted(home / "noexec", "noexec")


CAUSES = [
    bad_key, bad_syntax, bad_value, no_file, bad_flag, flag_out_of_range, bad_variable, no_certificate_of_a_flag,
    no_certificate_of_a_file, no_use_of_certificate, port_in_use,
    call_back_port_in_use, no_address_of_ours, no_credential, unreadable_credential, no_descriptors,
    full_temporary_folder,
]  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_one_line_and_the_documented_exit_code(
    cause: Callable[[Path, ExitStack], Cause], form: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        made = cause(tmp_path, stack)
        if form == "file" and made.code == 73:
            # the boot loader speaks, before anything of ours does
            made = Cause(255, "", made.arguments, made.environ)
        done = start(FORMS[form](), made)
    lines = done.stderr.splitlines()
    assert done.returncode == made.code, done.stderr
    assert made.code in {code for code, _ in EXIT_CODES}
    assert done.stdout == "" and "Traceback" not in done.stderr
    if made.says:
        assert len(lines) == 1 and made.says in lines[0], done.stderr


@pytest.mark.parametrize(
    ("temporary_folder", "code", "says"),
    [(full_file_system, 255, "Failed to extract"), (file_system_without_programs, 127, "shared object")],
)
def test_only_the_one_file_form_needs_a_temporary_folder_of_its_own(
    temporary_folder: Callable[[Path], AbstractContextManager[Path]], code: int, says: str, tmp_path: Path
) -> None:
    with temporary_folder(tmp_path) as folder:
        made = Cause(code, says, ["--discovery-backend", "mem"], {"TMPDIR": str(folder)})
        done, of_folder = (start([*FORMS[form](), "check-config"], made) for form in ("file", "folder"))
    assert (done.returncode, done.stdout) == (code, "") and says in done.stderr
    assert code in dict(EXIT_CODES)
    assert (of_folder.returncode, of_folder.stderr) == (0, "")


def start(command: Command, cause: Cause) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if cause.files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (cause.files, cause.files))

    arguments = ["--http-host", "127.0.0.1", *cause.arguments]
    if "--http-port" not in arguments:
        arguments += ["--http-port", "0"]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **cause.environ},
        preexec_fn=limit,
        cwd=ROOT,
    )


async def test_with_all_files_in_use_it_serves_on_and_says_so_once(form: str, tmp_path: Path) -> None:
    """100 files are enough for 12 connections; 16 that say nothing want in."""
    store = FileStore(tmp_path / "store")
    with Cluster(store, tmp_path) as cluster, ExitStack() as idle:
        await asyncio.to_thread(cluster.mock_worker)
        limited = ["prlimit", "--nofile=100:100", *FORMS[form]()]
        frontend = await asyncio.to_thread(cluster.frontend, "mock", command=limited)
        for _ in range(16):
            idle.enter_context(socket.create_connection(("127.0.0.1", frontend.port)))
        status, _ = await asyncio.to_thread(chat, frontend.url, "mock", max_tokens=2)
        assert status == 200
        _, metrics = await asyncio.to_thread(ask, f"{frontend.url}/metrics")
        said = frontend.process.output()
    assert 'dynamo_fe_bound{setting="max_connections"} 12' in metrics
    assert 'dynamo_fe_client_connections_closed_total{reason="full"}' in metrics
    assert said.count("12 connections at a time instead of 8192, as only 100 files may be open") == 1
    assert said.count("all 12 connections are in use") == 1
    assert "Too many open files" not in said
