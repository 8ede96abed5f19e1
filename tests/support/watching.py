"""A watch under test: collects what it tells, and waits for what is expected of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from dynamo_fe.discovery.base import Delete, Discovery, Event, Put, Snapshot

PATIENCE_SECS = 30.0


class Watching:
    """Follows one prefix while the `async with` lasts. `state` is what a reader would believe now."""

    def __init__(self, discovery: Discovery, prefix: str) -> None:
        self._discovery = discovery
        self._prefix = prefix
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self.events: list[Event] = []
        self.state: dict[str, bytes] = {}

    @property
    def snapshots(self) -> list[Snapshot]:
        return [event for event in self.events if isinstance(event, Snapshot)]

    @property
    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    async def until(self, holds: Callable[[], bool], timeout_secs: float = PATIENCE_SECS) -> None:
        """Waits until `holds()`; looks again after each batch."""
        async with asyncio.timeout(timeout_secs), self._news:
            await self._news.wait_for(holds)

    async def until_state(self, expected: dict[str, bytes], timeout_secs: float = PATIENCE_SECS) -> None:
        try:
            await self.until(lambda: self.state == expected and bool(self.events), timeout_secs)
        except TimeoutError:
            raise AssertionError(f"state is {self.state}, not {expected}; events: {self.events}") from None

    async def _follow(self) -> None:
        async for batch in self._discovery.watch(self._prefix):
            async with self._news:
                for event in batch:
                    self._take(event)
                self._news.notify_all()

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Put):
            self.state[event.key] = event.value
        elif isinstance(event, Delete):
            self.state.pop(event.key, None)
        else:
            self.state = dict(event.entries)

    async def join(self) -> None:
        """Waits for the watch to end by itself."""
        assert self._task is not None
        async with asyncio.timeout(PATIENCE_SECS):
            await self._task

    async def __aenter__(self) -> Watching:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
