"""`file` discovery: a directory shared by all participants. Liveness is the files' modification time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator

from dynamo_fe.discovery.base import Discovery, DiscoveryStatus, Event, KeyTaken, Snapshot
from dynamo_fe.discovery.file_bucket import BucketReader
from dynamo_fe.discovery.file_keys import TEMPORARY_PREFIX, encode_name, split_key
from dynamo_fe.discovery.inotify import Inotify

log = logging.getLogger("dynamo_fe.discovery")

TTL_SECS = 10.0


class _Wake:
    """What inotify said since the last look."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.names: set[str] = set()
        self.watched = False

    def __call__(self, name: str) -> None:
        if not name.startswith(TEMPORARY_PREFIX):
            self.names.add(name)
            self.event.set()

    def take(self) -> set[str]:
        names, self.names = self.names, set()
        self.event.clear()
        return names


class FileDiscovery(Discovery):
    """A participant of the store at `root`.

    Told of changes by inotify; where no instance is left, and for what other hosts write to a shared directory, by
    looking: every TTL/5, without inotify every TTL/20.
    """

    def __init__(self, root: str, ttl_secs: float = TTL_SECS) -> None:
        self._root = root
        self._ttl_secs = ttl_secs
        self._lease = 0
        self._published: dict[str, bytes] = {}
        self._inotify: Inotify | None = None
        self._toucher: asyncio.Task[None] | None = None
        self._wakes: set[_Wake] = set()
        self._closed = False
        self._fault = ""
        self._since = time.monotonic()
        self._polling_said = False

    async def start(self) -> None:
        self._since = time.monotonic()
        self._open_inotify()

    async def watch(self, prefix: str) -> AsyncIterator[list[Event]]:
        bucket, rest = split_key(prefix)
        directory = os.path.join(self._root, bucket)
        reader = BucketReader(directory, bucket, rest, self._ttl_secs)
        wake = _Wake()
        self._wakes.add(wake)
        first = True
        try:
            while not self._closed:
                batch = await self._look(reader, directory, wake, first)
                if batch is not None:
                    first = False
                    if batch:
                        yield batch
                with contextlib.suppress(TimeoutError):
                    # not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event
                    async with asyncio.timeout(self._ttl_secs / (5 if wake.watched else 20)):
                        await wake.event.wait()
        finally:
            self._wakes.discard(wake)
            if self._inotify is not None:
                self._inotify.forget(wake)

    async def grant_lease(self) -> int:
        if not self._lease:
            self._lease = secrets.randbits(64) or 1
            self._toucher = asyncio.create_task(self._touch_forever(), name="file-discovery-touch")
        return self._lease

    async def publish(self, key: str, value: bytes) -> None:
        if not self._lease:
            raise RuntimeError("publish() before grant_lease()")
        await asyncio.to_thread(self._create, key, value)
        self._published[key] = value

    async def withdraw(self, key: str) -> None:
        if self._published.pop(key, None) is not None:
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(os.unlink, self._path(key))

    async def close(self) -> None:
        self._closed = True
        if self._toucher is not None:
            self._toucher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._toucher
            self._toucher = None
        for key in list(self._published):
            try:
                await self.withdraw(key)
            except OSError as error:
                log.warning("cannot withdraw %s: %s", key, error)
        self._lease = 0
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        for wake in self._wakes:
            wake.event.set()

    def status(self) -> DiscoveryStatus:
        how = "inotify" if self._inotify is not None else "polling"
        detail = f"{self._root}: {self._fault}" if self._fault else f"{self._root} ({how})"
        return DiscoveryStatus("file", not self._fault and not self._closed, time.monotonic() - self._since, detail)

    async def _look(self, reader: BucketReader, directory: str, wake: _Wake, first: bool) -> list[Event] | None:
        """One look at the bucket; None when the directory cannot be read."""
        names = wake.take()
        named_only = bool(names) and "" not in names and not first
        try:
            if wake.watched and not first and "" not in names:
                # the everyday case, in one hop to a thread
                found = await asyncio.to_thread(_look_again, reader, directory, names)
                if found is not None:
                    self._set_fault("")
                    return found
            lost = not await asyncio.to_thread(_ensure_directory, directory) and not first
            self._follow(directory, wake)
            if named_only and not lost:
                events = await asyncio.to_thread(reader.look_at, names)
            else:
                if lost:
                    reader.forget_all()
                events = await asyncio.to_thread(reader.look_at_all, wake.watched)
        except OSError as error:
            self._set_fault(str(error))
            return None
        self._set_fault("")
        if lost:
            log.warning("the directory %s was gone and has been made again", directory)
        if first or lost:
            return [Snapshot(reader.entries(), after_outage=lost)]
        return events

    def _follow(self, directory: str, wake: _Wake) -> None:
        wake.watched = False
        if self._inotify is None:
            self._open_inotify()
        if self._inotify is None or self._closed:
            return
        try:
            self._inotify.add(directory, wake)
            wake.watched = True
        except OSError as error:
            self._say_polling(error)

    def _open_inotify(self) -> None:
        if self._closed:
            return
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._say_polling(error)

    def _say_polling(self, error: OSError) -> None:
        if not self._polling_said:
            log.warning("no inotify (%s): looking into %s every %.1f s", error, self._root, self._ttl_secs / 20)
            self._polling_said = True

    def _set_fault(self, fault: str) -> None:
        if bool(fault) != bool(self._fault):
            self._since = time.monotonic()
            log.log(logging.WARNING if fault else logging.INFO, "file discovery at %s: %s", self._root, fault or "well")
        self._fault = fault

    def _path(self, key: str) -> str:
        bucket, rest = split_key(key)
        return os.path.join(self._root, bucket, encode_name(rest))

    def _create(self, key: str, value: bytes) -> None:
        """Written whole under a temporary name, then linked, so that nobody reads half a record."""
        path = self._path(key)
        _ensure_directory(os.path.dirname(path))
        temporary = os.path.join(os.path.dirname(path), f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        with open(temporary, "wb") as file:
            file.write(value)
        try:
            os.link(temporary, path)
        except FileExistsError:
            if not self._is_stale(path):
                raise KeyTaken(key) from None
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _is_stale(self, path: str) -> bool:
        try:
            return time.time() - os.stat(path).st_mtime > self._ttl_secs
        except FileNotFoundError:
            return True

    async def _touch_forever(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_secs / 3)
            try:
                await asyncio.to_thread(self._touch_all, dict(self._published))
            except OSError as error:
                log.warning("cannot touch the records in %s: %s", self._root, error)

    def _touch_all(self, published: dict[str, bytes]) -> None:
        for key, value in published.items():
            try:
                os.utime(self._path(key))
            except FileNotFoundError:
                if key not in self._published:
                    continue
                log.warning("%s had vanished from the store: published again", key)
                with contextlib.suppress(KeyTaken):
                    self._create(key, value)


def _look_again(reader: BucketReader, directory: str, names: set[str]) -> list[Event] | None:
    """What changed in a directory that inotify watches, in the named files or else in all; None when it is gone."""
    if not os.path.isdir(directory):
        return None
    return reader.look_at(names) if names else reader.look_at_all(trust_inode=True)


def _ensure_directory(directory: str) -> bool:
    """Makes it if need be. Returns whether it was there."""
    if os.path.isdir(directory):
        return True
    os.makedirs(directory, exist_ok=True)
    return False
