import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Supervised:
    """A running tests.support.supervised; `line` waits for a line of its stderr."""

    def __init__(
        self,
        behaviour: str,
        workers: int = 1,
        helpers: int = 0,
        grace_secs: float = 20,
        heartbeat_secs: float = 0,
        **environment: str,
    ) -> None:
        numbers = [str(number) for number in (workers, helpers, grace_secs, heartbeat_secs)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supervised", behaviour, *numbers],
            cwd=ROOT,
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        # A process that hangs must fail its test, not the run: its end is what every blocking read waits for.
        self.guard = threading.Timer(30, self.process.kill)
        self.guard.start()
        self.seen: list[str] = []
        self.port = int(self.line(r"port (\d+)")[1])

    def line(self, pattern: str) -> re.Match[str]:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.seen.append(text)
            if found := re.search(pattern, text):
                return found
        raise AssertionError(f"no line {pattern!r} in {self.seen}")

    def ask(self, word: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(word)
            return connection.recv(100)

    def end(self) -> int:
        """Waits for the end; what was still to be read of stderr goes to `seen`."""
        assert self.process.stderr is not None
        self.seen += self.process.stderr.readlines()
        return self.process.wait(20)

    def close(self) -> None:
        self.guard.cancel()
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


Launch = Callable[..., Supervised]


@pytest.fixture
def launch() -> Iterator[Launch]:
    running: list[Supervised] = []

    def start(*args: object, **kwargs: object) -> Supervised:
        running.append(Supervised(*args, **kwargs))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for each in running:
        each.close()


def gone(pidfd: int) -> bool:
    """Whether the process ends within 20 s (a zombie has ended)."""
    return bool(select.select([pidfd], [], [], 20)[0])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_worker_with_exit_code_0(launch: Launch, signum: int) -> None:
    supervised = launch("orderly", workers=3)
    for _ in range(3):
        supervised.line(r"worker \d \d+")
    supervised.process.send_signal(signum)
    assert supervised.end() == 0
    assert sum("ends" in text for text in supervised.seen) == 3


def test_says_once_that_it_serves(launch: Launch) -> None:
    supervised = launch("orderly", workers=2)
    supervised.line("serving")
    supervised.process.terminate()
    assert supervised.end() == 0
    assert sum(text == "serving\n" for text in supervised.seen) == 1


def test_a_dead_worker_is_replaced_and_its_queue_is_served_by_the_new_one(launch: Launch) -> None:
    supervised = launch("orderly")
    first = int(supervised.line(r"worker 0 (\d+)")[1])
    assert supervised.ask(b"pid") == str(first).encode()
    os.kill(first, signal.SIGKILL)
    second = supervised.ask(b"pid")
    assert second.isdigit()
    assert int(second) != first


def test_connections_do_not_wait_for_a_worker_that_is_not_ready_where_another_is(
    launch: Launch, tmp_path: Path
) -> None:
    supervised = launch("once", workers=2, LIVES=str(tmp_path))
    pids = dict(supervised.line(r"worker (\d) (\d+)").groups() for _ in range(2))
    answers = set()
    while len(answers) < 2:
        answers.add(supervised.ask(b"pid"))
    assert answers == {pid.encode() for pid in pids.values()}
    os.kill(int(pids["0"]), signal.SIGKILL)
    supervised.line(r"worker 0 \d+")
    assert {supervised.ask(b"pid") for _ in range(30)} == {pids["1"].encode()}


def test_a_worker_that_crashes_on_a_request_is_replaced_however_often(launch: Launch) -> None:
    supervised = launch("orderly")
    supervised.line("serving")
    for _ in range(6):
        assert supervised.ask(b"die") == b""
    assert supervised.ask(b"pid").isdigit()


@pytest.mark.parametrize("behaviour", ["fails_to_start", "raises"])
def test_gives_up_on_a_worker_that_never_starts(launch: Launch, behaviour: str) -> None:
    supervised = launch(behaviour)
    assert supervised.end() == 1
    ends = [text for text in supervised.seen if "worker 0" in text and "ended with exit code" in text]
    assert len(ends) == 5
    assert "giving up: worker 0 ended 5 times before any worker was ready" in "".join(supervised.seen)


def test_gives_up_at_once_on_what_cannot_get_better(launch: Launch) -> None:
    supervised = launch("hopeless")
    assert supervised.end() == 78
    assert supervised.seen.count("start\n") == 1


def test_an_uncaught_exception_is_told(launch: Launch) -> None:
    supervised = launch("raises")
    supervised.end()
    assert "RuntimeError: a defect" in "".join(supervised.seen)


def test_a_worker_that_fails_to_stop_shows_in_the_exit_code(launch: Launch) -> None:
    supervised = launch("fails_to_stop")
    supervised.line("serving")
    supervised.process.terminate()
    assert supervised.end() == 1


def test_a_worker_that_does_not_stop_is_killed_after_the_grace(launch: Launch) -> None:
    supervised = launch("stubborn", grace_secs=0.3)
    supervised.line("serving")
    supervised.process.terminate()
    assert supervised.end() == 1
    assert "not ended in time, killed: worker 0" in "".join(supervised.seen)


def test_a_second_signal_ends_at_once(launch: Launch) -> None:
    supervised = launch("stubborn", workers=2, helpers=1)
    supervised.line("serving")
    supervised.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        supervised.process.wait(0.5)
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.end() == 128 + signal.SIGINT


def test_one_signal_that_comes_twice_is_one(launch: Launch) -> None:
    """The boot loader of a one-file bundle forwards what its child also gets itself."""
    supervised = launch("stubborn", grace_secs=1)
    supervised.line("serving")
    supervised.process.terminate()
    supervised.line("stopping")
    supervised.process.terminate()
    assert supervised.end() == 1


def test_the_port_closes_when_the_workers_close_it(launch: Launch) -> None:
    supervised = launch("closes_port_first", workers=2, grace_secs=5)
    for _ in range(2):
        supervised.line(r"worker \d \d+")
    assert supervised.ask(b"pid").isdigit()
    supervised.process.terminate()
    supervised.line("port closed")
    supervised.line("port closed")
    with pytest.raises(ConnectionRefusedError):
        supervised.ask(b"pid")


def test_helpers_end_after_the_workers(launch: Launch) -> None:
    supervised = launch("orderly", workers=2, helpers=2)
    for _ in range(4):
        supervised.line(r"(helper|worker \d) \d+")
    supervised.process.terminate()
    assert supervised.end() == 0
    ends = [text for text in supervised.seen if text.endswith("ends\n")]
    assert [text.split()[0] for text in ends] == ["worker", "worker", "helper", "helper"]


def test_a_killed_supervisor_leaves_no_orphan(launch: Launch) -> None:
    supervised = launch("orderly", helpers=1)
    pids: dict[str, int] = {}
    while len(pids) < 2:
        found = supervised.line(r"(worker 0|helper) (\d+)")
        pids[found[1]] = int(found[2])
    pidfds = [os.pidfd_open(pid) for pid in pids.values()]
    supervised.process.kill()
    assert all(gone(pidfd) for pidfd in pidfds)
    for pidfd in pidfds:
        os.close(pidfd)


def test_a_worker_that_takes_no_signal_does_not_outlive_a_killed_supervisor(launch: Launch) -> None:
    supervised = launch("stubborn", grace_secs=120)
    pidfd = os.pidfd_open(int(supervised.line(r"worker 0 (\d+)")[1]))
    supervised.process.kill()
    assert gone(pidfd)
    os.close(pidfd)


def test_signals_without_effect_are_told_once_and_end_nothing(launch: Launch) -> None:
    supervised = launch("orderly")
    worker = supervised.line(r"worker 0 (\d+)")[1]
    supervised.line("serving")
    signums = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
    for signum in signums:
        supervised.process.send_signal(signum)
        supervised.line(f"{signum.name} has no effect")
        supervised.process.send_signal(signum)
    assert supervised.ask(b"pid") == worker.encode()
    supervised.process.terminate()
    assert supervised.end() == 0
    assert sum("has no effect" in text for text in supervised.seen) == len(signums)


def test_a_worker_that_hangs_is_replaced(launch: Launch) -> None:
    supervised = launch("orderly", heartbeat_secs=0.5)
    first = supervised.line(r"worker 0 (\d+)")[1]
    with socket.create_connection(("127.0.0.1", supervised.port), timeout=20) as connection:
        connection.sendall(b"hang")
        assert connection.recv(100) == b""
    supervised.line(rf"worker 0 \(process {first}\) has hung for 0.5 s: killed")
    assert supervised.ask(b"pid") not in (b"", first.encode())


def test_a_stopped_worker_is_replaced(launch: Launch) -> None:
    supervised = launch("orderly", heartbeat_secs=0.5)
    first = int(supervised.line(r"worker 0 (\d+)")[1])
    supervised.line("serving")
    os.kill(first, signal.SIGSTOP)
    assert supervised.ask(b"pid") not in (b"", str(first).encode())


def test_nobody_is_blamed_for_a_time_in_which_all_were_stopped(launch: Launch) -> None:
    supervised = launch("orderly", heartbeat_secs=0.5)
    first = int(supervised.line(r"worker 0 (\d+)")[1])
    for signum in (signal.SIGSTOP, signal.SIGCONT):
        for pid in (supervised.process.pid, first) if signum == signal.SIGSTOP else (supervised.process.pid,):
            os.kill(pid, signum)
        with pytest.raises(subprocess.TimeoutExpired):
            supervised.process.wait(1)
        os.kill(first, signal.SIGCONT)
    assert supervised.ask(b"pid") == str(first).encode()


def test_a_reload_brings_new_workers_and_the_old_leave_when_they_are_ready(launch: Launch, tmp_path: Path) -> None:
    behaviour = tmp_path / "behaviour"
    behaviour.write_text("orderly")
    supervised = launch("orderly", workers=2, helpers=1, NEXT_BEHAVIOUR=str(behaviour))
    supervised.line("serving")
    generations = [0]
    for _ in range(3):
        supervised.process.send_signal(signal.SIGHUP)
        for _ in range(3):
            supervised.line(r"the new configuration serves|worker \d ends")
        generations.append(int(supervised.ask(b"seat")) // 2)
    assert all(one != other for one, other in pairwise(generations)) and set(generations) <= {0, 1, 2}
    supervised.process.terminate()
    assert supervised.end() == 0
    assert sum(text.startswith("helper ") and "ends" not in text for text in supervised.seen) == 1


def test_a_reload_brings_helpers_and_takes_those_away_that_are_not_wanted(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "behaviour").write_text("orderly helper second")
    supervised = launch("orderly", helpers=1, NEXT_BEHAVIOUR=str(tmp_path / "behaviour"))
    supervised.line("serving")

    def reload(ends: int) -> None:
        supervised.process.send_signal(signal.SIGHUP)
        for _ in range(1 + ends):
            supervised.line(r"the new configuration serves|(\d|helper|second) ends")

    reload(ends=1)
    # it may serve before the helper has said its first word
    said = re.findall(r"^second (\d+)$", "".join(supervised.seen), re.MULTILINE)
    second = int(said[0] if said else supervised.line(r"second (\d+)")[1])
    os.kill(second, signal.SIGKILL)
    assert supervised.line(r"second (\d+)")[1] != str(second)
    (tmp_path / "behaviour").write_text("fails_to_start third")
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("reload refused")
    (tmp_path / "behaviour").write_text("orderly second")
    reload(ends=2)
    reload(ends=1)
    supervised.process.terminate()
    assert supervised.end() == 0
    told = [text.strip() for text in supervised.seen if text.endswith("ends\n") and "worker" not in text]
    # the third may have been told to end before it could say a word
    assert [text for text in told if text != "third ends"] == ["helper ends", "second ends"]
    thirds = [int(number) for number in re.findall(r"^third (\d+)$", "".join(supervised.seen), re.MULTILINE)]
    assert len(thirds) == told.count("third ends") and not any(Path(f"/proc/{pid}").exists() for pid in thirds)


def test_a_reload_begins_a_helper_anew_that_is_made_from_something_else(launch: Launch, tmp_path: Path) -> None:
    behaviour = tmp_path / "behaviour"
    supervised = launch("orderly", helpers=2, NEXT_BEHAVIOUR=str(behaviour))
    supervised.line("serving")
    behaviour.write_text("fails_to_start helper=second")
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("reload refused")
    assert "helper ends\n" not in supervised.seen
    behaviour.write_text("orderly helper=second")
    supervised.process.send_signal(signal.SIGHUP)
    for _ in range(4):
        supervised.line(r"helper ends|helper=second \d+")
    pids = re.findall(r"^helper=second (\d+)$", "".join(supervised.seen), re.MULTILINE)
    assert len(pids) == 2 and supervised.seen.count("helper ends\n") == 2
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("the new configuration serves")
    os.kill(int(pids[0]), signal.SIGKILL)
    supervised.line(r"helper=second \d+")
    assert "helper=second ends\n" not in supervised.seen


def test_a_reload_that_is_refused_changes_nothing(launch: Launch) -> None:
    supervised = launch("orderly")
    first = supervised.line(r"worker 0 (\d+)")[1]
    supervised.line("serving")
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("reload refused, the configuration stays as it was: there is no next behaviour")
    assert supervised.ask(b"pid") == first.encode()


@pytest.mark.parametrize("behaviour", ["fails_to_start", "hopeless"])
def test_a_reload_whose_workers_do_not_start_changes_nothing(
    launch: Launch, tmp_path: Path, behaviour: str
) -> None:
    (tmp_path / "behaviour").write_text(behaviour)
    supervised = launch("orderly", NEXT_BEHAVIOUR=str(tmp_path / "behaviour"))
    first = supervised.line(r"worker 0 (\d+)")[1]
    supervised.line("serving")
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("reload refused, .* worker 0 of the new configuration ended with exit code")
    assert supervised.ask(b"pid") == first.encode()
    (tmp_path / "behaviour").write_text("orderly")
    supervised.process.send_signal(signal.SIGHUP)
    for _ in range(2):
        supervised.line("the new configuration serves|worker 0 ends")
    assert supervised.ask(b"pid") != first.encode()


def test_reloads_go_on_beside_processes_that_still_end_their_requests(launch: Launch, tmp_path: Path) -> None:
    behaviour = tmp_path / "behaviour"
    supervised = launch("stubborn", NEXT_BEHAVIOUR=str(behaviour))
    first = int(supervised.line(r"worker 0 (\d+)")[1])
    supervised.line("serving")
    for kinds in ("stubborn", "orderly"):
        behaviour.write_text(kinds)
        supervised.process.send_signal(signal.SIGHUP)
        supervised.line("the new configuration serves")
    assert supervised.ask(b"seat") == b"2"
    behaviour.unlink()
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("reload refused, the configuration stays as it was: there is no next behaviour")
    for kinds in ("orderly one", "orderly other"):
        behaviour.write_text(kinds)
        supervised.process.send_signal(signal.SIGHUP)
        supervised.line("the reload waits")
    behaviour.unlink()
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("reload refused")
    assert supervised.ask(b"seat") == b"2"
    os.kill(first, signal.SIGKILL)
    for _ in range(2):
        supervised.line("the new configuration serves|worker 0 ends")
    assert supervised.ask(b"seat") == b"0"
    assert not any(text.startswith("one ") for text in supervised.seen)


def test_a_reload_that_comes_before_anybody_serves_is_judged_at_once(launch: Launch) -> None:
    supervised = launch("silent")
    supervised.line(r"worker 0 \d+")
    supervised.process.send_signal(signal.SIGHUP)
    supervised.line("reload refused, the configuration stays as it was: there is no next behaviour")


def test_the_status_stays_until_those_that_are_to_serve_know_better(launch: Launch, tmp_path: Path) -> None:
    behaviour = tmp_path / "behaviour"
    said = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)

        def until(wanted: str) -> None:
            while not (said and re.search(wanted, said[-1])):
                said.append(manager.recv(1000).decode())

        supervised = launch("orderly", NOTIFY_SOCKET=str(tmp_path / "notify"), NEXT_BEHAVIOUR=str(behaviour))
        until("READY=1")
        for kind, wanted in (("fails_to_start", "STATUS=reload refused: .*; process "), ("orderly", "STATUS=process")):
            behaviour.write_text(kind)
            supervised.process.send_signal(signal.SIGHUP)
            until("RELOADING=1")
            until(wanted)
        until("READY=1")
        _, second = supervised.line(r"worker 0 \d+"), supervised.line(r"worker 0 (\d+)")[1]
        supervised.process.terminate()
        until("STOPPING=1")
    statuses = [text.removeprefix("STATUS=") for text in said if text.startswith("STATUS=")]
    assert not any("knows nothing" in text for text in statuses), statuses
    assert statuses[-1] == f"process {second} waits for a word"
    assert supervised.end() == 0


def test_what_the_service_manager_hears(launch: Launch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)

        def heard(*messages: str) -> None:
            missing = set(messages)
            while missing:
                text = manager.recv(1000).decode()
                missing = {message for message in missing if not re.match(message, text)}

        supervised = launch("orderly", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000")
        first = int(supervised.line(r"worker 0 (\d+)")[1])
        heard("READY=1", "STATUS=process .* waits for a word")
        heard("WATCHDOG=1")
        supervised.process.send_signal(signal.SIGHUP)
        heard("RELOADING=1\nMONOTONIC_USEC=")
        heard("STATUS=reload refused: there is no next behaviour", "READY=1")
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            manager.settimeout(1.5)
            while True:
                manager.recv(1000)
        manager.settimeout(20)
        os.kill(first, signal.SIGCONT)
        heard("WATCHDOG=1")
        supervised.process.terminate()
        heard("STOPPING=1")
        assert supervised.end() == 0


def test_a_socket_of_the_service_manager_keeps_what_comes_for_the_next_instance(launch: Launch) -> None:
    """Started as systemd does it: descriptor 3, and the process id in LISTEN_PID."""
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.executable, [sys.executable, '-m', 'tests.support.supervised', 'orderly', '2', '0', '20', '0'])"
    )
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = given.getsockname()[1]
        pids = []
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(given.fileno())],
                cwd=ROOT,
                env=os.environ | {"LISTEN_FDS": "1"},
                pass_fds=[given.fileno()],
                stderr=subprocess.DEVNULL,
            )
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                    connection.sendall(b"pid")
                    pids.append(connection.recv(100))
                process.terminate()
                assert process.wait(20) == 0
            finally:
                process.kill()
                process.wait()
            # nobody serves now, and the connection is taken all the same
            waiting = socket.create_connection(("127.0.0.1", port), timeout=20)
            waiting.close()
    assert pids[0] != pids[1] and all(pid.isdigit() for pid in pids)


def test_idle_it_does_not_wake_up(launch: Launch) -> None:
    supervised = launch("orderly")
    supervised.line("serving")
    status = Path(f"/proc/{supervised.process.pid}/status")

    def wake_ups() -> int:
        return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M)[0])

    assert supervised.ask(b"pid").isdigit()
    # it has said that it serves; now it has to come back to its sleep
    while "State:\tS" not in status.read_text():
        time.sleep(0.01)
    before = wake_ups()
    with pytest.raises(subprocess.TimeoutExpired):
        supervised.process.wait(0.5)
    assert wake_ups() == before
