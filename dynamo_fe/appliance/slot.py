"""The place of one child process, and when it is filled again. No clock and no process of its own: times come in."""

from collections.abc import Callable
from typing import Final

from dynamo_fe.appliance.control import Report
from dynamo_fe.appliance.heartbeat import Pulse
from dynamo_fe.appliance.listeners import Door

_FIRST_DELAY_SECS: Final = 0.1
_LONGEST_DELAY_SECS: Final = 10.0
_MOST_DOUBLINGS: Final = 10
# A child that ends sooner has failed to start, ready or not.
_SHORT_LIFE_SECS: Final = 1.0
# One that was never ready but lived longer has failed at something else (a store that is away, say).
_STARTUP_SECS: Final = 30.0


class Slot:
    """One child: what it runs, its process id while it lives, the back-off between two lives.

    `grace_secs` is what it gets to end after it was told to, `kill_at` when that is over. `pulse` is where a child that
    is watched says that it lives, `on_end` is to be called when it has ended. `said` is what its child said last
    of what the service does, `door` where it takes connections.
    """

    def __init__(
        self,
        name: str,
        body: Callable[[], int],
        grace_secs: float,
        pulse: Pulse | None = None,
        on_end: Callable[[], None] = lambda: None,
        door: Door | None = None,
    ) -> None:
        self.name = name
        self.body = body
        self.grace_secs = grace_secs
        self.pulse = pulse
        self.on_end = on_end
        self.door = door
        self.pid: int | None = None
        self.ready = False
        self.said = ""
        self.failed_starts = 0
        self.start_at: float | None = 0.0
        self.kill_at: float | None = None
        self._started = 0.0

    def hear(self, report: Report) -> None:
        """Of its child."""
        if report.kind == "status":
            self.said = report.text
        else:
            self.ready = True

    def started(self, pid: int, now: float) -> None:
        self.pid, self.ready, self.start_at, self._started = pid, False, None, now

    def told_to_end(self, now: float) -> None:
        self.start_at, self.kill_at = None, now + self.grace_secs

    def told_to_begin_anew(self, now: float) -> None:
        if self.pid is not None:
            self.kill_at = now + self.grace_secs

    def ended(self, now: float) -> float:
        """The child is gone. Returns after how many seconds it is to be started again, and plans it."""
        life_secs = now - self._started
        failed = life_secs < _SHORT_LIFE_SECS or (not self.ready and life_secs < _STARTUP_SECS)
        self.failed_starts = self.failed_starts + 1 if failed else 0
        doublings = min(self.failed_starts - 1, _MOST_DOUBLINGS)
        delay = min(_FIRST_DELAY_SECS * 2**doublings, _LONGEST_DELAY_SECS) if failed else 0.0
        self.pid, self.ready, self.start_at, self.kill_at = None, False, now + delay, None
        return delay
