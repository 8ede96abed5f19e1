"""The mock worker on real sockets of this machine: acknowledgements, streams, cancelling, faults, the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamo_fe._cext.block_hash import local_hashes
from dynamo_fe._cext.stream_codec import AckDecoder, request_frame
from dynamo_fe.discovery.mem import MemDiscovery, MemStore
from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.factory import make_event_plane
from dynamo_fe.planes.event.options import ZmqEventOptions
from dynamo_fe.planes.request.tcp import TcpRequestPlane
from dynamo_fe.protocol.event_records import SOURCES_PREFIX, endpoint_scope, parse_source, recovery_instance
from dynamo_fe.protocol.events import (
    ACTIVE_SEQUENCES,
    KV_EVENTS,
    KV_METRICS,
    decode_kv_metrics,
    decode_sequences,
    read_blocks,
)
from dynamo_fe.protocol.instance import Instance, parse_instance
from dynamo_fe.protocol.kv_recovery import RecoveryQuery, TreeDump, decode_answer
from dynamo_fe.protocol.worker import decode_usage
from dynamo_fe.routing.kv_events.recovery import recover
from dynamo_fe.workers.options import parse_options
from dynamo_fe.workers.passages import MODEL_DIR, Passages, load_passages
from dynamo_fe.workers.server import MockWorker
from tests.support.fake_worker import PATIENCE_SECS, Sink, running_plane
from tests.support.hearing import Hearing

WIRE = Path(__file__).parent.parent / "fixtures" / "wire"
QUICK = ["--speedup-ratio", "0"]
EOS = 3074


@pytest.fixture(scope="module")
def passages() -> Passages:
    return load_passages(MODEL_DIR / "tokenizer.json")


class Bench:
    """A worker, its store, and a plane to ask it through."""

    def __init__(self, worker: MockWorker, store: MemStore, plane: TcpRequestPlane) -> None:
        self.worker = worker
        self.store = store
        self.plane = plane
        self._asked = 0

    def keys(self) -> list[str]:
        [snapshot] = self.store.subscribe("").get_nowait() or []
        return sorted(snapshot.entries)  # type: ignore[union-attr]

    def instance(self) -> Instance:
        [key] = [key for key in self.keys() if key.startswith("v1/instances/dynamo/backend/generate/")]
        value = self.store.get(key)
        assert value is not None
        return parse_instance(key, value)

    async def ask(self, instance: Instance | None = None, **body: Any) -> tuple[Sink, Any]:
        """Sends a request; `body` replaces members of a usual one."""
        self._asked += 1
        instance = instance or self.instance()
        whole = {"model": "mock", "token_ids": [1, 2, 3, 4, 5], "stop_conditions": {"max_tokens": 6}} | body
        encode = msgspec.msgpack.encode if instance.codec == "msgpack" else msgspec.json.encode
        sink = Sink()
        return sink, await self.plane.dispatch(instance, f"r{self._asked}", encode(whole), None, sink)

    async def until(self, running: int, waiting: int = 0) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while (self.worker.running, self.worker.waiting) != (running, waiting):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def bench(passages: Passages, *argv: str) -> AsyncIterator[Bench]:
    store = MemStore()
    worker = MockWorker(parse_options(argv, {"DYN_TCP_RPC_HOST": "127.0.0.1"}), MemDiscovery(store), passages)
    await worker.start()
    try:
        async with running_plane() as plane:
            yield Bench(worker, store, plane)
    finally:
        await worker.close()


async def test_registers_the_card_and_the_instance_and_takes_them_back(passages: Passages) -> None:
    async with bench(passages) as table:
        kinds = [key.split("/")[1] for key in table.keys()]
        assert kinds == ["event_channels"] * 3 + ["event_sources", "instances", "instances", "mdc"]
        store = table.store
    [snapshot] = store.subscribe("").get_nowait() or []
    assert snapshot.entries == {}  # type: ignore[union-attr]


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_answers_in_the_codec_of_the_request(passages: Passages, codec: str) -> None:
    async with bench(passages, *QUICK, "--codec", codec) as table:
        sink, _ = await table.ask()
        assert await sink.end() is None
        if codec == "msgpack":
            assert len(sink.tokens) == 6
            assert (sink.items[-1].finish_reason, sink.items[-1].token_ids) == ("length", [])
        else:
            last = json.loads(sink.items[-1].raw or b"")["data"]
            assert (last["finish_reason"], last["completion_usage"]["completion_tokens"]) == ("length", 6)


async def test_equal_prompts_get_equal_answers_and_the_second_is_cached(passages: Passages) -> None:
    async with bench(passages, *QUICK, "--kv-block-size", "4") as table:
        sinks = []
        for _ in range(2):
            sink, _ = await table.ask()
            assert await sink.end() is None
            sinks.append(sink)
        assert sinks[0].tokens == sinks[1].tokens
        usages = [decode_usage(sink.items[-1].usage or b"") for sink in sinks]
        details = [usage.prompt_tokens_details for usage in usages]
        assert [detail and detail.cached_tokens for detail in details] == [0, 4]
        assert (usages[1].prompt_tokens, usages[1].completion_tokens, usages[1].total_tokens) == (5, 6, 11)


async def test_ends_by_itself_with_the_eos_token(passages: Passages) -> None:
    async with bench(passages, *QUICK, "--answer-tokens", "20") as table:
        sink, _ = await table.ask(stop_conditions={}, eos_token_ids=[EOS])
        assert await sink.end() is None
        assert (sink.tokens[-1], sink.items[-1].finish_reason) == (EOS, "stop")
        assert 20 < len(sink.tokens) < 120


async def test_frames_have_the_shape_of_the_captured_stream(passages: Passages) -> None:
    """Sends the captured frame of the real frontend, with our path and a call-back of our own, and reads raw bytes."""
    decoded = json.loads((WIRE / "expected.json").read_text())
    theirs = decoded["worker_response_ok_msgpack.bin"]["decoded"]
    async with bench(passages, *QUICK) as table:
        ours = await raw_stream(table.instance(), decoded["probe_request_msgpack.bin"]["decoded"]["body"])
    assert [shape(frame) for frame in ours] == [shape(frame) for frame in theirs]


def shape(value: Any) -> Any:
    """Keys and kinds; numbers and texts count alike."""
    if isinstance(value, dict):
        return [(key, shape(member)) for key, member in value.items() if key != "offset"]
    return [shape(member) for member in value] if isinstance(value, list) else type(value)


async def raw_stream(instance: Instance, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The frames that come back for a body, each with its header or its data decoded."""
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def called_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        while not data.endswith(b'"sentinel"'):
            data += await reader.read(65536)
        writer.close()
        assert await reader.read() == b""
        received.set_result(data)

    server = await asyncio.start_server(called_back, "127.0.0.1", 0)
    async with server, asyncio.timeout(PATIENCE_SECS):
        port = server.sockets[0].getsockname()[1]
        info = {"address": f"127.0.0.1:{port}", "subject": "s", "context": "r", "stream_type": "response"}
        connection = {"transport": "tcp_server", "info": json.dumps(info)}
        control = {"id": "r", "payload_codec": "msgpack", "connection_info": connection}
        assert await acknowledgements(
            instance, [request_frame(instance.path.encode(), b"{}", json.dumps(control).encode(), pack(body))]
        ) == [b""]
        return list(frames(await received))


