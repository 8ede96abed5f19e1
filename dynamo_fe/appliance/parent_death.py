"""No orphans: a process that dies with its parent, whatever kills the parent."""

import ctypes
import os
import signal
import sys
from typing import Final

# From linux/prctl.h.
_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2


def end_with_parent(parent_pid: int, signum: signal.Signals = signal.SIGKILL) -> None:
    """Has this process, and the program that it may become, get the signal when its parent ends.

    To be called right after the fork. For the kernel the parent is the thread that forked: it has to be one that lives
    as long as its process, such as the first. A parent that ended before the call is noticed too. Raises OSError where
    the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signum)


def end_with_bootloader() -> None:
    """The same for the program inside a one-file build, whose parent is that file's boot loader; else nothing, as for
    one whose end was arranged for by whoever started it.
    """
    if not getattr(sys, "frozen", False) or _arranged():
        return
    parent_pid = os.getppid()
    try:
        same_program = os.path.samefile(f"/proc/{parent_pid}/exe", "/proc/self/exe")
    except OSError:
        return
    if same_program:
        end_with_parent(parent_pid)


def _arranged() -> bool:
    signum = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_PDEATHSIG, ctypes.byref(signum), 0, 0, 0)
    return signum.value != 0
