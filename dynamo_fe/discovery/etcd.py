"""`etcd` discovery: the default, for more than one host."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from dynamo_fe.discovery.base import Discovery, DiscoveryStatus, Event
from dynamo_fe.discovery.etcd_client import EtcdClient
from dynamo_fe.discovery.etcd_lease import EtcdLease
from dynamo_fe.discovery.etcd_options import EtcdOptions
from dynamo_fe.discovery.etcd_watch import EtcdWatch

# A withdrawal that the store does not take within this is left to the lease.
CLOSE_SECS = 3.0


class EtcdDiscovery(Discovery):
    """One client of an etcd cluster: any number of watches, and at most one lease."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._client = EtcdClient(options)
        self._lease = EtcdLease(self._client, options.lease_ttl_secs)
        self._closed = asyncio.Event()

    async def start(self) -> None:
        """Nothing to prepare: the channel opens with the first call."""

    async def watch(self, prefix: str) -> AsyncIterator[list[Event]]:
        batches = EtcdWatch(self._client, prefix).batches()
        closing = asyncio.ensure_future(self._closed.wait())
        upcoming: asyncio.Future[list[Event]] | None = None
        try:
            while not self._closed.is_set():
                upcoming = asyncio.ensure_future(anext(batches))
                await asyncio.wait((upcoming, closing), return_when=asyncio.FIRST_COMPLETED)
                if not upcoming.done():
                    return
                yield upcoming.result()
        finally:
            closing.cancel()
            if upcoming is not None and not upcoming.done():
                upcoming.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await upcoming
            await batches.aclose()

    async def grant_lease(self) -> int:
        return await self._lease.grant()

    async def publish(self, key: str, value: bytes) -> None:
        await self._lease.publish(key, value)

    async def withdraw(self, key: str) -> None:
        await self._lease.withdraw(key)

    async def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECS):
                await self._lease.close()
        await self._client.close()

    def status(self) -> DiscoveryStatus:
        client = self._client
        detail = f"{client.endpoint.target}: {client.fault}" if client.fault else client.endpoint.target
        return DiscoveryStatus("etcd", client.connected, time.monotonic() - client.since, detail)