def pack(body: Any) -> bytes:
    return msgspec.msgpack.encode(body)


def frames(data: bytes) -> list[dict[str, Any]]:
    found, at = [], 0
    while at < len(data):
        header, size = (int.from_bytes(data[at + start : at + start + 8]) for start in (0, 8))
        start = at + 24
        frame = {"header": json.loads(data[start : start + header])} if header else {}
        if size:
            frame["data"] = msgspec.msgpack.decode(data[start + header : start + header + size])
        found.append(frame)
        at = start + header + size
    return found


async def acknowledgements(instance: Instance, requests: list[bytes]) -> list[bytes]:
    reader, writer = await asyncio.open_connection(instance.host, instance.port)
    writer.write(b"".join(requests))
    decoder, found = AckDecoder(1000), []
    async with asyncio.timeout(PATIENCE_SECS):
        while len(found) < len(requests):
            found += decoder.feed(await reader.read(65536))
    writer.close()
    return found


async def test_refusals_are_the_captured_ones_in_request_order(passages: Passages) -> None:
    async with bench(passages) as table:
        instance = table.instance()
        unknown = b"694da20a8f0a357f/wire/backend/nope"
        paths = [unknown, b"\xff\xfe", instance.path.encode()]
        acks = await acknowledgements(instance, [request_frame(path, b"", b"?", b"") for path in paths])
    assert acks == [
        b"Server unavailable: unknown endpoint " + unknown,
        (WIRE / "worker_ack_bad_path.bin").read_bytes()[4:],
        b"",
    ]


