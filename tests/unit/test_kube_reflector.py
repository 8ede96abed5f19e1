"""One list and its watch over a server that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from dynamo_fe.discovery.backoff import Backoff
from dynamo_fe.discovery.kube_paths import slices
from dynamo_fe.discovery.kube_reflector import Reflector
from dynamo_fe.discovery.kube_resume import Resume

GOOD = {"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "a"}}]}


class Server:
    """Answers lists in turn, the last one for ever; watches are open and silent after their lines."""

    def __init__(self, *pages: Any, lines: Sequence[Any] = ()) -> None:
        self._pages = list(pages)
        self._lines = list(lines)
        self.queries: list[dict[str, str]] = []

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        self.queries.append(dict(query))
        page = self._pages.pop(0) if len(self._pages) > 1 else self._pages[0]
        return page if isinstance(page, bytes) else json.dumps(page).encode()

    @contextlib.asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Server]:
        self.queries.append(dict(query))
        yield self

    async def piece(self) -> bytes:
        if self._lines:
            return json.dumps(self._lines.pop(0)).encode() + b"\n"
        await asyncio.Event().wait()
        raise AssertionError


class Kept:
    """A sink that keeps names; `trouble` is raised by the next put."""

    def __init__(self) -> None:
        self.listed = False
        self.names: set[str] = set()
        self.trouble: Exception | None = None

    async def replace(self, items: Sequence[msgspec.Raw]) -> None:
        self.listed = True
        self.names = {json.loads(bytes(raw))["metadata"]["name"] for raw in items}

    def put(self, raw: msgspec.Raw) -> None:
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        self.names.add(json.loads(bytes(raw))["metadata"]["name"])

    def remove(self, name: str) -> None:
        self.names.discard(name)


@contextlib.asynccontextmanager
async def following(server: Server, sink: Kept) -> AsyncIterator[Reflector]:
    client: Any = server
    reflector = Reflector(client, slices("ns"), sink, 10.0, Resume(Backoff(0.001, 0.002)))
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "page",
    [
        b"<html>",
        [],
        {"metadata": {"resourceVersion": "5"}},
        {"metadata": {}, "items": []},
        {"metadata": {"resourceVersion": "5"}, "items": {}},
    ],
    ids=repr,
)
async def test_what_is_no_list_changes_nothing(page: Any) -> None:
    sink = Kept()
    async with following(Server(page, GOOD), sink) as reflector:
        await until(lambda: sink.listed)
        assert sink.names == {"a"}
        assert reflector.list_errors == {"unreadable": 1}


async def test_pages_are_put_together_and_the_watch_begins_with_the_first_ones_version() -> None:
    first = {"metadata": {"resourceVersion": "5", "continue": "more"}, "items": [{"metadata": {"name": "a"}}]}
    second = {"metadata": {"resourceVersion": "9"}, "items": None}
    server, sink = Server(first, second), Kept()
    async with following(server, sink):
        await until(lambda: len(server.queries) == 3)
    assert sink.names == {"a"}
    assert [query.get("continue") for query in server.queries] == [None, "more", None]
    assert server.queries[2]["resourceVersion"] == "5"


async def test_an_event_of_an_unknown_type_or_without_a_name_is_garbage() -> None:
    lines = [{"type": "MOVED", "object": {"metadata": {"name": "b"}}}, {"type": "ADDED", "object": {"metadata": {}}}]
    server, sink = Server(GOOD, lines=lines), Kept()
    async with following(server, sink) as reflector:
        await until(lambda: reflector.restarts["unreadable"] == 2 and not reflector.fault)
    assert sink.names == {"a"}


async def test_trouble_of_our_own_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    added = {"type": "ADDED", "object": {"metadata": {"name": "b", "resourceVersion": "6"}}}
    server, sink = Server(GOOD, lines=[added, added]), Kept()
    sink.trouble = RuntimeError("not foreseen")
    async with following(server, sink):
        await until(lambda: sink.names == {"a", "b"})
    assert "not foreseen" in caplog.text
