"""No orphans: a child that dies with its parent, whatever kills the parent."""

import ctypes
import os
import select
import signal
import sys
import threading
import time
from typing import Final

# From linux/prctl.h.
_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(parent_pid: int) -> None:
    """Has this process, and the program that it may become, get SIGTERM when its parent ends.

    To be called right after the fork. A parent that ended before the call is noticed too. Raises OSError where the
    kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGTERM)


def die_with_parent(parent_pid: int, grace_secs: float) -> None:
    """The same, and SIGKILL when it still runs `grace_secs` later. Without pidfd_open (Linux 5.3) the SIGKILL is left
    out. Raises OSError as `end_with_parent` does.
    """
    try:
        parent = os.pidfd_open(parent_pid)
    except OSError:
        pass
    else:
        threading.Thread(target=_kill_after, args=(parent, grace_secs), name="parent-death", daemon=True).start()
    end_with_parent(parent_pid)


def die_with_bootloader(grace_secs: float) -> None:
    """The same for the program inside a one-file build, whose parent is that file's boot loader; else nothing."""
    parent_pid = os.getppid()
    try:
        same_program = os.path.samefile(f"/proc/{parent_pid}/exe", "/proc/self/exe")
    except OSError:
        return
    if same_program and getattr(sys, "frozen", False):
        die_with_parent(parent_pid, grace_secs)


def _kill_after(parent: int, grace_secs: float) -> None:
    """In a thread of its own, which sleeps in the kernel: for a worker whose loop hangs, or that ignores SIGTERM."""
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    poll.poll()
    time.sleep(grace_secs)
    os.kill(os.getpid(), signal.SIGKILL)
