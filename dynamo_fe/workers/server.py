"""The mock worker's sockets and clock around its engine."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from typing import Any, cast

from dynamo_fe._cext.stream_codec import BadFrame, RequestDecoder
from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.base import EventPlane
from dynamo_fe.planes.event.factory import make_event_plane
from dynamo_fe.planes.event.options import NatsEventOptions, ZmqEventOptions
from dynamo_fe.planes.host import resolve_host
from dynamo_fe.planes.request import worker_side
from dynamo_fe.protocol.events import MalformedEvent
from dynamo_fe.protocol.kv_recovery import answer_value, decode_query
from dynamo_fe.workers import registration
from dynamo_fe.workers.engine import Engine, Job, Overloaded
from dynamo_fe.workers.faults import FaultKind, FaultPlan, unclassified_error
from dynamo_fe.workers.jobs import JobMaker, RefusedRequest
from dynamo_fe.workers.kv_blocks import KvBlocks
from dynamo_fe.workers.kv_journal import KvJournal
from dynamo_fe.workers.kv_publishing import KvPublishing
from dynamo_fe.workers.options import MockOptions
from dynamo_fe.workers.pacing import StepClock
from dynamo_fe.workers.passages import Passages
from dynamo_fe.workers.request import TokenRequest, UnreadableRequest, read_call_back, read_request
from dynamo_fe.workers.response import AnswerStream

_log = logging.getLogger("dynamo_fe.workers")

ACCEPTED = ""
OVERLOADED = "Server overloaded: worker at capacity"
LISTEN_BACKLOG = 1024


class MockWorker:
    """One worker instance: `start`, then `drain`, then `close`."""

    def __init__(self, options: MockOptions, discovery: Discovery, passages: Passages) -> None:
        self._options = options
        self._discovery = discovery
        self._ranks = [
            KvBlocks(options.total_kv_blocks, options.kv_block_size) for _ in range(options.data_parallel_size)
        ]
        decode_rate = options.decode_tokens_per_sec * options.speedup_ratio
        self._engine = Engine(
            self._ranks,
            StepClock(1.0 / decode_rate if decode_rate else 0.0),
            prefill_tokens_per_sec=options.prefill_tokens_per_sec * options.speedup_ratio,
            max_running=options.max_concurrency,
            max_waiting=options.queue_limit,
            on_prefilled=self._prefilled,
        )
        self._kv: KvPublishing | None = None
        self._jobs = JobMaker(options, passages, self._ranks[0], registration.context_length(options))
        self._faults = FaultPlan(options.fail_every, options.fail_kind)
        self._job_of: dict[AnswerStream, Job | None] = {}
        self._connections: set[_RequestConnection] = set()
        self._path = ""
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._instance_key = ""

    @property
    def running(self) -> int:
        """Requests that have a place in the engine."""
        return self._engine.running

    @property
    def waiting(self) -> int:
        """Requests that were acknowledged and have no place yet."""
        return self._engine.waiting

    async def start(self) -> None:
        """Listens, then registers: the card first, then the instance. Waits for the store as long as it takes.

        Raises `OSError` or `ValueError` if it cannot listen, `KeyTaken` if somebody else holds its keys.
        """
        loop = asyncio.get_running_loop()
        bound, advertised = _addresses(self._options.rpc_host)
        self._server = await loop.create_server(
            lambda: _RequestConnection(self, self._options.max_request_bytes),
            bound,
            self._options.rpc_port,
            backlog=LISTEN_BACKLOG,
        )
        port = self._server.sockets[0].getsockname()[1]
        address = f"[{advertised}]:{port}" if ":" in advertised else f"{advertised}:{port}"
        await self._discovery.start()
        instance_id = await self._discovery.grant_lease()
        self._path = registration.endpoint_path(self._options, instance_id)
        if self._options.kv_events:
            records = Records(self._discovery)
            self._kv = KvPublishing(self._options, self._event_plane(advertised, records), records, self._ranks)
            await self._kv.start(instance_id, address)
        card = registration.model_record(self._options, instance_id)
        instance = registration.instance_record(self._options, instance_id, address)
        await self._discovery.publish(card.key, card.value)
        await self._discovery.publish(instance.key, instance.value)
        self._instance_key = instance.key
        _log.info("serving %s at %s as %s", self._options.model_name, address, self._path)

    async def drain(self, limit_secs: float) -> None:
        """No new requests from here on; running ones may take `limit_secs` to finish and are then cancelled."""
        self._draining = True
        await self._discovery.withdraw(self._instance_key)
        try:
            async with asyncio.timeout(limit_secs):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%d requests did not finish in %g s and are cancelled", len(self._job_of), limit_secs)
            self._engine.cancel_all()
            await self._idle.wait()

    async def close(self) -> None:
        """Takes everything back, at once."""
        if self._timer is not None:
            self._timer.cancel()
        await self._discovery.close()
        if self._kv is not None:
            await self._kv.close()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        for stream in list(self._job_of):
            stream.abort()

    def connected(self, connection: _RequestConnection) -> None:
        """A request connection is open."""
        self._connections.add(connection)

    def disconnected(self, connection: _RequestConnection) -> None:
        """It is closed; requests that came over it go on."""
        self._connections.discard(connection)

    def accept(self, raw_path: bytes, control: bytes, body: bytes) -> str:
        """Takes one request and returns the text of its acknowledgement."""
        try:
            path = raw_path.decode()
        except UnicodeDecodeError:
            return "Invalid endpoint path"
        journal = self._kv.journals.get(path) if self._kv is not None else None
        if journal is not None:
            return self._answer_query(journal, control, body)
        if self._draining or path != self._path:
            return f"Server unavailable: unknown endpoint {path}"
        fault = self._faults.next()
        if fault is not None:
            _log.info("fault on purpose: %s", fault.value)
        if fault is FaultKind.REFUSE:
            return OVERLOADED
        if fault is FaultKind.NO_CALLBACK:
            return ACCEPTED
        try:
            call_back, request = read_request(control, body)
        except UnreadableRequest as error:
            _log.warning("unreadable request: %s", error)
            if error.call_back is not None:
                self._refuse(AnswerStream(error.call_back, self._closed), str(error))
            return ACCEPTED
        return self._submit(AnswerStream(call_back, self._closed), request, fault)

    def _submit(self, stream: AnswerStream, request: TokenRequest, fault: FaultKind | None) -> str:
        try:
            job = self._jobs.make(request, stream, fault)
        except RefusedRequest as error:
            self._refuse(stream, f"Generate Error: {error}")
            return ACCEPTED
        self._opened(stream, job)
        try:
            self._engine.submit(job, time.monotonic())
        except Overloaded:
            self._forget(stream)
            return OVERLOADED
        self._turn()
        return ACCEPTED

    def _answer_query(self, journal: KvJournal, control: bytes, body: bytes) -> str:
        """One item, at once; a query that cannot be read is answered by a refusal."""
        try:
            call_back = read_call_back(control)
        except UnreadableRequest as error:
            _log.warning("unreadable recovery query: %s", error)
            return ACCEPTED
        stream = AnswerStream(call_back, self._closed)
        try:
            query = decode_query(body, call_back.codec)
        except MalformedEvent as error:
            self._refuse(stream, str(error))
            return ACCEPTED
        self._opened(stream, None)
        stream.begin()
        stream.send_bare_value(answer_value(journal.answer(query)))
        stream.finish()
        return ACCEPTED

    def _prefilled(self, job: Job) -> None:
        stream = job.sink
        if self._kv is not None and job.rank is not None and isinstance(stream, AnswerStream):
            self._kv.prefilled(stream.call_back.request_id, job.rank)

    def _event_plane(self, host: str, records: Records) -> EventPlane:
        if self._options.event_plane == "nats":
            servers = tuple(server.strip() for server in self._options.nats_server.split(",") if server.strip())
            return make_event_plane(NatsEventOptions(servers=servers), records)
        return make_event_plane(ZmqEventOptions(listen_host=host), records)

    def _refuse(self, stream: AnswerStream, reason: str) -> None:
        self._opened(stream, None)
        stream.refuse(reason, unclassified_error(reason.removeprefix("Generate Error: ")))

    def _opened(self, stream: AnswerStream, job: Job | None) -> None:
        self._job_of[stream] = job
        self._idle.clear()

    def _closed(self, stream: AnswerStream) -> None:
        job = self._forget(stream)
        if job is not None and not job.ended:
            self._engine.cancel(job, time.monotonic())
            self._turn()

    def _forget(self, stream: AnswerStream) -> Job | None:
        job = self._job_of.pop(stream, None)
        if not self._job_of:
            self._idle.set()
        return job

    def _turn(self) -> None:
        """Lets the engine do what is due and sets the timer for what comes next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        wake_at = self._engine.advance(now)
        if self._kv is not None:
            self._kv.flush()
        if wake_at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(wake_at - now, 0.0), self._turn)


