"""Writes this process's DynamoWorkerMetadata: again after a failure, and again when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from dynamo_fe.discovery.backoff import Backoff
from dynamo_fe.discovery.base import KeyTaken
from dynamo_fe.discovery.kube_client import KubeClient, KubeError
from dynamo_fe.discovery.kube_identity import Identity
from dynamo_fe.discovery.kube_objects import Named, ObjectError, read
from dynamo_fe.discovery.kube_paths import FIELD_MANAGER, metadatas
from dynamo_fe.discovery.kube_record import OwnRecord
from dynamo_fe.discovery.kube_reflector import Reflector
from dynamo_fe.discovery.kube_resume import ASKED_LIMIT_SECS, FIRST_SECS, LONGEST_SECS

log = logging.getLogger("dynamo_fe.discovery")

# How long an end waits for an API server that may be away.
_WITHDRAW_SECS: Final = 5.0
_CLOSE_SECS: Final = 2.0


class RecordWriter:
    """Belongs to one event loop. `fault` says why the record is not what it should be, empty when all is well.

    Each `seat` of a pod manages fields of its own: what one applies leaves alone what the others did.
    """

    def __init__(self, client: KubeClient, identity: Identity, seat: int, silence_secs: float) -> None:
        self.fault = ""
        self._client = client
        self._identity = identity
        self._manager = f"{FIELD_MANAGER}-{seat}" if seat else FIELD_MANAGER
        self._record = OwnRecord(identity)
        self._resource = metadatas(identity.namespace, identity.record_name)
        self._reflector = Reflector(client, self._resource, _OwnSink(self, identity), silence_secs)
        self._tasks: list[asyncio.Task[None]] = []
        # Both count changes of the record.
        self._wanted = 0
        self._written = 0
        self._changed = asyncio.Event()
        self._progress = asyncio.Condition()
        self._free = asyncio.Event()
        self._free.set()

    def start(self) -> None:
        """Begins to write. A container begins with an empty record: what it wrote before it was restarted is void."""
        if self._identity.container is not None:
            self._change()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work, name="kube-record") for work in (self._write_forever(), self._follow())]

    async def publish(self, key: str, value: bytes) -> None:
        """Returns when it is written, however long that takes. Raises `KeyTaken` when it was published before."""
        if key in self._record:
            raise KeyTaken(key)
        self._record.put(key, value)
        await self._until_written(self._change())

    async def withdraw(self, key: str) -> None:
        """Returns when that is written, or could not be at once: it is tried again then, but not waited for."""
        if self._record.remove(key):
            wanted = self._change()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WITHDRAW_SECS), self._progress:
                    await self._progress.wait_for(lambda: self._written >= wanted or bool(self.fault))

    async def close(self) -> None:
        """Takes back what was published, unless the API server stays away. The object itself goes with its pod."""
        self._record.clear()
        if self._wanted and self._tasks and self._free.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECS):
                    await self._until_written(self._change())
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def lost(self) -> None:
        """The object is gone, though this process lives."""
        self._free.set()
        log.warning("the record %s was deleted: it is written again", self._identity.record_name)
        self._change()

    def usurped(self, pod_uid: str | None) -> None:
        """The object belongs to another pod of that name, or to none: it is left alone while that lasts."""
        if self._free.is_set():
            self._free.clear()
            owner = f"another pod of that name, uid {pod_uid}" if pod_uid else "no pod"
            self._say(f"the record {self._identity.record_name} belongs to {owner}: it is left alone")

    def regained(self) -> None:
        """The object is this pod's."""
        if not self._free.is_set():
            self._free.set()
            self._say("")

    def _change(self) -> int:
        self._wanted += 1
        self._changed.set()
        return self._wanted

    async def _until_written(self, wanted: int) -> None:
        async with self._progress:
            await self._progress.wait_for(lambda: self._written >= wanted)

    async def _write_forever(self) -> None:
        backoff = Backoff(FIRST_SECS, LONGEST_SECS)
        path = self._resource.object_path(self._identity.record_name)
        while True:
            await self._changed.wait()
            await self._free.wait()
            self._changed.clear()
            wanted = self._wanted
            try:
                await self._client.apply(path, self._record.body(), self._manager)
            except KubeError as error:
                self._changed.set()
                self._say(f"the record {self._identity.record_name} cannot be written: {error}")
                async with self._progress:
                    self._progress.notify_all()
                asked_secs = min(error.retry_after_secs or 0.0, ASKED_LIMIT_SECS)
                await asyncio.sleep(max(backoff.next_secs(), asked_secs))
            else:
                backoff.reset()
                self._say("")
                async with self._progress:
                    self._written = wanted
                    self._progress.notify_all()

    async def _follow(self) -> None:
        """From the first write on: whatever is seen of the record is then later than that."""
        await self._until_written(1)
        await self._reflector.run()

    def _say(self, fault: str) -> None:
        if fault != self.fault:
            log.log(logging.WARNING if fault else logging.INFO, "%s", fault or "the record is written")
        self.fault = fault


class _OwnSink:
    """Where the one record goes that is followed."""

    def __init__(self, writer: RecordWriter, identity: Identity) -> None:
        self.listed = False
        self._writer = writer
        self._identity = identity

    async def replace(self, items: Sequence[msgspec.Raw]) -> None:
        self.listed = True
        if not items:
            self._writer.lost()
        for raw in items:
            with contextlib.suppress(ObjectError):
                self.put(raw)

    def put(self, raw: msgspec.Raw) -> None:
        owners = read(raw, Named).metadata.owner_references or []
        pods = [owner.uid for owner in owners if owner.kind == "Pod"]
        if self._identity.pod_uid in pods:
            self._writer.regained()
        else:
            self._writer.usurped(pods[0] if pods else None)

    def remove(self, name: str) -> None:
        self._writer.lost()
