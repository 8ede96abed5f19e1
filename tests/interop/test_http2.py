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

PATIENCE_SECS = 60.0
LIMITS = {
    "DYN_FE_HEAD_IDLE_TIMEOUT_SECS": "1",
    "DYN_FE_BODY_IDLE_TIMEOUT_SECS": "1",
    "DYN_FE_STALLED_READER_TIMEOUT_SECS": "5",
}


class Client:
    """One connection; `bodies`, `statuses`, `ended` and `reset` by stream. Streams in `unread` get no more room."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.unread: set[int] = set()
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

    def begin(self, path: str, body: bytes) -> int:
        """A request whose body is not at its end yet."""
        stream = self._state.get_next_available_stream_id()
        fields = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "a")]
        self._state.send_headers(stream, [*fields, ("content-type", "application/json")])
        self.add(stream, body)
        return stream

    def add(self, stream: int, body: bytes) -> None:
        self._state.send_data(stream, body)
        self._flush()

    async def dribble(self, stream: int) -> None:
        """Frames with nothing in them, until cancelled."""
        while True:
            self.add(stream, b"")
            await asyncio.sleep(0.1)

    def give_room(self, stream: int, size_bytes: int) -> None:
        """As if so much of what came had been taken."""
        self._state.increment_flow_control_window(size_bytes, stream)
        self._flush()

    def send_raw(self, frame: bytes) -> None:
        self._writer.write(frame)

    def reset(self, stream: int) -> None:
        self._state.reset_stream(stream)
        self._flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while not condition() and not self.closed:
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    data = b""  # closed while we were sending
                self.closed = not data
                for event in self._state.receive_data(data):
                    self._take(event)
                self._flush()

    def _take(self, event: object) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.statuses[event.stream_id] = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            if event.stream_id not in self.unread:
                self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                self._state.increment_flow_control_window(event.flow_controlled_length)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.closed = True

    def _flush(self) -> None:
        # a transport whose peer has reset it is closed before the reader tells
        if not self._writer.transport.is_closing():
            self._writer.write(self._state.data_to_send())


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    home = tmp_path_factory.mktemp("http2")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mock_worker()
        cluster.mock_worker("--model-name", "fast", "--speedup-ratio", "0", "--context-length", "1000000")
        yield cluster.frontend("mock", "fast", environment=LIMITS)


@asynccontextmanager
async def connected(frontend: Frontend) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def metric(client: Client, name: str) -> int:
    asked = client.ask("GET", "/metrics")
    await client.until(lambda: asked in client.ended)
    for line in client.bodies[asked].decode().splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[-1])
    return 0


async def active(frontend: Frontend, model: str = "mock") -> int:
    """By a connection of its own: one that waits for its first request may be closed for that."""
    async with connected(frontend) as watcher:
        return await metric(watcher, f'dynamo_frontend_active_requests{{model="{model}"}}')


async def until_active(frontend: Frontend, most: int, model: str = "mock") -> None:
    """Waits until there are no more than so many."""
    async with asyncio.timeout(PATIENCE_SECS):
        while await active(frontend, model) > most:
            await asyncio.sleep(0.02)


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
    async with connected(frontend) as client:
        left, stays = client.chat(max_tokens=6000, stream=True), client.chat(max_tokens=240, stream=True)
        await client.until(lambda: bool(client.bodies[left]) and bool(client.bodies[stays]))
        assert await active(frontend) == 2
        client.reset(left)
        await until_active(frontend, 1)
        await client.until(lambda: stays in client.ended)
        assert client.bodies[stays].endswith(b"data: [DONE]\n\n")


async def test_a_closed_connection_ends_its_requests(frontend: Frontend) -> None:
    async with connected(frontend) as client:
        streams = [client.chat(max_tokens=6000, stream=True) for _ in range(5)]
        await client.until(lambda: all(client.bodies[stream] for stream in streams))
        assert await active(frontend) == 5
    await until_active(frontend, 0)


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


async def test_a_stream_that_is_not_read_ends_and_no_other(frontend: Frontend) -> None:
    cut = 'dynamo_fe_client_connections_closed_total{reason="stalled_stream"}'
    async with connected(frontend) as client:
        stalled = client.chat(model="fast", max_tokens=100_000, stream=True)
        client.unread.add(stalled)
        # for six seconds, longer than a client may take nothing
        healthy = client.chat(max_tokens=360, stream=True)
        await client.until(lambda: healthy in client.ended)
        assert client.bodies[healthy].endswith(b"data: [DONE]\n\n")
        await until_active(frontend, 0, "fast")
        async with connected(frontend) as watcher:
            assert await metric(watcher, cut) == 1
        live = client.ask("GET", "/live")
        await client.until(lambda: live in client.ended)
        assert client.statuses[live] == 200 and not client.closed


async def test_a_stream_that_is_read_slowly_is_let_be(frontend: Frontend) -> None:
    async with connected(frontend) as client:
        slow = client.chat(model="fast", max_tokens=3000, stream=True)
        client.unread.add(slow)

        def received(size_bytes: int) -> Callable[[], bool]:
            return lambda: len(client.bodies[slow]) >= size_bytes

        for number in range(1, 9):
            # the first room is that of every stream
            await client.until(received(45_535 + 20_000 * number))
            await asyncio.sleep(0.5)
            client.give_room(slow, 20_000)
        client.unread.clear()
        client.give_room(slow, 1 << 20)
        await client.until(lambda: slow in client.ended)
        assert client.bodies[slow].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("dribble", [False, True], ids=["silent", "empty frames"])
async def test_a_body_that_stays_out_is_answered_with_408_and_no_other(frontend: Frontend, dribble: bool) -> None:
    async with connected(frontend) as client:
        healthy = client.chat(max_tokens=180, stream=True)
        stalled = client.begin("/v1/chat/completions", b'{"model"')
        dribbling = asyncio.create_task(client.dribble(stalled)) if dribble else None
        await client.until(lambda: stalled in client.statuses)
        if dribbling is not None:
            dribbling.cancel()
        assert client.statuses[stalled] == 408
        await client.until(lambda: healthy in client.ended)
        assert client.bodies[healthy].endswith(b"data: [DONE]\n\n")


async def test_headers_without_an_end_are_closed_for_silence(frontend: Frontend) -> None:
    async with connected(frontend) as client:
        # HEADERS of stream 1 with END_STREAM and without END_HEADERS, of 4 octets
        client.send_raw(b"\0\0\4\1\1\0\0\0\1\x82\x84\x86\x41")
        await client.until(lambda: False)
        assert client.closed


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


# GET / of no authority, whole
GET = b"\x82\x84\x86"
BROKEN = {
    "data of no stream": frame(0, 0, 0, b"x"),
    "data of an idle stream": frame(0, 0, 1, b"x"),
    "headers of no stream": frame(1, 5, 0, GET),
    "headers of an even stream": frame(1, 5, 2, GET),
    "headers that are not compressed": frame(1, 5, 1, b"\xff" * 9),
    "a frame over the limit": frame(0, 0, 1, bytes(1 << 17)),
    "settings of the wrong size": frame(4, 0, 0, b"12345"),
    "a window of nothing": frame(8, 0, 0, bytes(4)),
    "a window beyond all": frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "a continuation of nothing": frame(9, 4, 1, GET),
    "something between headers and their end": frame(1, 1, 1, GET) + frame(6, 0, 0, bytes(8)),
    "a promise": frame(5, 4, 1, b"\0\0\0\2" + GET),
    "streams that are reset at once": b"".join(
        frame(1, 5, stream, GET) + frame(3, 0, stream, b"\0\0\0\x08") for stream in range(1, 20_001, 2)
    ),
    "an endless head": frame(1, 1, 1, GET) + frame(9, 0, 1, b"\x00\x03x-a\x7f\x81\x3e" + b"a" * 8_000) * 60,
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_connection_that_breaks_the_rules_is_closed_and_no_other(frontend: Frontend, name: str) -> None:
    async with connected(frontend) as healthy, connected(frontend) as broken:
        stream = healthy.chat(max_tokens=60, stream=True)
        broken.send_raw(BROKEN[name])
        await broken.until(lambda: False)
        assert broken.closed
        await healthy.until(lambda: stream in healthy.ended)
        assert healthy.bodies[stream].endswith(b"data: [DONE]\n\n")
