"""One bucket directory of the file store, as seen by a reader: what is in it, what changed, what has expired."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from stat import S_ISREG

import msgspec

from dynamo_fe.discovery.base import Delete, Event, Put
from dynamo_fe.discovery.file_keys import decode_name

log = logging.getLogger("dynamo_fe.discovery")


class _Seen(msgspec.Struct):
    key: str
    inode: int
    size_bytes: int
    mtime_ns: int
    touched_at: float
    value: bytes | None
    unreadable: bool = False


class BucketReader:
    """Compares the directory with what it saw before. Blocking file system calls, so run it in a thread.

    A file has expired when its modification time is older than the TTL **and** was not seen to move for half of it.
    The second half of the rule is ours: clocks that disagree, or a host that slept, would otherwise make a reader
    delete the files of living workers. Expired files are deleted, whoever owns them.
    """

    def __init__(self, directory: str, bucket: str, prefix: str, ttl_secs: float) -> None:
        self._directory = directory
        self._bucket = bucket
        self._prefix = prefix
        self._ttl_secs = ttl_secs
        self._seen: dict[str, _Seen] = {}

    def entries(self) -> dict[str, bytes]:
        """The living keys below the prefix, as of the last look."""
        return {seen.key: seen.value for seen in self._seen.values() if seen.value is not None}

    def look_at_all(self, trust_inode: bool) -> list[Event]:
        """Reads the directory. `trust_inode`: changed contents are announced by name (inotify), so that the same inode
        and size means unchanged; without it a moved modification time is reason enough to read again.

        Raises `OSError`; `FileNotFoundError` when the directory is gone.
        """
        events: list[Event] = []
        names: set[str] = set()
        with os.scandir(self._directory) as listing:
            for entry in listing:
                names.add(entry.name)
                with contextlib.suppress(FileNotFoundError):
                    self._consider(entry.name, entry.stat(follow_symlinks=False), not trust_inode, events)
        for name in self._seen.keys() - names:
            self._forget(name, events)
        return events

    def look_at(self, names: Iterable[str]) -> list[Event]:
        """The same for the named files only. Raises `OSError`."""
        events: list[Event] = []
        for name in names:
            try:
                stat = os.lstat(os.path.join(self._directory, name))
            except FileNotFoundError:
                self._forget(name, events)
                continue
            self._consider(name, stat, True, events)
        return events

    def forget_all(self) -> None:
        """The directory's contents were lost: starts anew."""
        self._seen.clear()

    def _consider(self, name: str, stat: os.stat_result, read_if_moved: bool, events: list[Event]) -> None:
        if not S_ISREG(stat.st_mode):
            return
        now = time.monotonic()
        seen = self._seen.get(name)
        if seen is None:
            rest = decode_name(name)
            if rest is None or not rest.startswith(self._prefix):
                return
            seen = _Seen(f"{self._bucket}/{rest}", 0, 0, stat.st_mtime_ns, now, None)
            self._seen[name] = seen
        fresh = time.time() - stat.st_mtime <= self._ttl_secs
        moved = seen.mtime_ns != stat.st_mtime_ns
        replaced = seen.inode != stat.st_ino or seen.size_bytes != stat.st_size
        if moved:
            seen.mtime_ns = stat.st_mtime_ns
            seen.touched_at = now
        if not fresh and not moved:
            self._maybe_expire(name, seen, now, events)
            return
        if seen.value is None or replaced or (moved and read_if_moved):
            self._read(name, seen, events)
            seen.inode, seen.size_bytes = stat.st_ino, stat.st_size

    def _read(self, name: str, seen: _Seen, events: list[Event]) -> None:
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                value = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            # One record that we may not read must not hide the others.
            if not seen.unreadable:
                log.warning("record %s cannot be read: %s", seen.key, error)
            seen.unreadable = True
            return
        if value != seen.value:
            seen.value = value
            events.append(Put(seen.key, value))

    def _maybe_expire(self, name: str, seen: _Seen, now: float, events: list[Event]) -> None:
        if now - seen.touched_at < self._ttl_secs / 2:
            return
        path = os.path.join(self._directory, name)
        try:
            if os.lstat(path).st_mtime_ns != seen.mtime_ns:
                return
            os.unlink(path)
        except FileNotFoundError:
            pass
        except PermissionError:
            # Somebody else's file in a directory that is not ours to clean: dead to us all the same.
            if seen.value is not None:
                seen.value = None
                events.append(Delete(seen.key))
            return
        self._forget(name, events)

    def _forget(self, name: str, events: list[Event]) -> None:
        seen = self._seen.pop(name, None)
        if seen is not None and seen.value is not None:
            events.append(Delete(seen.key))
