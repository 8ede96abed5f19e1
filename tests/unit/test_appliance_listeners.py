import contextlib
import os
import select
import socket
from collections.abc import Iterator

import pytest

from dynamo_fe.appliance.listeners import ListenError, open_listeners
from dynamo_fe.appliance.lock import PortLock


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody of the same user listens, even willing to share it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_all_workers_share_the_port_that_was_chosen() -> None:
    listeners = open_listeners("127.0.0.1", 0, 3, 16)
    assert listeners.port != 0
    assert {each.getsockname() for each in listeners.sockets} == {("127.0.0.1", listeners.port)}
    with socket.create_connection(("127.0.0.1", listeners.port), timeout=5):
        pass
    listeners.close()


@pytest.mark.parametrize("count", [2, 3, 40])
def test_new_connections_go_where_they_are_answered(count: int) -> None:
    listeners = open_listeners("127.0.0.1", 0, count, 400)

    def taken() -> set[int]:
        """The sockets that get one of many connections."""
        connections = [socket.create_connection(("127.0.0.1", listeners.port), timeout=5) for _ in range(200)]
        found = {number for number, each in enumerate(listeners.sockets) if select.select([each], [], [], 0)[0]}
        for each in connections:
            each.close()
        for each in listeners.sockets:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    each.accept()[0].close()
        return found

    everywhere = taken()
    assert len(everywhere) > 1
    for answered in ({1}, {0}, {0, count - 1}, {count - 1}):
        listeners.steer(frozenset(answered))
        assert taken() == answered
    for answered in (set(), set(range(count))):
        listeners.steer(frozenset({0}))
        listeners.steer(frozenset(answered))
        assert len(taken()) > 1
    listeners.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "localhost", ""])
def test_a_port_in_use_is_refused_in_the_originals_words(taken: int, host: str) -> None:
    with pytest.raises(ListenError) as refused:
        open_listeners(host, taken, 1, 16)
    assert str(refused.value) == (
        f"Failed to start HTTP server: port {taken} already in use. Use --http-port to specify a different port."
    )


def test_a_second_instance_is_refused_and_may_start_when_the_first_is_gone() -> None:
    first = open_listeners("127.0.0.1", 0, 1, 16)
    with pytest.raises(ListenError, match="already in use"):
        open_listeners("127.0.0.1", first.port, 1, 16)
    first.close()
    second = open_listeners("127.0.0.1", first.port, 1, 16)
    assert second.port == first.port
    second.close()


def test_an_instance_that_has_not_bound_yet_is_noticed() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lock = PortLock("127.0.0.1", port)
    with pytest.raises(ListenError, match="already in use"):
        open_listeners("127.0.0.1", port, 1, 16)
    lock.close()
    open_listeners("127.0.0.1", port, 1, 16).close()


def test_localhost_is_the_ipv4_one_and_both_families_reach_the_double_colon() -> None:
    local = open_listeners("localhost", 0, 1, 16)
    assert local.host == "127.0.0.1"
    local.close()
    both = open_listeners("::", 0, 1, 16)
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, both.port), timeout=5):
            pass
    both.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "192.0.2.1"])
def test_a_host_that_is_not_here_is_one_line(host: str) -> None:
    with pytest.raises(ListenError) as refused:
        open_listeners(host, 0, 1, 16)
    assert "\n" not in str(refused.value)
    assert host in str(refused.value)


def test_a_child_keeps_its_own_socket_alone() -> None:
    listeners = open_listeners("127.0.0.1", 0, 3, 16)
    own = listeners.keep_only(1)
    assert own.getsockname()[1] == listeners.port
    assert [each.fileno() == -1 for each in listeners.sockets] == [True, False, True]
    own.close()


def test_sockets_that_processes_share_do_not_block() -> None:
    """A connection that another process has taken must not leave one waiting in `accept`."""
    opened = open_listeners("127.0.0.1", 0, 2, 16)
    assert [os.get_blocking(each.fileno()) for each in opened.sockets] == [False, False]
    opened.close()
