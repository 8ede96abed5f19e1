"""The parent of all processes: starts them, replaces the dead, passes signals on, ends them in order.

It blocks in poll() on a pipe of signals and a pipe of reports; with nothing to do it uses no CPU.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from socket import socket
from types import FrameType
from typing import Final, Literal

from dynamo_fe.appliance.child import describe_status, spawn
from dynamo_fe.appliance.control import Reports, WorkerControl
from dynamo_fe.appliance.listeners import Listeners
from dynamo_fe.appliance.slot import Slot

_log = logging.getLogger("dynamo_fe.appliance")

RunWorker = Callable[[int, socket, WorkerControl], int]

# A worker ends with this when a new try would fail the same way; it has logged the reason.
HOPELESS_EXIT_CODE: Final = 78

_MOST_FAILED_STARTS: Final = 5
# A one-file bundle's boot loader forwards the signal that its child also got from the terminal or from systemd.
_SAME_SIGNAL_SECS: Final = 0.2
# The host is out of processes or memory.
_FORK_RETRY_SECS: Final = 1.0
# For the helpers, which have nothing to finish.
_HELPER_GRACE_SECS: Final = 5.0
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Runs one worker a listener and any number of helpers (mock workers) until a signal, or until it is hopeless.

    `grace_secs` is how long the workers may take to end after SIGTERM before they are killed. `on_serving` is called
    once, when the first worker is ready.
    """

    def __init__(
        self,
        run_worker: RunWorker,
        listeners: Listeners,
        *,
        helpers: Sequence[Callable[[], int]] = (),
        grace_secs: float,
        on_serving: Callable[[], None] = lambda: None,
    ) -> None:
        self._run_worker = run_worker
        self._listeners = listeners
        self._grace_secs = grace_secs
        self._on_serving = on_serving
        self._reports = Reports()
        count = len(listeners.sockets)
        self._workers = [Slot(f"worker {index}", self._worker_body(index, count), grace_secs) for index in range(count)]
        self._helpers = [
            Slot(f"mock worker {index}", self._helper_body(body), _HELPER_GRACE_SECS)
            for index, body in enumerate(helpers)
        ]
        self._served = False
        # serving, then draining (the workers were told to end), then ending (the helpers were told).
        self._phase: Literal["serving", "draining", "ending"] = "serving"
        self._stopped_at = 0.0
        self._kill_at: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Blocks until every child is gone; returns the exit code of the process.

        0 after a clean stop, 1 when a worker failed to stop or could never start, 128 + signal after a second signal.
        Must run in the main thread. Signal handlers are as before when it returns.
        """
        wake, wake_writer = os.pipe()
        for end in (wake, wake_writer):
            os.set_blocking(end, False)
        earlier_wakeup = signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        before = {signum: signal.signal(signum, _wake_only) for signum in (*_STOP_SIGNALS, signal.SIGCHLD)}
        try:
            self._loop(wake)
        finally:
            self._kill_all()
            for signum, handler in before.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(earlier_wakeup)
            os.close(wake)
            os.close(wake_writer)
            self._reports.close()
            self._listeners.close()
        return self._exit_code

    def _loop(self, wake: int) -> None:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._reports, select.POLLIN)
        while True:
            self._start_due()
            if self._phase == "draining" and not _alive(self._workers):
                self._end_helpers()
            if self._phase == "ending" and not _alive(self._helpers):
                return
            timeout = self._secs_until_next()
            poll.poll(None if timeout is None else max(0, int(timeout * 1000) + 1))
            self._take_reports()
            self._take_signals(wake)
            self._reap()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_overdue()

    def _start_due(self) -> None:
        if self._phase != "serving":
            return
        now = time.monotonic()
        for slot in (*self._helpers, *self._workers):
            if slot.start_at is not None and slot.start_at <= now:
                self._start(slot, now)

    def _start(self, slot: Slot, now: float) -> None:
        try:
            slot.started(spawn(slot.body, slot.grace_secs), now)
        except OSError as error:
            _log.error("cannot start %s: %s", slot.name, error)
            slot.start_at = now + _FORK_RETRY_SECS
        else:
            _log.debug("%s is process %d", slot.name, slot.pid)

    def _secs_until_next(self) -> float | None:
        times = [self._kill_at] if self._kill_at is not None else []
        if self._phase == "serving":
            times += [slot.start_at for slot in (*self._workers, *self._helpers) if slot.start_at is not None]
        return min(times) - time.monotonic() if times else None

    def _take_reports(self) -> None:
        ready = self._reports.read()
        for slot in self._workers:
            slot.ready = slot.ready or slot.pid in ready
        if not self._served and any(slot.ready for slot in self._workers):
            self._served = True
            self._on_serving()

    def _take_signals(self, wake: int) -> None:
        try:
            received = os.read(wake, 4096)
        except BlockingIOError:
            return
        for signum in received:
            if signum in _STOP_SIGNALS:
                self._on_stop_signal(signum)

    def _on_stop_signal(self, signum: int) -> None:
        now = time.monotonic()
        if self._phase == "serving":
            _log.info("%s: stopping", signal.Signals(signum).name)
            self._drain_workers(now)
        elif now - self._stopped_at > _SAME_SIGNAL_SECS:
            _log.warning("second %s: ending at once", signal.Signals(signum).name)
            self._exit_code = 128 + signum
            self._kill_all()

    def _drain_workers(self, now: float) -> None:
        self._phase = "draining"
        self._stopped_at = now
        self._kill_at = now + self._grace_secs
        self._listeners.close_sockets()
        _send(self._workers, signal.SIGTERM)

    def _end_helpers(self) -> None:
        """After the workers, so that requests of theirs could run to their end."""
        self._phase = "ending"
        self._kill_at = time.monotonic() + _HELPER_GRACE_SECS
        _send(self._helpers, signal.SIGTERM)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # Whatever the dead had to say is in the pipe by now.
            self._take_reports()
            for slot in (*self._workers, *self._helpers):
                if slot.pid == pid:
                    self._on_end(slot, status)

    def _on_end(self, slot: Slot, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        pid, delay = slot.pid, slot.ended(time.monotonic())
        if self._phase != "serving":
            if slot in self._workers and code not in (0, -signal.SIGTERM) and self._exit_code == 0:
                _log.error("%s (process %s) ended with %s while stopping", slot.name, pid, describe_status(status))
                self._exit_code = 1
            return
        _log.warning(
            "%s (process %s) ended with %s; next start in %.1f s", slot.name, pid, describe_status(status), delay
        )
        hopeless = code == HOPELESS_EXIT_CODE or slot.failed_starts >= _MOST_FAILED_STARTS
        if hopeless and slot in self._workers and not self._served:
            self._give_up(slot, status)

    def _give_up(self, slot: Slot, status: int) -> None:
        _log.critical(
            "giving up: %s ended %d times before any worker was ready, last with %s",
            slot.name, slot.failed_starts, describe_status(status),
        )  # fmt: skip
        self._exit_code = 1
        self._drain_workers(time.monotonic())

    def _kill_overdue(self) -> None:
        overdue = [slot for slot in (*self._workers, *self._helpers) if slot.pid is not None]
        _log.error("not ended in time, killed: %s", ", ".join(slot.name for slot in overdue))
        self._exit_code = self._exit_code or 1
        self._kill_at = None
        self._kill_all()

    def _kill_all(self) -> None:
        _send((*self._workers, *self._helpers), signal.SIGKILL)

    def _worker_body(self, index: int, count: int) -> Callable[[], int]:
        def body() -> int:
            listener = self._listeners.keep_only(index)
            return self._run_worker(index, listener, self._reports.control(index, count))

        return body

    def _helper_body(self, run: Callable[[], int]) -> Callable[[], int]:
        def body() -> int:
            self._listeners.close()
            self._reports.close()
            return run()

        return body


def _alive(slots: Iterable[Slot]) -> bool:
    return any(slot.pid is not None for slot in slots)


def _send(slots: Iterable[Slot], signum: int) -> None:
    for slot in slots:
        if slot.pid is not None:
            os.kill(slot.pid, signum)


def _wake_only(signum: int, frame: FrameType | None) -> None:
    """Python must have a handler for the wake-up pipe to be written to."""
