"""Reading files that settings name, so that nothing found there holds up a start, a reload or a signal that comes then.

Opened to read, a FIFO blocks until somebody writes to it, and a device may never come to its end.
"""

import errno
import os
import select
import stat
import time
from typing import Final

# What writes to a pipe may have to ask a server for it.
_PIPE_SECS: Final = 5.0
_PIECE_BYTES: Final = 1 << 16
# No file of settings comes near it.
_MOST_BYTES: Final = 1 << 22
_TOO_LONG: Final = f"it has more than {_MOST_BYTES} bytes"


class Unsuitable(OSError):
    """What is there cannot be read like a file of settings. `strerror` says why, as of every OSError."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EINVAL, text)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file. Raises OSError, Unsuitable for anything else."""
    with _Opened(path) as opened:
        if not opened.regular:
            raise Unsuitable("it is no regular file")
        return _bounded(opened.fd)


def read_file_or_pipe(path: str | os.PathLike[str], *, may_wait: bool) -> bytes:
    """Also what somebody writes to a pipe, as a shell's `<(...)` or standard input, in reasonable time and amount.
    Raises OSError, Unsuitable for what is neither, or where nothing comes; without `may_wait` for every pipe: whether
    its writer is quick enough would be chance.
    """
    with _Opened(path) as opened:
        if opened.regular:
            return _bounded(opened.fd)
        if opened.needs_writer and not may_wait:
            raise Unsuitable("it is no regular file, and only a start waits for what comes out of it")
        return _drain(opened.fd, time.monotonic() + _PIPE_SECS)


class _Opened:
    """Opened without waiting for anybody."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        mode = os.fstat(self.fd).st_mode
        self.regular = stat.S_ISREG(mode)
        self.needs_writer = stat.S_ISFIFO(mode) or os.isatty(self.fd)
        if stat.S_ISDIR(mode):
            os.close(self.fd)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    def __enter__(self) -> "_Opened":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _bounded(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise Unsuitable(_TOO_LONG)
    return content


def _drain(fd: int, until: float) -> bytes:
    content = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(content) <= _MOST_BYTES:
        left_ms = int((until - time.monotonic()) * 1000)
        if left_ms <= 0:
            raise Unsuitable(f"it is no regular file, and what comes out of it had no end within {_PIPE_SECS:g} s")
        try:
            piece = os.read(fd, _PIECE_BYTES)
        except BlockingIOError:
            poll.poll(left_ms)
            continue
        if piece:
            content += piece
        elif content or not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return bytes(content)
        else:
            # nobody writes to it, or who did has been read already
            raise Unsuitable("it is no regular file, and nothing comes out of it")
    raise Unsuitable(_TOO_LONG)
