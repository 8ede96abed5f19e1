from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dynamo_fe.appliance.child import spawn
from dynamo_fe.appliance.unpacked import keep_unpacked, remove_left_behind
from tests.support.forks import orphan_of

# Linux has no process id as large as that.
NOBODY = 0x7FFFFFFF
OWN = NOBODY - 2


def left_behind(temporary: Path, *, pid: int = NOBODY, age_secs: float = 120.0, package: str = "dynamo_fe") -> Path:
    folder = temporary / f"_MEI{pid:08x}Ab_1z9"
    (folder / package / "_cext").mkdir(parents=True)
    (folder / "libz.so.1").write_bytes(b"x")
    changed = time.time() - age_secs
    os.utime(folder, (changed, changed))
    return folder


def start_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """What a process ends with that is told that it runs from there."""
    monkeypatch.setattr(sys, "_MEIPASS", str(folder), raising=False)
    return os.waitstatus_to_exitcode(os.waitpid(spawn(lambda: keep_unpacked() or 0), 0)[1])


def test_what_a_kill_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, own = left_behind(tmp_path), left_behind(tmp_path, pid=NOBODY - 1)
    assert start_from(own, monkeypatch) == 0
    assert not left.exists() and own.exists()


def test_what_the_first_process_of_a_container_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its successor has the same process id."""
    left = left_behind(tmp_path, pid=os.getpid())
    own = left.with_name(left.name[:-6] + "zzzzzz")
    shutil.copytree(left, own)
    assert start_from(own, monkeypatch) == 0
    assert not left.exists() and own.exists()


@pytest.mark.parametrize("name", ["lib", f"_MEI{NOBODY:08x}abcdef"])
def test_only_a_one_file_build_looks_for_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the directory form, whose libraries are in lib, nor one whose folder has been taken from it."""
    left = left_behind(tmp_path)
    if name == "lib":
        (tmp_path / "lib").mkdir()
    assert start_from(tmp_path / name, monkeypatch) == 0
    assert left.exists()


def of_another_program(home: Path) -> Path:
    return left_behind(home, package="their_package")


def of_a_living_boot_loader(home: Path) -> Path:
    return left_behind(home, pid=os.getpid())


def still_being_unpacked(home: Path) -> Path:
    return left_behind(home, age_secs=5.0)


def of_another_name(home: Path) -> Path:
    return left_behind(home).rename(home / "_MEI-of-mine")


def behind_a_link(home: Path) -> Path:
    (home / "elsewhere").mkdir()
    target = left_behind(home / "elsewhere")
    (home / target.name).symlink_to(target)
    return target


@pytest.mark.parametrize(
    "made", [of_another_program, of_a_living_boot_loader, still_being_unpacked, of_another_name, behind_a_link]
)
def test_what_may_be_in_use_or_anothers_stays(made: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = made(tmp_path)
    remove_left_behind(tmp_path, OWN)
    assert (folder / "libz.so.1").exists()


def test_what_another_user_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left_behind(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    remove_left_behind(tmp_path, OWN)
    assert folder.exists()


def test_two_that_start_at_once_do_not_both_remove(tmp_path: Path) -> None:
    folder = left_behind(tmp_path)
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    remove_left_behind(tmp_path, OWN)
    assert folder.exists()
    os.close(other)


def test_a_fork_holds_it_on_when_who_started_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot loader's process id, seen from another container, belongs to nobody."""
    own = left_behind(tmp_path)
    monkeypatch.setattr(sys, "_MEIPASS", str(own), raising=False)
    with orphan_of(keep_unpacked) as end:
        remove_left_behind(tmp_path, OWN)
        assert own.exists()
        end()
        remove_left_behind(tmp_path, OWN)
        assert not own.exists()
