"""What the one-file form unpacks is there while it runs, and no longer."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import chat
from tests.support.frontends import Frontend, frozen_binary, our_frontend

START_SECS = 30.0


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def frontend(temporary: Path, tmp_path: Path) -> Iterator[Frontend]:
    environment = {"TMPDIR": str(temporary)}
    arguments = ["--mock-workers", "1"]
    found = our_frontend(environment, log=tmp_path / "frozen.log", arguments=arguments, command=[frozen_binary()])
    try:
        found.process.wait_until(lambda: bool(found.models()), "model", START_SECS)
        yield found
    finally:
        found.stop()


def unpacked(temporary: Path) -> list[Path]:
    return list(temporary.glob("_MEI*"))


def start_another(temporary: Path, *inside: str) -> None:
    command = [*inside, frozen_binary(), "version"]
    subprocess.run(command, env={"PATH": os.environ["PATH"], "TMPDIR": str(temporary)}, check=True)


def as_after_a_minute(folder: Path) -> None:
    changed = time.time() - 61
    os.utime(folder, (changed, changed))


def test_what_a_killed_boot_loader_left_is_removed_by_the_next_start(frontend: Frontend, temporary: Path) -> None:
    (folder,) = unpacked(temporary)
    (program,) = Path(f"/proc/{frontend.process.pid}/task/{frontend.process.pid}/children").read_text().split()
    ended = os.pidfd_open(int(program))
    frontend.process.send_signal(signal.SIGKILL)
    assert frontend.process.wait_for_exit(START_SECS) == -signal.SIGKILL
    assert select.select([ended], [], [], START_SECS)[0]
    os.close(ended)
    as_after_a_minute(folder)
    start_another(temporary)
    assert unpacked(temporary) == []


def test_what_is_in_use_stays_even_if_the_process_cannot_be_seen(frontend: Frontend, temporary: Path) -> None:
    (folder,) = unpacked(temporary)
    as_after_a_minute(folder)
    start_another(temporary, "unshare", "--pid", "--fork", "--mount-proc")
    assert unpacked(temporary) == [folder]
    assert chat(frontend.url, "mock", max_tokens=2)[0] == 200
    frontend.process.send_signal(signal.SIGTERM)
    assert frontend.process.wait_for_exit(START_SECS) == 0
    assert unpacked(temporary) == []