class _RequestConnection(asyncio.Protocol):
    """A frontend's request connection: frames in, acknowledgements out, in the same order."""

    def __init__(self, worker: MockWorker, max_bytes: int) -> None:
        self._worker = worker
        self._decoder = RequestDecoder(max_bytes)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the verbs of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        self._worker.connected(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._worker.disconnected(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        requests: list[Any]
        refusal = None
        try:
            requests = self._decoder.feed(data)
        except BadFrame as error:
            requests, refusal = cast(list[Any], error.items), f"Read error: {error}"
        acks = [self._worker.accept(path, control, body) for path, _, control, body in requests]
        if refusal is not None:
            acks.append(refusal)
        self._transport.write(b"".join(worker_side.acknowledgement(text) for text in acks))
        if refusal is not None:
            self._transport.close()

    def close(self) -> None:
        """Closes after what is written has gone out."""
        if self._transport is not None:
            self._transport.close()


def _addresses(wanted: str) -> tuple[str, str]:
    """(to bind, to advertise): an unspecified address binds all and advertises a local one. Raises `ValueError`."""
    try:
        unspecified = ipaddress.ip_address(wanted).is_unspecified
    except ValueError:
        unspecified = False
    try:
        host = resolve_host("" if unspecified else wanted)
    except ValueError:
        raise ValueError(f"DYN_TCP_RPC_HOST: {wanted!r} is neither an IP address nor an interface with one") from None
    return (wanted if unspecified else host), host
