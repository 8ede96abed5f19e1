"""A worker that speaks raw bytes on real sockets as told, and a sink that writes down what a stream brings."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from dynamo_fe._cext.stream_codec import OutputItem, RequestDecoder
from dynamo_fe.planes.request import worker_side
from dynamo_fe.planes.request.base import ResponseHandle
from dynamo_fe.planes.request.options import TcpPlaneOptions
from dynamo_fe.planes.request.tcp import TcpRequestPlane
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance

PATIENCE_SECS = 30.0


class Sink:
    """`ended` is done with the error, or None after a final marker; `ends` counts."""

    def __init__(self) -> None:
        self.items: list[OutputItem] = []
        self.batches: list[int] = []
        self.ends = 0
        self.after_items: Callable[[], None] | None = None
        self.ended: asyncio.Future[RequestError | None] = asyncio.get_running_loop().create_future()
        self._grown = asyncio.Event()

    def on_items(self, items: list[OutputItem]) -> None:
        self.items += items
        self.batches.append(len(items))
        self._grown.set()
        if self.after_items is not None:
            self.after_items()

    def on_end(self, error: RequestError | None) -> None:
        self.ends += 1
        if not self.ended.done():
            self.ended.set_result(error)

    @property
    def tokens(self) -> list[int]:
        return [token for item in self.items for token in item.token_ids]

    async def end(self) -> RequestError | None:
        async with asyncio.timeout(PATIENCE_SECS):
            return await asyncio.shield(self.ended)

    async def failure(self) -> RequestError:
        error = await self.end()
        assert error is not None
        return error

    async def wait_items(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while len(self.items) < count:
                self._grown.clear()
                await self._grown.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that tells nobody when it happens."""
    async with asyncio.timeout(PATIENCE_SECS):
        while not condition():
            await asyncio.sleep(0.002)


class CallBack:
    """A response connection, seen from the worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def write(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def answer(self, *token_ids: int) -> None:
        """Prologue, one item a token, final marker, sentinel."""
        frames = [worker_side.item({"token_ids": [token]}, "msgpack") for token in token_ids]
        self.write(worker_side.PROLOGUE_OK, *frames, worker_side.final("msgpack"), worker_side.SENTINEL)

    async def read_to_end(self) -> bytes:
        """What the frontend still says. Raises ConnectionResetError if it resets."""
        async with asyncio.timeout(PATIENCE_SECS):
            return await self._reader.read()

    async def is_reset(self) -> bool:
        try:
            await self.read_to_end()
        except ConnectionResetError:
            return True
        return False

    def close(self) -> None:
        self.writer.close()


class Request:
    """A request as it came, with the connection on which to acknowledge it."""

    def __init__(self, parts: tuple[bytes, bytes, bytes, bytes], writer: asyncio.StreamWriter) -> None:
        self.path = parts[0].decode()
        self.headers: dict[str, str] = json.loads(parts[1])
        self.control: dict[str, Any] = json.loads(parts[2])
        self.body = parts[3]
        self.info: dict[str, str] = json.loads(self.control["connection_info"]["info"])
        self.writer = writer

    def ack(self, text: str = "") -> None:
        self.writer.write(worker_side.acknowledgement(text))

    async def call_back(self, *, handshake: bool = True, tls: ssl.SSLContext | None = None) -> CallBack:
        host, _, port = self.info["address"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
        call_back = CallBack(reader, writer)
        if handshake:
            call_back.write(worker_side.handshake(self.info["subject"]))
        return call_back


class FakeWorker:
    """A request port, with `tls` a secured one. `connections` counts those that were opened."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.connections = 0
        self.open_connections: set[asyncio.StreamWriter] = set()
        self.reads = True
        self.port = 0
        self._arrived: asyncio.Queue[Request] = asyncio.Queue()
        self._closed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self.open_connections):
            writer.close()

    def instance(self, instance_id: int = 1, codec: Any = "msgpack") -> Instance:
        return Instance(
            key=f"v1/instances/ns/backend/generate/{instance_id:x}",
            namespace="ns",
            component="backend",
            endpoint="generate",
            instance_id=instance_id,
            host="127.0.0.1",
            port=self.port,
            path=f"{instance_id:x}/ns/backend/generate",
            codec=codec,
            transport="tcp",
            nats_subject="",
        )

    async def next_request(self) -> Request:
        """However long it takes."""
        return await self._arrived.get()

    async def request(self) -> Request:
        async with asyncio.timeout(PATIENCE_SECS):
            return await self._arrived.get()

    async def wait_all_closed(self) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while self.open_connections:
                self._closed.clear()
                await self._closed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections.add(writer)
        decoder = RequestDecoder(1 << 30)
        try:
            while self.reads and (data := await reader.read(65536)):
                for parts in decoder.feed(data):
                    self._arrived.put_nowait(Request(parts, writer))
            if not self.reads:
                await self._closed.wait()
        except ConnectionError:
            pass
        finally:
            self.open_connections.discard(writer)
            self._closed.set()
            writer.close()


@asynccontextmanager
async def fake_worker(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeWorker]:
    worker = FakeWorker(tls)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


@asynccontextmanager
async def running_plane(**options: Any) -> AsyncIterator[TcpRequestPlane]:
    """A plane on loopback; every timer is long unless an option shortens it."""
    plane = TcpRequestPlane(TcpPlaneOptions(**{"listen_host": "127.0.0.1", **options}))
    await plane.start()
    try:
        yield plane
    finally:
        await plane.close()


class Exchange:
    """One request of a plane to a worker: what was dispatched, and both ends of what came of it."""

    def __init__(self, sink: Sink, handle: ResponseHandle, request: Request) -> None:
        self.sink = sink
        self.handle = handle
        self.request = request


async def exchange(plane: TcpRequestPlane, worker: FakeWorker, **instance: Any) -> Exchange:
    """Dispatches a request and takes it at the worker, which has not acknowledged it yet."""
    sink = Sink()
    handle = await plane.dispatch(worker.instance(**instance), "request-1", b"body", None, sink)
    return Exchange(sink, handle, await worker.request())
