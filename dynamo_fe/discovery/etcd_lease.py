"""A lease in etcd with keys on it: kept alive, and set up again when the store lost it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from dynamo_fe.discovery import etcd_messages as messages
from dynamo_fe.discovery.backoff import Backoff
from dynamo_fe.discovery.base import KeyTaken
from dynamo_fe.discovery.etcd_client import (
    DELETE_RANGE,
    LEASE_GRANT,
    LEASE_KEEP_ALIVE,
    LEASE_REVOKE,
    TXN,
    EtcdClient,
    EtcdError,
)

log = logging.getLogger("dynamo_fe.discovery")

T = TypeVar("T")


class EtcdLease:
    """The lease of one process. Calls wait for the store as long as it takes."""

    def __init__(self, client: EtcdClient, ttl_secs: int) -> None:
        self._client = client
        self._ttl_secs = ttl_secs
        self._published: dict[str, bytes] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._instance_id = 0
        self._lease = 0

    async def grant(self) -> int:
        """The lease's id when it was first granted; it stays the instance id. Granted once."""
        if not self._instance_id:
            self._lease = await _until_done(lambda: self._grant(0))
            self._instance_id = self._lease
            self._keeper = asyncio.create_task(self._keep_alive(), name="etcd-lease")
        return self._instance_id

    async def publish(self, key: str, value: bytes) -> None:
        """Creates the key on the lease. Raises `KeyTaken`."""
        if not self._lease:
            raise RuntimeError("publish() before grant_lease()")
        await _until_done(lambda: self._create(key, value))
        self._published[key] = value

    async def withdraw(self, key: str) -> None:
        """Deletes a key published here."""
        if self._published.pop(key, None) is not None:
            await _until_done(lambda: self._client.call(DELETE_RANGE, messages.DeleteRangeRequest(key=key.encode())))

    async def close(self) -> None:
        """Gives the lease back, and with it every key. One try: without it the TTL does the same."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        if self._lease:
            lease, self._lease = self._lease, 0
            self._published.clear()
            try:
                await self._client.call(LEASE_REVOKE, messages.LeaseRevokeRequest(ID=lease))
            except EtcdError as error:
                log.warning("lease %x not given back (%s): it runs out in %d s", lease, error, self._ttl_secs)

    async def _grant(self, wanted: int) -> int:
        """Grants a lease, under the id `wanted` if that is not 0."""
        try:
            answer = await self._client.call(
                LEASE_GRANT, messages.LeaseGrantRequest(TTL=self._ttl_secs, ID=_signed(wanted))
            )
        except EtcdError as error:
            if wanted and "lease already exists" in error.text:
                return wanted
            raise
        return _unsigned(answer.ID)

    async def _create(self, key: str, value: bytes) -> None:
        """Creates the key if it is absent. It may be there from a try whose answer got lost: then it is ours."""
        name = key.encode()
        request = messages.TxnRequest(
            compare=[messages.Compare(target="CREATE", result="EQUAL", key=name, create_revision=0)],
            success=[
                messages.RequestOp(request_put=messages.PutRequest(key=name, value=value, lease=_signed(self._lease)))
            ],
            failure=[messages.RequestOp(request_range=messages.RangeRequest(key=name))],
        )
        answer = await self._client.call(TXN, request)
        if answer.succeeded:
            return
        found = list(answer.responses[0].response_range.kvs)
        if not (found and _unsigned(found[0].lease) == self._lease and found[0].value == value):
            raise KeyTaken(key)

    async def _keep_alive(self) -> None:
        """Every half of the TTL; after a failure sooner."""
        backoff = Backoff(0.2, max(self._ttl_secs / 4, 0.5))
        wait_secs = self._ttl_secs / 2
        while True:
            await asyncio.sleep(wait_secs)
            try:
                if not await self._refresh():
                    await self._restore()
            except EtcdError as error:
                wait_secs = backoff.next_secs()
                log.debug("lease %x: %s; again in %.1f s", self._lease, error, wait_secs)
            else:
                backoff.reset()
                wait_secs = self._ttl_secs / 2

    async def _refresh(self) -> bool:
        """False: the store knows no such lease."""
        stream = await self._client.open(LEASE_KEEP_ALIVE, timeout_secs=max(self._ttl_secs / 4, 1.0))
        try:
            await stream.write(messages.LeaseKeepAliveRequest(ID=_signed(self._lease)))
            answer = await stream.read()
        finally:
            stream.cancel()
        return bool(answer.TTL > 0)

    async def _restore(self) -> None:
        """The lease ran out, or the store lost it: the same id again where it is to be had, and the keys on it."""
        log.warning("lease %x is lost: registering again", self._lease)
        try:
            self._lease = await self._grant(self._instance_id)
        except EtcdError as error:
            if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            self._lease = await self._grant(0)
            log.warning("lease %x is not to be had again (%s): using %x", self._instance_id, error, self._lease)
        for key, value in list(self._published.items()):
            try:
                await self._create(key, value)
            except KeyTaken:
                log.error("cannot publish %s again: it belongs to somebody else now", key)
            else:
                log.info("%s is published again", key)


async def _until_done(attempt: Callable[[], Awaitable[T]]) -> T:
    backoff = Backoff()
    while True:
        try:
            return await attempt()
        except EtcdError as error:
            wait_secs = backoff.next_secs()
            log.debug("%s; again in %.1f s", error, wait_secs)
        await asyncio.sleep(wait_secs)


def _signed(lease: int) -> Any:
    return lease - (1 << 64) if lease >> 63 else lease


def _unsigned(lease: int) -> int:
    return lease & ((1 << 64) - 1)
