"""No orphans: a child that dies with its parent, whatever kills the parent."""

import ctypes
import os
import select
import signal
import threading
import time
from typing import Final

# From linux/prctl.h.
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent_pid: int, grace_secs: float) -> None:
    """Has this process get SIGTERM when its parent ends, and SIGKILL when it still runs `grace_secs` later.

    To be called right after the fork. A parent that ended before the call is noticed too. Raises OSError where the
    kernel refuses the SIGTERM; without pidfd_open (Linux 5.3) the SIGKILL is left out.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    try:
        parent = os.pidfd_open(parent_pid)
    except OSError:
        pass
    else:
        threading.Thread(target=_kill_after, args=(parent, grace_secs), name="parent-death", daemon=True).start()
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGTERM)


def _kill_after(parent: int, grace_secs: float) -> None:
    """In a thread of its own, which sleeps in the kernel: for a worker whose loop hangs, or that ignores SIGTERM."""
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    poll.poll()
    time.sleep(grace_secs)
    os.kill(os.getpid(), signal.SIGKILL)
