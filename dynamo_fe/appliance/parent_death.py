"""No orphans: a process that dies with its parent, whatever kills the parent."""

import ctypes
import os
import signal
from pathlib import Path
from typing import Final

# From linux/prctl.h.
_PR_SET_PDEATHSIG: Final = 1
_PROC: Final = Path("/proc")
# What PyInstaller's boot loader gives to the program that it has unpacked; what that one starts has another number.
_BY_BOOTLOADER: Final = b"_PYI_PARENT_PROCESS_LEVEL=0"


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
    """The same for the program inside a one-file build, whose parent is that file's boot loader; else nothing.

    A boot loader that ended while Python was starting is noticed by whoever took its place: it runs something else.
    """
    if _BY_BOOTLOADER not in _words_of("self", "environ"):
        return
    parent_pid = os.getppid()
    end_with_parent(parent_pid)
    running = _words_of(str(parent_pid), "cmdline")
    if running and running != _words_of("self", "cmdline"):
        os.kill(os.getpid(), signal.SIGKILL)


def _words_of(process: str, file: str) -> list[bytes]:
    """What proc(5) has of the process; empty where it may not be read."""
    try:
        return (_PROC / process / file).read_bytes().split(b"\0")
    except OSError:
        return []
