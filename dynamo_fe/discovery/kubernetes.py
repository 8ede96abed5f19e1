"""`kubernetes` discovery: workers are objects of the API server, and their pods' readiness decides.

Only lists and watches within one namespace; what is seen once is kept until an event or a complete list drops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final

from dynamo_fe.discovery import kube_paths
from dynamo_fe.discovery.base import Discovery, DiscoveryStatus, Event
from dynamo_fe.discovery.kube_access import KubeAccess
from dynamo_fe.discovery.kube_client import KubeClient
from dynamo_fe.discovery.kube_identity import Identity
from dynamo_fe.discovery.kube_join import Join
from dynamo_fe.discovery.kube_metrics import show
from dynamo_fe.discovery.kube_readiness import PodReadiness, SliceReadiness
from dynamo_fe.discovery.kube_reflector import Reflector
from dynamo_fe.discovery.kube_view import KubeView
from dynamo_fe.discovery.kube_writer import RecordWriter
from dynamo_fe.ops.metrics import MetricsRegistry

# An API server sends a bookmark about every minute.
SILENCE_SECS: Final = 75.0
# Workers left out that are named to an operator one by one.
_MAX_REMARKS: Final = 20


class KubernetesDiscovery(Discovery):
    """A pod's hold on one namespace. In container mode the pods themselves say who is ready, else EndpointSlices.

    `seat`: of this process among those of its pod that register.
    """

    def __init__(
        self,
        access: KubeAccess,
        identity: Identity,
        silence_secs: float = SILENCE_SECS,
        assume_ready: bool = False,
        seat: int = 0,
    ) -> None:
        self._client = KubeClient(access)
        self._identity = identity
        by_containers = identity.container is not None
        self._view = KubeView(Join(PodReadiness() if by_containers else SliceReadiness(assume_ready)))
        namespace = identity.namespace
        pods = kube_paths.pods(namespace) if by_containers else kube_paths.slices(namespace)
        self.reflectors = (
            Reflector(self._client, pods, self._view.pods, silence_secs),
            Reflector(self._client, kube_paths.metadatas(namespace), self._view.records, silence_secs),
        )
        self._silence_secs = silence_secs
        self._seat = seat
        self._writer: RecordWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def start(self) -> None:
        """Nothing is listed before the first `watch`: who only registers needs no right to."""

    async def watch(self, prefix: str) -> AsyncIterator[list[Event]]:
        if self._closed:
            return
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(reflector.run(), name=reflector.resource.name) for reflector in self.reflectors
            ]
        follower = self._view.follow(prefix)
        try:
            while (batch := await follower.next()) is not None:
                yield batch
                # Hundreds of workers may be waiting in it, and requests behind them.
                await asyncio.sleep(0)
        finally:
            self._view.forget(follower)

    async def grant_lease(self) -> int:
        if self._writer is None:
            self._writer = RecordWriter(self._client, self._identity, self._seat, self._silence_secs)
            self._writer.start()
        return self._identity.instance_id

    async def publish(self, key: str, value: bytes) -> None:
        if self._writer is None:
            raise RuntimeError("publish() before grant_lease()")
        await self._writer.publish(key, value)

    async def withdraw(self, key: str) -> None:
        if self._writer is not None:
            await self._writer.withdraw(key)

    async def close(self) -> None:
        self._closed = True
        if self._writer is not None:
            await self._writer.close()
            self._writer = None
        self._view.close()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    def status(self) -> DiscoveryStatus:
        only_writes = self._writer is not None and not self._tasks
        faulty = [] if only_writes else [reflector for reflector in self.reflectors if reflector.fault]
        faults = [reflector.fault for reflector in faulty]
        if self._writer is not None and self._writer.fault:
            faults.append(self._writer.fault)
        since = min(one.since for one in faulty) if faulty else max(one.since for one in self.reflectors)
        where = f"{self._client.access.address}, namespace {self._identity.namespace}"
        parts = [where, *faults]
        age_secs = self.view_age_secs()
        if faults and self._view.synced and age_secs is not None:
            parts.append(f"the view is {age_secs:.0f} s old")
        return DiscoveryStatus("kubernetes", not faults, time.monotonic() - since, "; ".join(parts), age_secs)

    def view_age_secs(self) -> float | None:
        """For how long nothing confirms the view, by the list or watch that is silent for longest. None: no view."""
        heard = [reflector.heard_at for reflector in self.reflectors]
        oldest = [at for at in heard if at is not None]
        return time.monotonic() - min(oldest) if len(oldest) == len(heard) else None

    def show(self, registry: MetricsRegistry) -> None:
        show(self, registry)

    def remarks(self) -> list[str]:
        remarks = self._view.join.remarks() if self._view.synced else []
        if len(remarks) > _MAX_REMARKS:
            more = len(remarks) - _MAX_REMARKS
            return [*remarks[:_MAX_REMARKS], f"and {more} more workers are left out"]
        return remarks

    def leaving(self) -> frozenset[int]:
        return self._view.join.leaving()

    def record_counts(self) -> dict[str, int]:
        """Records by state, for the metrics."""
        return self._view.join.counts()
