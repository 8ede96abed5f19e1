"""HTTP/2 with prior knowledge on the port of HTTP/1.1: answers, streams side by side, cancellation, limits."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.stores import FileStore

PATIENCE_SECS = 20.0


class Client:
    """One connection; `bodies`, `statuses`, `ended` and `reset` by stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.statuses: dict[int, int] = {}
        self.bodies: dict[int, bytes] = defaultdict(bytes)
        self.ended: set[int] = set()
        self.closed = False
        self._state.initiate_connection()
        self._flush()

    def ask(self, method: str, path: str, body: bytes = b"", *headers: tuple[str, str]) -> int:
        stream = self._state.get_next_available_stream_id()
        fields = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "a"), *headers]
        if body:
            fields.append(("content-type", "application/json"))
        self._state.send_headers(stream, fields, end_stream=not body)
        if body:
            self._state.send_data(stream, body, end_stream=True)
        self._flush()
        return stream

    def chat(self, **fields: object) -> int:
        request = {"model": "mock", "messages": [{"role": "user", "content": "hi"}], "ignore_eos": True, **fields}
        return self.ask("POST", "/v1/chat/completions", json.dumps(request).encode())

    def reset(self, stream: int) -> None:
        self._state.reset_stream(stream)
        self._flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while not condition() and not self.closed:
                data = await self._reader.read(65536)
                self.closed = not data
                for event in self._state.receive_data(data):
                    self._take(event)
                self._flush()

    def _take(self, event: object) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.statuses[event.stream_id] = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.closed = True

    def _flush(self) -> None:
        self._writer.write(self._state.data_to_send())


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    home = tmp_path_factory.mktemp("http2")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mock_worker()
        yield cluster.frontend("mock", environment={"DYN_FE_HEAD_IDLE_TIMEOUT_SECS": "1"})


@asynccontextmanager
async def connected(frontend: Frontend) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def active(frontend: Frontend, client: Client) -> int:
    asked = client.ask("GET", "/metrics")
    await client.until(lambda: asked in client.ended)
    for line in client.bodies[asked].decode().splitlines():
        if line.startswith('dynamo_frontend_active_requests{model="mock"}'):
            return int(line.split()[-1])
    return 0


async def test_answers_and_errors(frontend: Frontend) -> None:
    async with connected(frontend) as client:
        live, lost = client.ask("GET", "/live"), client.ask("GET", "/nope")
        chat, bad = client.chat(max_tokens=3), client.chat(max_tokens=0)
        head = client.ask("HEAD", "/live")
        await client.until(lambda: client.ended >= {live, lost, chat, bad, head})
        assert [client.statuses[stream] for stream in (live, lost, chat, bad, head)] == [200, 404, 200, 400, 200]
        assert json.loads(client.bodies[chat])["usage"]["completion_tokens"] == 3
        assert client.bodies[head] == b""


async def test_streams_side_by_side_are_whole(frontend: Frontend) -> None:
    async with connected(frontend) as client:
        streams = {client.chat(max_tokens=30, stream=True) for _ in range(20)}
        await client.until(lambda: client.ended >= streams)
        for stream in streams:
            text = client.bodies[stream].decode()
            assert client.statuses[stream] == 200 and text.endswith("data: [DONE]\n\n")
            assert text.count('"content"') == 30


async def test_a_reset_stream_ends_its_request_and_no_other(frontend: Frontend) -> None:
    async with connected(frontend) as client, connected(frontend) as watcher:
        left, stays = client.chat(max_tokens=6000, stream=True), client.chat(max_tokens=90, stream=True)
        await client.until(lambda: bool(client.bodies[left]) and bool(client.bodies[stays]))
        assert await active(frontend, watcher) == 2
        client.reset(left)
        async with asyncio.timeout(1):
            while await active(frontend, watcher) == 2:
                await asyncio.sleep(0.02)
        await client.until(lambda: stays in client.ended)
        assert client.bodies[stays].endswith(b"data: [DONE]\n\n")


async def test_a_closed_connection_ends_its_requests(frontend: Frontend) -> None:
    async with connected(frontend) as watcher:
        async with connected(frontend) as client:
            streams = [client.chat(max_tokens=6000, stream=True) for _ in range(5)]
            await client.until(lambda: all(client.bodies[stream] for stream in streams))
            assert await active(frontend, watcher) == 5
        async with asyncio.timeout(2):
            while await active(frontend, watcher):
                await asyncio.sleep(0.02)


async def test_headers_beyond_the_limit_are_refused(frontend: Frontend) -> None:
    async with connected(frontend) as client:
        stream = client.ask("GET", "/live", b"", *[(f"x-{number}", "a" * 8000) for number in range(50)])
        await client.until(lambda: stream in client.ended)
        assert client.closed or client.statuses[stream] == 431


async def test_a_quiet_connection_with_a_preface_is_let_be_while_it_streams(frontend: Frontend) -> None:
    """The client sends nothing for two seconds, twice the limit of a head."""
    async with connected(frontend) as client:
        stream = client.chat(max_tokens=120, stream=True)
        await client.until(lambda: stream in client.ended)
        assert client.bodies[stream].endswith(b"data: [DONE]\n\n")
