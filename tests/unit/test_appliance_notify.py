import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynamo_fe.appliance.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        yield manager


def notifier(manager: socket.socket, **variables: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **variables})


def test_each_state_is_one_message(manager: socket.socket) -> None:
    speaker = notifier(manager)
    for say in (speaker.ready, speaker.alive, speaker.stopping):
        say()
    assert [manager.recv(200) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_reload_begins_with_the_time(manager: socket.socket) -> None:
    notifier(manager).reloading()
    first, second = manager.recv(200).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.removeprefix(b"MONOTONIC_USEC=").isdigit()


def test_a_status_is_one_line_and_said_once(manager: socket.socket) -> None:
    speaker = notifier(manager)
    speaker.status("two\nlines")
    speaker.status("two\nlines")
    speaker.ready()
    assert [manager.recv(200) for _ in range(2)] == [b"STATUS=two lines", b"READY=1"]


def test_an_abstract_address() -> None:
    name = f"dynamo-fe-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert manager.recv(200) == b"READY=1"


def test_children_do_not_see_the_variables() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    Notifier(environ)
    assert environ == {"A": "b"}


def test_without_a_manager_and_with_one_that_is_gone_nothing_happens() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": "/nowhere/notify"}):
        Notifier(environ).ready()


@pytest.mark.parametrize(
    ("variables", "secs"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getppid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_for_us(manager: socket.socket, variables: dict[str, str], secs: float | None) -> None:
    assert notifier(manager, **variables).watchdog_secs == secs
