"""Calls to etcd over grpc.aio: one channel at a time, the next endpoint when it fails, a token when users are on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import grpc
import grpc.aio

from dynamo_fe.discovery import etcd_messages as messages
from dynamo_fe.discovery.etcd_options import Endpoint, EtcdOptions

log = logging.getLogger("dynamo_fe.discovery")

AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"
DELETE_RANGE = "/etcdserverpb.KV/DeleteRange"
RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
LEASE_GRANT = "/etcdserverpb.Lease/LeaseGrant"
LEASE_KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
LEASE_REVOKE = "/etcdserverpb.Lease/LeaseRevoke"
WATCH = "/etcdserverpb.Watch/Watch"

# Keys of one range answer: bounds a message to some MB, whatever the number of workers.
PAGE_KEYS = 500
# Different faults logged in one outage.
MAX_SAID = 8

# The endpoint is at fault: the next one may do better.
_ENDPOINT_FAULTS = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
# We are at fault: a wrong password, no role for the prefix.
_REFUSALS = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
)
_USERS_OFF = "authentication is not enabled"
# What etcd says of a token that has run out, or that is older than the last change of users and roles.
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "auth token is expired")


class EtcdError(Exception):
    """A call that failed. `code` is a `grpc.StatusCode`."""

    def __init__(self, code: Any, text: str) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text


class Listing:
    """What lay under a prefix at one revision."""

    def __init__(self, header: Any, entries: list[Any]) -> None:
        self.cluster_id: int = header.cluster_id
        self.raft_term: int = header.raft_term
        self.revision: int = header.revision
        self.entries = entries


class EtcdClient:
    """Belongs to one event loop. Every failure comes out as `EtcdError`; nothing is retried here except a call whose
    token had run out."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._index = 0
        self._channel: Any = None
        self._token = ""
        self._token_lock = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._said: set[str] = set()
        self.connected = False
        self.since = time.monotonic()
        self.fault = "not connected yet"

    @property
    def endpoint(self) -> Endpoint:
        """The one in use."""
        return self._options.endpoints[self._index]

    async def call(self, method: str, request: Any) -> Any:
        """One request, one answer, within the call timeout."""
        token = await self._ensure_token()
        try:
            return await self._unary(method, request, token)
        except EtcdError as error:
            if not self.token_is_stale(error.text):
                raise
            self.drop_token(token)
        return await self._unary(method, request, await self._ensure_token())

    async def open(self, method: str, timeout_secs: float | None = None) -> EtcdStream:
        """A stream in both directions."""
        token = await self._ensure_token()
        channel = self._current_channel()
        stub = channel.stream_stream(
            method,
            request_serializer=_serialize,
            response_deserializer=messages.ANSWERS[method].FromString,
        )
        return EtcdStream(self, channel, stub(timeout=timeout_secs, metadata=_metadata(token)), token)

    async def list_prefix(self, prefix: str, keys_only: bool = False) -> Listing:
        """Everything under the prefix, at one revision, page by page."""
        start, end = prefix.encode(), messages.prefix_end(prefix.encode())
        header: Any = None
        entries: list[Any] = []
        while True:
            request = messages.RangeRequest(
                key=start,
                range_end=end,
                limit=PAGE_KEYS,
                revision=0 if header is None else header.revision,
                keys_only=keys_only,
            )
            answer = await self.call(RANGE, request)
            header = answer.header if header is None else header
            entries.extend(answer.kvs)
            if not answer.more or not answer.kvs:
                return Listing(header, entries)
            start = answer.kvs[-1].key + b"\0"

    def note_success(self) -> None:
        """The store answers."""
        if not self.connected:
            log.info("etcd at %s answers", self.endpoint.target)
            self._said.clear()
            self.connected, self.since, self.fault = True, time.monotonic(), ""

    def note_failure(self, channel: Any, error: EtcdError) -> None:
        """The store does not answer on that channel: the next endpoint's turn. Each fault is said once per outage."""
        if channel is not None and channel is not self._channel:
            return
        if error.text not in self._said and len(self._said) < MAX_SAID:
            self._said.add(error.text)
            log.warning("etcd at %s: %s", self.endpoint.target, error)
        if self.connected:
            self.connected, self.since = False, time.monotonic()
        self.fault = error.text
        if channel is not None and len(self._options.endpoints) > 1:
            self._index = (self._index + 1) % len(self._options.endpoints)
            self._retire_channel()

    def token_is_stale(self, text: str) -> bool:
        """Whether an error text means that a new token would help."""
        return bool(self._options.username) and any(words in text for words in _STALE_TOKEN)

    def drop_token(self, token: str) -> None:
        """That token is no good any more."""
        if self._token == token:
            self._token = ""

    async def close(self) -> None:
        """Ends all calls."""
        self._retire_channel()
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _unary(self, method: str, request: Any, token: str) -> Any:
        channel = self._current_channel()
        stub = channel.unary_unary(
            method,
            request_serializer=_serialize,
            response_deserializer=messages.ANSWERS[method].FromString,
        )
        try:
            answer = await stub(request, timeout=self._options.call_timeout_secs, metadata=_metadata(token))
        except grpc.aio.AioRpcError as raw:
            raise self.failed(channel, raw.code(), raw.details() or "") from None
        except asyncio.CancelledError:
            # A channel closed by another call's failure cancels ours from inside.
            if channel is self._channel or _being_cancelled():
                raise
            raise EtcdError(grpc.StatusCode.CANCELLED, "the connection was given up") from None
        self.note_success()
        return answer

    def failed(self, channel: Any, code: Any, text: str) -> EtcdError:
        """Notes a failed call and returns it as the exception to raise."""
        error = EtcdError(code, text)
        if code in _ENDPOINT_FAULTS:
            self.note_failure(channel, error)
        elif code in _REFUSALS and not self.token_is_stale(text):
            self.note_failure(None, error)
        return error

    def refused(self, text: str) -> EtcdError:
        """Notes a refusal that came inside a stream and returns it as the exception to raise."""
        error = EtcdError(grpc.StatusCode.PERMISSION_DENIED, text)
        self.note_failure(None, error)
        return error

    async def _ensure_token(self) -> str:
        if not self._options.username:
            return ""
        async with self._token_lock:
            if not self._token:
                request = messages.AuthenticateRequest(name=self._options.username, password=self._options.password)
                try:
                    self._token = (await self._unary(AUTHENTICATE, request, "")).token
                except EtcdError as error:
                    if _USERS_OFF not in error.text:
                        raise
            return self._token

    def _current_channel(self) -> Any:
        if self._channel is None:
            self._channel = self._make_channel()
        return self._channel

    def _make_channel(self) -> Any:
        options = [
            ("grpc.keepalive_time_ms", int(self._options.ping_interval_secs * 1000)),
            ("grpc.keepalive_timeout_ms", int(self._options.ping_timeout_secs * 1000)),
            # The one that counts since gRPC 1.59: without it a ping may go unanswered for a minute.
            ("grpc.http2.ping_timeout_ms", int(self._options.ping_timeout_secs * 1000)),
            # etcd answers pings without a call in progress with "too many pings" and hangs up.
            ("grpc.keepalive_permit_without_calls", 0),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 5000),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if not self.endpoint.tls:
            return grpc.aio.insecure_channel(self.endpoint.target, options)
        credentials = grpc.ssl_channel_credentials(
            self._options.ca_pem.encode() or None,
            self._options.client_key_pem.encode() or None,
            self._options.client_cert_pem.encode() or None,
        )
        return grpc.aio.secure_channel(self.endpoint.target, credentials, options)

    def _retire_channel(self) -> None:
        if self._channel is None:
            return
        task = asyncio.ensure_future(self._channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._channel = None


class EtcdStream:
    """One open call in both directions. Failures come out as `EtcdError`, also the end of the stream."""

    def __init__(self, client: EtcdClient, channel: Any, call: Any, token: str) -> None:
        self._client = client
        self._channel = channel
        self._call = call
        self.token = token

    async def write(self, request: Any) -> None:
        """Sends one message."""
        try:
            await self._call.write(request)
        except asyncio.InvalidStateError:
            raise await self._ended() from None
        except grpc.aio.AioRpcError as raw:
            raise self._client.failed(self._channel, raw.code(), raw.details() or "") from None
        except asyncio.CancelledError:
            raise await self._cancelled() from None

    async def read(self) -> Any:
        """The next message."""
        try:
            answer = await self._call.read()
        except grpc.aio.AioRpcError as raw:
            raise self._client.failed(self._channel, raw.code(), raw.details() or "") from None
        except asyncio.CancelledError:
            raise await self._cancelled() from None
        if answer is grpc.aio.EOF:
            raise await self._ended()
        self._client.note_success()
        return answer

    def cancel(self) -> None:
        """Ends the call."""
        with contextlib.suppress(Exception):
            self._call.cancel()

    async def _ended(self) -> EtcdError:
        code = await self._call.code()
        text = await self._call.details() or "the stream ended"
        if code is grpc.StatusCode.OK:
            code = grpc.StatusCode.UNAVAILABLE
        return self._client.failed(self._channel, code, text)

    async def _cancelled(self) -> BaseException:
        if _being_cancelled():
            return asyncio.CancelledError()
        return self._client.failed(self._channel, grpc.StatusCode.CANCELLED, "the connection was given up")


def _being_cancelled() -> bool:
    """Whether the running task itself was asked to stop, as opposed to a call that was cancelled under it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    # hasleader: a member that is cut off from its cluster refuses, where it would otherwise keep a silent watch.
    return (("hasleader", "true"), ("token", token)) if token else (("hasleader", "true"),)
