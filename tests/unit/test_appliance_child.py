import os
import signal
import subprocess
import sys

import pytest

from dynamo_fe.appliance.child import CRASHED_EXIT_CODE, describe_status, spawn
from dynamo_fe.appliance.parent_death import end_with_parent


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_child_ends_with_what_its_body_returns() -> None:
    assert end_of(spawn(lambda: 7)) == 7


def test_the_child_never_returns_into_the_parents_stack() -> None:
    def leave() -> int:
        raise SystemExit(4)

    def fail() -> int:
        raise ValueError("told in the log")

    assert end_of(spawn(leave)) == 4
    assert end_of(spawn(fail)) == CRASHED_EXIT_CODE


def test_a_sigterm_during_the_set_up_is_not_lost() -> None:
    def wait_for_a_signal() -> int:
        signal.pause()
        return 0

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        for _ in range(20):
            pid = spawn(wait_for_a_signal)
            os.kill(pid, signal.SIGTERM)
            assert end_of(pid) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_child_ignores_the_terminals_interrupt() -> None:
    assert end_of(spawn(lambda: int(signal.getsignal(signal.SIGINT) is signal.SIG_IGN))) == 1


def test_what_is_idle_to_the_parent_is_to_the_child_but_for_the_hand_over() -> None:
    def be_told(*signums: int) -> int:
        for signum in signums:
            os.kill(os.getpid(), signum)
        return 7

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        assert end_of(spawn(lambda: be_told(signal.SIGUSR2, signal.SIGALRM))) == 7
        assert end_of(spawn(lambda: be_told(signal.SIGUSR1))) == -signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_program_that_the_child_starts_may_end_itself_by_an_alarm() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGALRM)"
    assert end_of(spawn(lambda: -subprocess.run([sys.executable, "-c", code]).returncode)) == signal.SIGALRM


def test_the_parents_signal_mask_is_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    end_of(spawn(lambda: 0))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_parent_that_ended_before_the_child_could_ask_is_noticed() -> None:
    def body() -> int:
        end_with_parent(parent_pid=1)
        signal.pause()
        return 0

    assert end_of(spawn(body)) == -signal.SIGKILL


@pytest.mark.parametrize(("status", "words"), [(3 << 8, "exit code 3"), (9, "signal SIGKILL"), (40, "signal 40")])
def test_an_end_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words


def test_the_limit_of_open_files_is_raised_never_lowered() -> None:
    code = (
        "import resource as r; from dynamo_fe.appliance.limits import raise_fd_limit as f;"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard));"
        "print(f(128), r.getrlimit(r.RLIMIT_NOFILE)[0], f(100));"
        "r.setrlimit(r.RLIMIT_NOFILE, (128, 200)); print(f(1000))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["128", "128", "128", "200"]