async def test_a_frame_over_the_limit_is_refused_and_the_connection_closes(passages: Passages) -> None:
    async with bench(passages) as table:
        instance = table.instance()
        reader, writer = await asyncio.open_connection(instance.host, instance.port)
        writer.write(b"\0\0\0\0" + (40 << 20).to_bytes(4))
        async with asyncio.timeout(PATIENCE_SECS):
            answer = await reader.read()
        writer.close()
    captured = (WIRE / "worker_ack_too_large.bin").read_bytes()
    assert answer[4:].split(b":")[:2] == captured[4:].split(b":")[:2]
    assert answer.endswith(b"(max: 33554432 bytes)")


async def test_a_body_that_is_none_gets_an_error_prologue(passages: Passages) -> None:
    async with bench(passages) as table:
        sink, _ = await table.ask(token_ids="no list")
        error = await sink.failure()
        assert (error.origin, error.error_class) == ("worker", "Internal")
        assert "token_ids" in error.message


async def test_max_tokens_0_is_refused_as_the_mocker_does(passages: Passages) -> None:
    async with bench(passages) as table:
        frames_of = await raw_stream(table.instance(), {"token_ids": [1], "stop_conditions": {"max_tokens": 0}})
    theirs = json.loads((WIRE / "expected.json").read_text())["worker_response_error_prologue.bin"]["decoded"]
    assert [frame["header"] for frame in frames_of[1:]] == [frame["header"] for frame in theirs[1:]]


async def test_a_prompt_over_the_context_is_an_error_item_that_clients_may_see(passages: Passages) -> None:
    async with bench(passages, "--context-length", "5") as table:
        sink, _ = await table.ask()
        assert await sink.end() is None
        envelope = msgspec.msgpack.decode(sink.items[0].raw or b"")
        assert envelope["error"]["class"] == "InvalidRequest"
        assert envelope["error"]["public"]["message"] == "the prompt has 5 tokens, the context 5"


async def test_choices_carry_their_index(passages: Passages) -> None:
    async with bench(passages, *QUICK) as table:
        sink, _ = await table.ask(sampling_options={"n": 2})
        assert await sink.end() is None
        by_index = {
            index: [t for item in sink.items if item.index == index for t in item.token_ids] for index in (0, 1)
        }
        assert [len(tokens) for tokens in by_index.values()] == [6, 6]
        assert by_index[0] != by_index[1]


async def test_cancelling_frees_the_place_at_once(passages: Passages) -> None:
    async with bench(passages, "--decode-tokens-per-sec", "200") as table:
        sink, handle = await table.ask(stop_conditions={"ignore_eos": True})
        await sink.wait_items(2)
        handle.cancel()
        await table.until(running=0)
        assert sink.ends == 0


async def test_over_its_capacity_it_is_overloaded(passages: Passages) -> None:
    async with bench(passages, "--max-concurrency", "1", "--queue-limit", "1") as table:
        endless = {"ignore_eos": True}
        first, handle = await table.ask(stop_conditions=endless)
        await first.wait_items(1)
        queued, _ = await table.ask()
        await table.until(running=1, waiting=1)
        refused, _ = await table.ask()
        assert (await refused.failure()).error_class == "CapacityExhausted"
        handle.cancel()
        assert await queued.end() is None


