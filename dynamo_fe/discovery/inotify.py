"""Linux inotify through libc: which names changed in a directory. No package needed."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

_IN_CLOSE_WRITE = 0x08
_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_ONLYDIR = 0x01000000
_MASK = (
    _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_DELETE_SELF | _IN_MOVE_SELF
) | _IN_ONLYDIR
_HEADER = struct.Struct("iIII")

OnNames = Callable[[str], None]


class Inotify:
    """One inotify instance on the running loop. Callbacks get the changed name, or "" for "look at everything"."""

    def __init__(self) -> None:
        """Raises `OSError` when no instance is left (the per-user limit) or the kernel has none."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._callbacks: dict[int, set[OnNames]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def add(self, directory: str, callback: OnNames) -> int:
        """Watches a directory; repeating it is cheap and picks up a directory that was replaced. Returns its number.
        Raises `OSError` (no such directory, watch limit)."""
        number = self._checked(self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK))
        self._callbacks.setdefault(number, set()).add(callback)
        return number

    def forget(self, callback: OnNames) -> None:
        """That callback is not called any more."""
        for callbacks in self._callbacks.values():
            callbacks.discard(callback)

    def close(self) -> None:
        """Nothing is called any more. Safe to call twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._callbacks.clear()

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            number, mask, _cookie, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            self._deliver(number, mask, name)

    def _deliver(self, number: int, mask: int, name: str) -> None:
        if number < 0:
            # The kernel's queue ran over: anything may have changed.
            targets = [callback for callbacks in self._callbacks.values() for callback in callbacks]
            name = ""
        else:
            targets = list(self._callbacks.get(number, ()))
            name = "" if mask & (_IN_DELETE_SELF | _IN_MOVE_SELF) else name
        for callback in targets:
            callback(name)
