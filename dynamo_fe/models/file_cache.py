"""Files of models fetched over HTTP, kept on disk under their checksum: fetched once for all processes and starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from pathlib import Path
from typing import IO, Final

from blake3 import blake3

from dynamo_fe.models.errors import CardError
from dynamo_fe.models.fetch import FetchError, fetch
from dynamo_fe.models.files import CHECKSUM_PREFIX, digest_of
from dynamo_fe.protocol.card import FileRef

_log = logging.getLogger("dynamo_fe.models")

_PAUSES_SECS: Final = (0.2, 1.0)  # between the tries of one load; later ones are the business of ModelLoads


class FileCache:
    """`limit_bytes` bounds all files together (the least recently used go first), `file_limit_bytes` any single one."""

    def __init__(self, directory: Path, limit_bytes: int, file_limit_bytes: int, timeout_secs: float) -> None:
        self._blobs = directory / "blobs"
        self._limit_bytes = limit_bytes
        self._file_limit_bytes = file_limit_bytes
        self._timeout_secs = timeout_secs
        self._running: dict[str, asyncio.Lock] = {}

    async def local(self, ref: FileRef) -> Path:
        """The file `ref` names by a URL, from the disk if it is there, with the size and checksum of the card.

        Raises:
            CardError: it cannot be had, is not what the card says, or the disk does not take it.
        """
        if not ref.checksum.startswith(CHECKSUM_PREFIX):
            raise CardError(f"{ref.path}: unknown kind of checksum {ref.checksum!r}")
        digest = ref.checksum.removeprefix(CHECKSUM_PREFIX).lower()
        if not digest.isalnum():
            raise CardError(f"{ref.path}: {ref.checksum!r} is not a checksum")
        path = self._blobs / digest
        lock = self._running.setdefault(digest, asyncio.Lock())
        async with lock:
            if not await asyncio.to_thread(self._has, path, digest):
                try:
                    await self._fetch(ref, path, digest)
                except OSError as error:
                    raise CardError(f"{self._blobs} cannot keep model files: {error}; see DYN_FE_CACHE_DIR") from error
                await asyncio.to_thread(self._make_room, path)
        if self._running.get(digest) is lock and not lock.locked():
            del self._running[digest]
        return path

    async def _fetch(self, ref: FileRef, path: Path, digest: str) -> None:
        self._blobs.mkdir(parents=True, exist_ok=True)
        for pause_secs in (*_PAUSES_SECS, None):
            try:
                await self._try(ref, path, digest)
            except FetchError as error:
                if error.final or pause_secs is None:
                    raise CardError(str(error)) from error
                await asyncio.sleep(pause_secs)
            else:
                return

    async def _try(self, ref: FileRef, path: Path, digest: str) -> None:
        if ref.size is not None and ref.size > self._file_limit_bytes:
            text = f"{ref.path}: the card says {ref.size} bytes, more than DYN_FE_MODEL_FILE_MB allows"
            raise FetchError(text, final=True)
        with tempfile.NamedTemporaryFile(dir=self._blobs, prefix=".part-", delete=False) as draft:
            try:
                received = await self._receive(ref, draft)
                if ref.size is not None and draft.tell() != ref.size:
                    raise FetchError(f"{ref.path} has {draft.tell()} bytes, the card says {ref.size}")
                if received != digest:
                    raise FetchError(f"{ref.path} is not the file of the card: its blake3 is {received}")
                draft.flush()
                os.replace(draft.name, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(draft.name)
                raise
        _log.info("fetched %s", ref.path)

    async def _receive(self, ref: FileRef, draft: IO[bytes]) -> str:
        hasher = blake3()

        def take(piece: bytes) -> None:
            hasher.update(piece)
            draft.write(piece)

        limit_bytes = self._file_limit_bytes if ref.size is None else ref.size
        await fetch(ref.path, limit_bytes, self._timeout_secs, take)
        digest: str = hasher.hexdigest()
        return digest

    def _has(self, path: Path, digest: str) -> bool:
        """Whether the file is on the disk, whole; marks it as used."""
        try:
            if digest_of(path) != digest:
                return False
            os.utime(path)
        except OSError:
            return False
        return True

    def _make_room(self, newest: Path) -> None:
        """Deletes the least recently used files until the bound holds. Open ones live on until they are closed."""
        with contextlib.suppress(OSError):
            files = [(entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(self._blobs)]
            total_bytes = sum(size for _, size, _ in files)
            for _, size, name in sorted(files):
                if total_bytes <= self._limit_bytes:
                    return
                if name != str(newest):
                    os.unlink(name)
                    total_bytes -= size