@pytest.mark.parametrize(
    ("kind", "error_class", "reason"),
    [
        ("refuse", "CapacityExhausted", "capacity.worker_overloaded"),
        ("disconnect", "Unavailable", "transport.disconnected"),
        ("garbage", "Internal", "runtime.unclassified"),
    ],
)
async def test_faults_that_break_the_stream(passages: Passages, kind: str, error_class: str, reason: str) -> None:
    async with bench(passages, *QUICK, "--fail-every", "1", "--fail-kind", kind) as table:
        sink, _ = await table.ask()
        error = await sink.failure()
        assert (error.error_class, error.reason) == (error_class, reason)
        assert len(sink.tokens) == (0 if kind == "refuse" else 3)
        await table.until(running=0)


@pytest.mark.parametrize(("kind", "tokens"), [("error-first", 0), ("error-mid", 3)])
async def test_faults_that_are_error_items(passages: Passages, kind: str, tokens: int) -> None:
    async with bench(passages, *QUICK, "--fail-every", "1", "--fail-kind", kind) as table:
        sink, _ = await table.ask()
        assert await sink.end() is None
        assert len(sink.tokens) == tokens
        assert msgspec.msgpack.decode(sink.items[-1].raw or b"")["error"]["class"] == "Internal"


async def test_only_every_nth_request_fails(passages: Passages) -> None:
    async with bench(passages, *QUICK, "--fail-every", "2", "--fail-kind", "disconnect") as table:
        ends = [await (await table.ask())[0].end() for _ in range(4)]
        assert [end is None for end in ends] == [True, False, True, False]


async def test_no_callback_is_acknowledged_and_that_is_all(passages: Passages) -> None:
    async with bench(passages, *QUICK, "--fail-every", "2", "--fail-kind", "no-callback") as table:
        await (await table.ask())[0].end()
        silent, handle = await table.ask()
        after, _ = await table.ask()
        assert await after.end() is None
        assert (silent.items, silent.ends) == ([], 0)
        handle.cancel()


async def test_a_stall_goes_on_when_its_time_is_over(passages: Passages) -> None:
    async with bench(passages, *QUICK, "--fail-every", "1", "--fail-kind", "stall", "--stall-secs", "0.05") as table:
        sink, _ = await table.ask()
        assert await sink.end() is None
        assert len(sink.tokens) == 6


async def test_a_script_is_played_for_every_request(passages: Passages, tmp_path: Path) -> None:
    script = tmp_path / "say.json"
    script.write_text(json.dumps([{"token_ids": [7]}, {"token_ids": [8], "finish_reason": "stop"}]))
    async with bench(passages, *QUICK, "--say", str(script)) as table:
        for _ in range(2):
            sink, _ = await table.ask()
            assert await sink.end() is None
            assert sink.tokens == [7, 8]


async def test_draining_refuses_new_requests_and_finishes_running_ones(passages: Passages) -> None:
    async with bench(passages, "--decode-tokens-per-sec", "200", "--no-kv-events") as table:
        instance = table.instance()
        running, _ = await table.ask(stop_conditions={"max_tokens": 40})
        await running.wait_items(1)
        draining = asyncio.create_task(table.worker.drain(PATIENCE_SECS))
        async with asyncio.timeout(PATIENCE_SECS):
            while any(key.startswith("v1/instances/") for key in table.keys()):
                await asyncio.sleep(0.001)
        refused, _ = await table.ask(instance)
        assert (await refused.failure()).message == f"Server unavailable: unknown endpoint {instance.path}"
        assert await running.end() is None
        assert len(running.tokens) == 40
        await draining
        assert [key.split("/")[1] for key in table.keys()] == ["mdc"]


