import os
import signal
import time

import pytest

from dynamo_fe.appliance.control import Control, Reports
from dynamo_fe.appliance.crews import Crews
from dynamo_fe.appliance.notify import Notifier
from dynamo_fe.appliance.role import Role
from dynamo_fe.appliance.vigil import Vigil


def silent(control: Control) -> int:
    signal.pause()
    return 0


@pytest.mark.parametrize(
    ("limit_secs", "ready", "said"),
    [
        (0.5, True, "has hung for 0.5 s: killed"),
        (0.5, False, "has hung in its start for 30 s: killed"),
        (60.0, False, "has hung in its start for 60 s: killed"),
    ],
)
def test_a_silent_child_is_killed_after_the_time_that_is_told(
    limit_secs: float, ready: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The clock is the test's."""
    reports = Reports()
    crews = Crews([Role("worker", silent, serves=True, watched=True)], reports)
    begun = now = time.monotonic()
    crews.serving.start_due(begun)
    (slot,) = crews.serving
    assert slot.pid is not None
    slot.ready = ready
    vigil = Vigil(crews, limit_secs, Notifier({}))
    while not caplog.messages:
        (now,) = vigil.due_times()
        vigil.keep(now)
    assert caplog.messages == [f"{slot.name} (process {slot.pid}) {said}"]
    assert os.waitstatus_to_exitcode(os.waitpid(slot.pid, 0)[1]) == -signal.SIGKILL
    waited_secs = float(said.split()[-3])
    assert waited_secs < now - begun < 1.5 * waited_secs + 1
    reports.close()
