import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import Process, free_port

SIGNAL_AT = """
import os, runpy, signal, sys
signum = int(sys.argv.pop(1))
event, what, *terminal = sys.argv.pop(1).split()
def hear(heard, values):
    if heard == event and values[0] == what:
        os.close(int(terminal[0])) if terminal else os.kill(os.getpid(), signum)
sys.addaudithook(hear)
runpy.run_module("tests.support.cli_with_stand_ins", run_name="__main__")
"""
ROOT = Path(__file__).resolve().parents[2]
Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts the command line with stand-in workers; everything is killed at the end, or when it hangs."""
    running: list[tuple[subprocess.Popen[str], threading.Timer]] = []

    def start(*args: str, hangup_at: str = "", signum: int = signal.SIGHUP) -> subprocess.Popen[str]:
        signalled = ["-c", SIGNAL_AT, str(int(signum)), hangup_at]
        how = signalled if hangup_at else ["-m", "tests.support.cli_with_stand_ins"]
        words = [sys.executable, *how, *args, "--http-host", "127.0.0.1"]
        process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        guard = threading.Timer(30, process.kill)
        guard.start()
        running.append((process, guard))
        return process

    yield start
    for process, guard in running:
        guard.cancel()
        process.kill()
        process.communicate()


def launch_on_socket_of_systemd(given: socket.socket, *args: str) -> subprocess.Popen[str]:
    code = (
        "import os, sys; os.dup2(int(sys.argv.pop(1)), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.executable, [sys.executable, '-m', 'tests.support.cli_with_stand_ins', *sys.argv[1:]])"
    )
    words = [sys.executable, "-c", code, str(given.fileno()), *args]
    environment = os.environ | {"LISTEN_FDS": "1"}
    pass_fds = [given.fileno()]
    return subprocess.Popen(words, cwd=ROOT, env=environment, pass_fds=pass_fds, stderr=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stderr is not None
    for text in process.stderr:
        if found := re.search(pattern, text):
            return found
    raise AssertionError(f"no line {pattern!r}")


def stops_cleanly(process: subprocess.Popen[str]) -> None:
    guard = threading.Timer(30, process.kill)
    guard.start()
    try:
        line(process, "SIGTERM: stopping")
        assert process.wait(20) == 0
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def ask(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        return connection.makefile().readline()


def test_workers_serve_the_announced_address_until_sigterm(launch: Launch) -> None:
    process = launch("--http-port", "0", "--workers", "2")
    port = int(line(process, r"serving on http://127\.0\.0\.1:(\d+) in 2 processes")[1])
    assert re.fullmatch(r"[01] of 2 None\n", ask(port))
    process.terminate()
    assert process.wait(20) == 0


def test_a_port_that_the_socket_of_systemd_has_not_is_told(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = given.getsockname()[1]
        config.write_text(f"workers = 1\nhttp_port = {port - 1}\n")
        process = launch_on_socket_of_systemd(given, "--config", str(config))
        try:
            line(process, rf"{config}:2: http_port: has no effect: the socket from systemd has port {port}$")
            line(process, "serving on")
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("moment", ["import dynamo_fe.cli.main", "import dynamo_fe.cli.serve_command", "open CONFIG"])
def test_a_hangup_before_it_serves_is_a_reload_when_it_does(launch: Launch, tmp_path: Path, moment: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text("workers = 1\n")
    moment = moment.replace("CONFIG", str(config))
    process = launch("--http-port", "0", "--config", str(config), hangup_at=moment)
    line(process, "reloading; changed: nothing")
    line(process, "reloaded: the new configuration serves")
    process.terminate()
    assert process.wait(20) == 0


def test_a_reload_waits_for_no_pipe(launch: Launch, tmp_path: Path) -> None:
    """A start takes it. Later somebody still holds the other end, and the supervisor has more to do than to wait."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = launch("--http-port", "0", "--config", str(pipe))
    pipe.write_text("workers = 1\n")
    line(process, "serving on")
    held_open = os.open(pipe, os.O_RDWR)
    process.send_signal(signal.SIGHUP)
    line(process, f"reload refused, the configuration stays as it was: {pipe}: it is no regular file, and only a start")
    process.terminate()
    assert process.wait(20) == 0
    os.close(held_open)


def test_an_empty_device_is_an_empty_configuration_of_a_reload_too(launch: Launch) -> None:
    process = launch("--http-port", "0", "--config", os.devnull)
    line(process, "serving on")
    process.send_signal(signal.SIGHUP)
    line(process, "reloaded: the new configuration serves")
    process.terminate()
    assert process.wait(20) == 0