async def test_what_does_not_finish_in_time_is_cancelled_with_a_reason(passages: Passages) -> None:
    async with bench(passages, "--max-concurrency", "1") as table:
        endless = {"ignore_eos": True}
        running, _ = await table.ask(stop_conditions=endless)
        await running.wait_items(1)
        queued, _ = await table.ask(stop_conditions=endless)
        await table.until(running=1, waiting=1)
        await table.worker.drain(0.01)
        for sink in (running, queued):
            assert await sink.end() is None
            assert msgspec.msgpack.decode(sink.items[-1].raw or b"")["error"]["class"] == "Cancelled"


async def test_200_streams_at_once(passages: Passages) -> None:
    async with bench(passages, "--speedup-ratio", "20") as table:
        asked = [await table.ask(token_ids=[n], stop_conditions={"max_tokens": 20}) for n in range(200)]
        assert [await sink.end() for sink, _ in asked] == [None] * 200
        assert {len(sink.tokens) for sink, _ in asked} == {20}


async def test_says_nothing_of_its_cache_when_told_not_to(passages: Passages) -> None:
    async with bench(passages, "--no-kv-events") as table:
        assert [key.split("/")[1] for key in table.keys()] == ["instances", "mdc"]


async def test_each_rank_has_its_cache_and_answers_for_it(passages: Passages) -> None:
    """What each rank publishes, and what it answers to a query, is what requests to it have brought."""
    async with bench(passages, *QUICK, "--data-parallel-size", "2", "--kv-block-size", "4") as table:
        discovery = MemDiscovery(table.store)
        records = Records(discovery)
        plane = make_event_plane(ZmqEventOptions(listen_host="127.0.0.1"), records)
        await plane.start()
        scope = endpoint_scope("dynamo", "backend", "generate")
        events, loads, sequences = Hearing(), Hearing(), Hearing()
        plane.subscribe(scope, KV_EVENTS, events)
        plane.subscribe(scope, KV_METRICS, loads)
        plane.subscribe(scope, ACTIVE_SEQUENCES, sequences)
        await events.until(lambda: len(events.joined) == 2)
        await loads.until(lambda: len(loads.joined) == 1)
        await sequences.until(lambda: len(sequences.joined) == 1)
        sources = [
            parse_source(key, table.store.get(key) or b"") for key in table.keys() if key.startswith(SOURCES_PREFIX)
        ]
        ranks = {source.publisher_id: source.metadata.worker.dp_rank for source in sources}
        assert sorted(ranks.values()) == [0, 1]
        asked = 0
        while len({publisher for publisher, _ in events.payloads}) < 2 or not sequences.payloads:
            # A connection that stands does not mean that its subscription has arrived.
            for rank in (0, 1):
                asked += 1
                tokens = list(range(asked * 100, asked * 100 + 9))
                limits = {"max_tokens": 3}
                sink, _ = await table.ask(token_ids=tokens, routing={"dp_rank": rank}, stop_conditions=limits)
                await sink.end()
        worker_id = table.instance().instance_id
        for source in sources:
            rank = ranks[source.publisher_id]
            value = await recover(table.plane, recovery_instance(source), RecoveryQuery(worker_id, rank, None))
            dump, unreadable = decode_answer(value)
            assert isinstance(dump, TreeDump) and unreadable == 0
            held = {block.tokens_hash for event in dump.events for block in read_blocks(event.event.data.stored)}
            wanted = [
                local_hashes(list(range(at * 100, at * 100 + 9)), 4)
                for at in range(1, asked + 1)
                if (at - 1) % 2 == rank
            ]
            assert held == {block for prompt in wanted for block in prompt}
            assert {event.event.dp_rank for event in dump.events} == {rank}
        done = [event for _, payload in sequences.payloads for event in decode_sequences(payload, "zmq")]
        assert {(event.data, event.router_id) for event in done} == {("MarkPrefillCompleted", worker_id)}
        assert {event.request_id for event in done} <= {f"r{at}" for at in range(1, asked + 1)}
        assert all(decode_kv_metrics(payload).worker_id == worker_id for _, payload in loads.payloads)
        await plane.close()
