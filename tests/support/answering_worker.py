"""A registered worker in the test's own process that answers every request alike, over connections that may be bad."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from dynamo_fe.discovery.file import FileDiscovery
from dynamo_fe.planes.request import worker_side
from dynamo_fe.workers import registration
from dynamo_fe.workers.options import parse_options
from tests.support.fake_worker import FakeWorker, Request
from tests.support.fault_proxy import WHOLE, Fault, FaultProxy
from tests.support.stores import FileStore

_OPTIONS = parse_options(["--discovery-backend", "file"], {})
# ordinary words of the mock worker's model
ANSWER = list(range(300, 304))


class AnsweringWorker:
    """Answers with `ANSWER`, from where the request's own tokens break off. `instances` registrations lead to it.

    `fault_of` gives the fault of the answer's connection by request id and number of the try (from 0); `ack_of` the
    bytes that acknowledge it.
    """

    def __init__(self) -> None:
        self.fault_of: Callable[[str, int], Fault] = lambda _, __: WHOLE
        self.ack_of: Callable[[str, int], bytes] = lambda _, __: worker_side.ACCEPTED
        self.tries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.worker = FakeWorker()
        self._proxy: FaultProxy | None = None
        self._registered: list[tuple[FileDiscovery, registration.Record]] = []
        self._opening = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self._answers: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        while True:
            request = await self.worker.next_request()
            task = asyncio.create_task(self._answer(request))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def register(self, store: FileStore) -> None:
        """One more instance of the model `mock`."""
        lease = FileDiscovery(str(store.directory))
        self._stack.push_async_callback(lease.close)
        await lease.start()
        number = await lease.grant_lease()
        card = registration.model_record(_OPTIONS, number)
        await lease.publish(card.key, card.value)
        await self._announce(lease, number, self.worker.port)

    async def move_to(self, port: int) -> None:
        """Has requests sent to another port from now on."""
        for lease, instance in list(self._registered):
            await lease.withdraw(instance.key)
            self._registered.remove((lease, instance))
            await self._announce(lease, int(instance.key.rpartition("/")[2], 16), port)

    async def _announce(self, lease: FileDiscovery, number: int, port: int) -> None:
        instance = registration.instance_record(_OPTIONS, number, f"127.0.0.1:{port}")
        await lease.publish(instance.key, instance.value)
        self._registered.append((lease, instance))

    async def _answer(self, request: Request) -> None:
        name = request.control["id"]
        body = msgspec.msgpack.decode(request.body)
        number = len(self.tries[name])
        self.tries[name].append(body)
        ack = self.ack_of(name, number)
        request.writer.write(ack)
        if ack != worker_side.ACCEPTED:
            return
        said = len(body["token_ids"]) - len(self.tries[name][0]["token_ids"])
        frames = [worker_side.handshake(request.info["subject"]), worker_side.PROLOGUE_OK]
        frames += [worker_side.item({"token_ids": [token]}, "msgpack") for token in ANSWER[said:]]
        frames.append(worker_side.item({"token_ids": [], "finish_reason": "length"}, "msgpack"))
        frames += [worker_side.final("msgpack"), worker_side.SENTINEL]
        proxy = await self._proxy_to(request.info["address"])
        with contextlib.suppress(OSError):
            reader, writer = await proxy.connect(self.fault_of(name, number))
            writer.write(b"".join(frames))
            await reader.read()
            writer.close()

    async def _proxy_to(self, address: str) -> FaultProxy:
        async with self._opening:
            if self._proxy is None:
                host, _, port = address.rpartition(":")
                self._proxy = await self._stack.enter_async_context(FaultProxy((host, int(port))))
            return self._proxy

    async def close(self) -> None:
        for task in list(self._answers):
            task.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        await self._stack.aclose()
        await self.worker.stop()
        await self.worker.wait_all_closed()


def answer_bytes(subject_bytes: int = 36) -> int:
    """The length of a whole answer on the wire, up to and with the sentinel."""
    frames = [worker_side.handshake("x" * subject_bytes), worker_side.PROLOGUE_OK]
    frames += [worker_side.item({"token_ids": [token]}, "msgpack") for token in ANSWER]
    frames.append(worker_side.item({"token_ids": [], "finish_reason": "length"}, "msgpack"))
    return sum(map(len, [*frames, worker_side.final("msgpack"), worker_side.SENTINEL]))


@asynccontextmanager
async def answering_worker(store: FileStore, instances: int = 1) -> AsyncIterator[AnsweringWorker]:
    """Runs one, registered as so many instances of the model `mock`."""
    answering = AnsweringWorker()
    await answering.worker.start()
    serving = asyncio.create_task(answering.serve())
    try:
        for _ in range(instances):
            await answering.register(store)
        yield answering
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await answering.close()