def test_whoever_reads_the_log_and_is_stuck_holds_up_nobody(launch: Launch) -> None:
    process = launch("--http-port", "0")
    line(process, "serving on")
    assert process.stderr is not None
    log = os.open(f"/proc/self/fd/{process.stderr.fileno()}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(log, b"\n" * 4096)
    os.close(log)
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM])
def test_a_signal_without_effect_has_none_before_it_serves_either(launch: Launch, signum: signal.Signals) -> None:
    process = launch("--http-port", "0", hangup_at="import dynamo_fe.cli.serve_command", signum=signum)
    line(process, f"{signum.name} has no effect")
    line(process, "serving on")
    process.terminate()
    assert process.wait(20) == 0


def test_a_hangup_ends_other_commands(launch: Launch) -> None:
    process = launch("check-config", hangup_at="import dynamo_fe.cli.show_config")
    assert process.wait(20) == -signal.SIGHUP


def test_an_early_end_is_not_lost_on_the_first_process_of_a_container() -> None:
    """From which the kernel takes signals that it has no handler for."""
    words = ["unshare", "--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child", sys.executable, "-c"]
    words += [SIGNAL_AT, str(int(signal.SIGTERM)), "import dynamo_fe.cli.main", "--http-host", "127.0.0.1"]
    stops_cleanly(subprocess.Popen([*words, "--http-port", "0"], cwd=ROOT, stderr=subprocess.PIPE, text=True))


def test_a_refused_start_keeps_its_exit_code_in_spite_of_a_hangup(launch: Launch) -> None:
    process = launch("--http-port", "none", hangup_at="import dynamo_fe.cli.serve_command")
    line(process, "invalid int value")
    assert process.wait(20) == 2


def test_a_terminal_that_goes_during_the_start_ends_it() -> None:
    ours, theirs = os.openpty()
    moment = f"import dynamo_fe.cli.serve_command {ours}"
    words = [sys.executable, "-c", SIGNAL_AT, str(int(signal.SIGHUP)), moment, "--http-host", "127.0.0.1"]
    process = subprocess.Popen(
        ["setsid", "--ctty", *words, "--http-port", "0"],
        cwd=ROOT, stdin=theirs, stderr=subprocess.PIPE, text=True, pass_fds=[ours],
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    stops_cleanly(process)


def test_it_serves_with_all_standard_files_closed(tmp_path: Path) -> None:
    """Their numbers must not go to sockets, nor what is said into those."""
    port = free_port()
    words = [sys.executable, "-m", "tests.support.cli_with_stand_ins", "--http-host", "127.0.0.1"]
    code = f"exec {shlex.join([*words, '--http-port', str(port)])} <&- >&- 2>&-"
    process = Process(["bash", "-c", code], log=tmp_path / "log", environment={}, cwd=ROOT)
    try:
        process.wait_until(lambda: answers(port), "an answer")
        assert {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
    finally:
        process.stop()


def answers(port: int) -> bool:
    try:
        return ask(port) != ""
    except OSError:
        return False


def test_mock_workers_come_with_an_example_and_leave_nothing_behind(launch: Launch) -> None:
    process = launch("--http-port", "0", "--mock-workers", "2")
    port = int(line(process, r"try it: curl -N http://127\.0\.0\.1:(\d+)/v1/chat/completions")[1])
    folder = Path(ask(port).split()[-1])
    assert folder.is_dir()
    process.terminate()
    assert process.wait(20) == 0
    assert not folder.exists()


def test_a_second_instance_on_the_port_is_refused_with_the_originals_line(launch: Launch) -> None:
    first = launch("--http-port", "0")
    port = line(first, r"serving on http://127\.0\.0\.1:(\d+)")[1]
    second = launch("--http-port", port)
    assert second.communicate(timeout=20)[1] == (
        f"Failed to start HTTP server: port {port} already in use. Use --http-port to specify a different port.\n"
    )
    assert second.returncode == 1


def test_warnings_are_logged_at_start(launch: Launch) -> None:
    process = launch("--http-port", "0", "--tokenizer", "basetenkenizer", "--enable-anthropic-api")
    line(process, r"WARNING dynamo_fe\.cli\[\d+\]: accepted, but without effect in .*: --enable-anthropic-api")
    line(process, r"WARNING dynamo_fe\.cli\[\d+\]: --tokenizer basetenkenizer is not available in .*: using default")


def test_the_supervisor_is_small(launch: Launch) -> None:
    process = launch("--http-port", "0")
    line(process, "serving")
    rss_kb = int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[0])
    # The stand-ins import asyncio, which the real supervisor does not.
    assert rss_kb < 30_000
