"""Resource limits of the process and, by inheritance, of its children."""

import contextlib
import ctypes
import resource
from typing import Final

# from malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def raise_fd_limit(target: int) -> int:
    """Raises the soft limit of open files to `target`, as far as the hard limit allows; never lowers it.

    Returns the soft limit then in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = target if hard == resource.RLIM_INFINITY else min(target, hard)
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def keep_freed_memory(most_bytes: int) -> None:
    """Has the C library keep up to `most_bytes` that were freed, instead of giving them back to the system.

    Buffers of megabytes come and go with every tensor; to get fresh pages for each of them took a third of the CPU time
    of a tensor of 1 MB (3 of 10 ms). Where the C library is another one, nothing happens.
    """
    with contextlib.suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, most_bytes // 2)
        libc.mallopt(_M_TRIM_THRESHOLD, most_bytes)
