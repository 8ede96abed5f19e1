"""What settings name may be no file: a start says so, and neither waits for ever nor reads without an end."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dynamo_fe.cli.preflight import configuration
from dynamo_fe.config import ConfigError, load
from dynamo_fe.config.errors import BAD_CONFIGURATION


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def refusal(path: str, *arguments: str, by: Callable[..., object] = load) -> str:
    with pytest.raises(ConfigError) as error:
        by([*arguments, path], {})
    assert "\n" not in str(error.value)
    assert arguments != ("--config",) or error.value.exit_code == BAD_CONFIGURATION
    return str(error.value)


def test_a_fifo_that_nobody_writes_to_is_no_configuration(fifo: Path) -> None:
    assert refusal(str(fifo), "--config") == f"{fifo}: it is no regular file, and nothing comes out of it"


def test_an_empty_device_is_an_empty_configuration() -> None:
    assert load(["--config", "/dev/null"], {}).settings.config == "/dev/null"


def test_a_writer_that_never_ends_is_not_waited_for(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamo_fe.config.reading._PIPE_SECS", 0.2)
    kept_open = os.open(fifo, os.O_RDWR)
    os.write(kept_open, b"workers = 2\n")
    assert "what comes out of it had no end within 0.2 s" in refusal(str(fifo), "--config")
    os.close(kept_open)


def test_what_a_shell_pipes_in_is_a_configuration() -> None:
    """As `--config <(...)` and `--config /dev/stdin` have it, in pieces."""
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb") as file:
            for _ in range(3000):
                file.write(b"# so many characters that no pipe holds them all at once\n")
            file.write(b"workers = 3\n")

    writing = threading.Thread(target=write)
    writing.start()
    settings = load(["--config", f"/dev/fd/{reader}"], {}).settings
    writing.join()
    os.close(reader)
    assert settings.workers == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tls-cert-path", "CERTIFICATE", "--tls-key-path"),
        ("--router-policy-config",),
        ("--router-mode", "kv", "--router-tracking-hash", "keyed-xxh3-v1", "--router-tracking-key-id", "k",
         "--router-tracking-key-file"),
    ],
)  # fmt: skip
def test_files_that_settings_name_must_be_files(arguments: tuple[str, ...], fifo: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("-----BEGIN CERTIFICATE-----")
    words = [word.replace("CERTIFICATE", str(certificate)) for word in arguments]
    assert re.search(f"{fifo}: (cannot be read: )?it is no regular file$", refusal(str(fifo), *words, by=configuration))


def test_nor_do_credentials_come_from_a_pipe(fifo: Path) -> None:
    environ = {"DYN_REQUEST_PLANE": "nats", "NATS_AUTH_CREDENTIALS_FILE": str(fifo)}
    with pytest.raises(ConfigError, match=f"{fifo}: it is no regular file$"):
        configuration([], environ)
