"""The parent of all processes: starts them, replaces the dead and the stuck, passes signals on, ends them in order.

It blocks in poll() on a pipe of signals and a socket of reports; with nothing to do it uses no CPU, but for a look at
the heartbeats a few times in their limit.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from dynamo_fe.appliance.child import describe_status
from dynamo_fe.appliance.control import Reports
from dynamo_fe.appliance.crew import Crew
from dynamo_fe.appliance.crews import Crews
from dynamo_fe.appliance.hangup import IDLE_SIGNALS, had_terminal
from dynamo_fe.appliance.notify import Notifier
from dynamo_fe.appliance.role import Role
from dynamo_fe.appliance.slot import Slot
from dynamo_fe.appliance.vigil import Vigil
from dynamo_fe.appliance.wakeup import SignalPipe

_log = logging.getLogger("dynamo_fe.appliance")

# A child ends with this when a new try would fail the same way; it has logged the reason.
HOPELESS_EXIT_CODE: Final = 78
# Tells a child that serves to end without refusing anybody: others take the new connections.
HAND_OVER_SIGNAL: Final = signal.SIGUSR1

# poll() takes no more than 24 days
_LONGEST_WAIT_SECS: Final = 86400.0
_MOST_FAILED_STARTS: Final = 5
# A one-file bundle's boot loader forwards the signal that its child also got from the terminal or from systemd.
_SAME_SIGNAL_SECS: Final = 0.2
# What systemd allows for the end beyond the grace of the children.
_STOP_MARGIN_SECS: Final = 10.0
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class ReloadRefused(Exception):
    """The new configuration cannot be used; `str()` is one line for the operator."""


def no_reload() -> Sequence[Role]:
    """For a supervisor whose roles are made once."""
    raise ReloadRefused("nothing can be reloaded")


class Supervisor:
    """Runs the children of the roles until a signal, or until it is hopeless.

    `on_serving` is called once, when the first child that serves is ready. `reload` makes the roles anew for SIGHUP:
    those that serve with the same names and counts, while helpers may be others; it raises ReloadRefused.
    `heartbeat_secs` is how long a watched child may be silent, 0 for ever.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        notifier: Notifier | None = None,
        heartbeat_secs: float = 0.0,
        on_serving: Callable[[], None] = lambda: None,
        reload: Callable[[], Sequence[Role]] = no_reload,
    ) -> None:
        self._notifier = notifier or Notifier({})
        self._on_serving = on_serving
        self._reload = reload
        self._reports = Reports()
        self._crews = Crews(roles, self._reports)
        self._vigil = Vigil(self._crews, heartbeat_secs, self._notifier)
        # sockets that outlive us keep what comes for our successor
        kept = any(role.listeners is not None and role.listeners.inherited for role in roles)
        self._end_signal = HAND_OVER_SIGNAL if kept else signal.SIGTERM
        self._had_terminal = had_terminal()
        self._ignored: set[int] = set()
        self._said = ""
        self._refusal = ""
        self._served = False
        self._wanted: Sequence[Role] | None = None
        # serving, then draining (those that serve were told to end), then ending (the helpers were told).
        self._phase: Literal["serving", "draining", "ending"] = "serving"
        self._stopped_at = 0.0
        self._exit_code = 0

    def run(self) -> int:
        """Blocks until every child is gone; returns the exit code of the process.

        0 after a clean stop, 1 when a child that serves failed to stop or could never start, 78 when it would not start
        another time either, 128 + signal after a second signal. Must run in the main thread. Signal handlers are as
        before when it returns.
        """
        with SignalPipe((*_STOP_SIGNALS, signal.SIGCHLD, signal.SIGHUP, *IDLE_SIGNALS)) as signals:
            try:
                self._loop(signals)
            finally:
                self._kill_all()
                self._reports.close()
                self._crews.close()
        return self._exit_code

    def _loop(self, signals: SignalPipe) -> None:
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        poll.register(self._reports, select.POLLIN)
        while True:
            now = time.monotonic()
            if self._phase == "serving":
                self._crews.steer()
            self._begin_wanted_reload(now)
            for crew in self._crews:
                crew.start_due(now)
            if self._phase == "draining" and not any(crew.alive for crew in self._crews.requests):
                self._end_helpers(now)
            if self._phase == "ending" and not (self._crews.helping.alive or self._crews.retiring.alive):
                return
            due = [time for crew in self._crews for time in crew.due_times()] + self._vigil.due_times()
            wait_secs = min(min(due) - time.monotonic(), _LONGEST_WAIT_SECS) if due else _LONGEST_WAIT_SECS
            poll.poll(max(0, int(wait_secs * 1000) + 1))
            self._take_reports()
            for signum in signals.take():
                self._on_signal(signum)
            self._reap()
            self._kill_overdue()
            self._vigil.keep(time.monotonic())

    def _take_reports(self) -> None:
        for report in self._reports.read():
            found = self._crews.find(report.pid)
            if found:
                found[1].hear(report)
                self._take_status(*found)
        if not self._served and any(slot.ready for slot in self._crews.serving):
            self._served = True
            self._notifier.ready()
            self._on_serving()
        if self._crews.coming and self._crews.coming.all_ready:
            self._crews.hand_over().begin_anew(time.monotonic())
            self._let_leave()
            for slot in self._crews.serving:
                self._take_status(self._crews.serving, slot)
            self._notifier.ready()
            _log.info("reloaded: the new configuration serves")

    def _take_status(self, crew: Crew, slot: Slot) -> None:
        """Those that are to serve do not know yet, and those that leave do not any more."""
        if crew is self._crews.serving and slot.said and (slot.ready or not self._served):
            self._said = slot.said
            self._tell_status()

    def _tell_status(self) -> None:
        if self._phase == "serving":
            self._notifier.status("; ".join(filter(None, (self._refusal, self._said))))

    def _on_signal(self, signum: int) -> None:
        if signum == signal.SIGHUP and self._had_terminal and not os.isatty(0):
            signum = signal.SIGTERM  # the terminal is gone, and who ran us with it
        if signum == signal.SIGHUP:
            if self._phase == "serving":
                self._judge_reload()
        elif signum in _STOP_SIGNALS:
            self._on_stop_signal(signum)
        elif signum in IDLE_SIGNALS and signum not in self._ignored:
            self._ignored.add(signum)
            _log.info("%s has no effect", signal.Signals(signum).name)

    def _on_stop_signal(self, signum: int) -> None:
        now = time.monotonic()
        if self._phase == "serving":
            _log.info("%s: stopping", signal.Signals(signum).name)
            self._drain(now)
        elif now - self._stopped_at > _SAME_SIGNAL_SECS:
            _log.warning("second %s: ending at once", signal.Signals(signum).name)
            self._exit_code = 128 + signum
            self._kill_all()

    def _judge_reload(self) -> None:
        """At once, whatever goes on. The latest configuration that is good is taken over as soon as that may begin."""
        self._notifier.reloading()
        try:
            self._wanted = self._reload()
        except ReloadRefused as error:
            self._refuse_reload(str(error))
            return
        self._refusal = ""
        self._tell_status()
        if self._served and not self._crews.changeable:
            _log.info("the reload waits: processes of those before still start, or end their requests")
            self._reloads_no_more()

    def _begin_wanted_reload(self, now: float) -> None:
        if self._wanted is None or self._phase != "serving" or not self._served or not self._crews.changeable:
            return
        self._notifier.reloading()
        self._crews.prepare(self._wanted)
        self._wanted = None
        # before those that they help
        self._crews.helping.start_due(now)

    def _let_leave(self) -> None:
        now = time.monotonic()
        self._crews.leaving[-1].tell_to_end(HAND_OVER_SIGNAL, now)
        self._crews.retiring.tell_to_end(signal.SIGTERM, now)

    def _drain(self, now: float) -> None:
        self._phase = "draining"
        self._stopped_at = now
        self._notifier.stopping()
        self._notifier.status("stopping: running requests come to their end")
        self._crews.close_sockets()
        for crew in self._crews.requests:
            crew.tell_to_end(self._end_signal, now)
        longest = max((slot.grace_secs for crew in self._crews.requests for slot in crew), default=0.0)
        self._notifier.extend(longest + _STOP_MARGIN_SECS)

    def _end_helpers(self, now: float) -> None:
        """After those that serve, so that requests of theirs could run to their end."""
        self._phase = "ending"
        self._crews.helping.tell_to_end(signal.SIGTERM, now)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # Whatever the dead had to say is there by now.
            self._take_reports()
            found = self._crews.find(pid)
            if found:
                self._on_end(*found, status)

    def _on_end(self, crew: Crew, slot: Slot, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        pid, delay = slot.pid, slot.ended(time.monotonic())
        slot.on_end()
        if self._phase != "serving" or crew in (*self._crews.leaving, self._crews.retiring):
            slot.start_at = None
            clean = code in (0, -self._end_signal, -HAND_OVER_SIGNAL)
            if not clean and crew not in (self._crews.helping, self._crews.retiring) and not self._exit_code:
                _log.error("%s (process %s) ended with %s while stopping", slot.name, pid, describe_status(status))
                self._exit_code = 1 if self._phase != "serving" else 0
            return
        if crew is self._crews.coming:
            self._reload_failed(slot, status)
            return
        _log.warning(
            "%s (process %s) ended with %s; next start in %.1f s", slot.name, pid, describe_status(status), delay
        )
        hopeless = code == HOPELESS_EXIT_CODE or slot.failed_starts >= _MOST_FAILED_STARTS
        if hopeless and crew is self._crews.serving and not self._served:
            self._give_up(slot, status)

    def _reload_failed(self, slot: Slot, status: int) -> None:
        """Those of the generation that are ready have taken connections already: they finish with them."""
        reason = f"{slot.name} of the new configuration ended with {describe_status(status)} before it was ready"
        slot.start_at = None
        self._crews.take_back()
        self._let_leave()
        self._refuse_reload(reason)

    def _refuse_reload(self, reason: str) -> None:
        """The status says so until a configuration is good."""
        _log.error("reload refused, the configuration stays as it was: %s", reason)
        self._refusal = f"reload refused: {reason}"
        self._tell_status()
        self._reloads_no_more()

    def _reloads_no_more(self) -> None:
        """For the time being, unless it does; what was never ready before says so by itself."""
        if self._served and not self._crews.coming:
            self._notifier.ready()

    def _give_up(self, slot: Slot, status: int) -> None:
        _log.critical(
            "giving up: %s ended %d times before any worker was ready, last with %s",
            slot.name, slot.failed_starts, describe_status(status),
        )  # fmt: skip
        self._exit_code = HOPELESS_EXIT_CODE if os.waitstatus_to_exitcode(status) == HOPELESS_EXIT_CODE else 1
        self._drain(time.monotonic())

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        names = [name for crew in self._crews for name in crew.kill_overdue(now)]
        if names:
            _log.error("not ended in time, killed: %s", ", ".join(names))
            if self._phase != "serving":
                self._exit_code = self._exit_code or 1

    def _kill_all(self) -> None:
        for crew in self._crews:
            crew.send(signal.SIGKILL)
