"""Resource limits of the process and, by inheritance, of its children."""

import contextlib
import ctypes
import resource
from typing import Final

# Of each request, for its client and up to one for its worker.
_FILES_A_REQUEST: Final = 2
# What is open beside requests: a fixed part, and connections to workers and stores, which grow with the cluster.
_OWN_FILES: Final = 64
_OTHERS_SHARE: Final = 8
_LEAST_CONNECTIONS: Final = 8

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


def files_for(connections: int) -> int:
    """How many files have to be allowed so that so many clients can be served at once."""
    return (_FILES_A_REQUEST * connections + _OWN_FILES) * _OTHERS_SHARE // (_OTHERS_SHARE - 1) + 1


def connections_within(files: int) -> int:
    """How many clients can be served at once where so many files are allowed. Held to that, a process never runs out of
    them: it would have to refuse connections that it cannot even take, and workers that call back.
    """
    return max(_LEAST_CONNECTIONS, (files - files // _OTHERS_SHARE - _OWN_FILES) // _FILES_A_REQUEST)


def open_files_limit() -> int | None:
    """The soft limit of open files; None without one."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def keep_freed_memory(most_bytes: int) -> None:
    """Has the C library keep up to `most_bytes` that were freed, instead of giving them back to the system.

    Buffers of megabytes come and go with every tensor; to get fresh pages for each of them took a third of the CPU time
    of a tensor of 1 MB (3 of 10 ms). Where the C library is another one, nothing happens.
    """
    with contextlib.suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, most_bytes // 2)
        libc.mallopt(_M_TRIM_THRESHOLD, most_bytes)
