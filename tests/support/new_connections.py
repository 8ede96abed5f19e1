"""A steady load of new connections: each brings one small request; whatever is not answered with 200 is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Final

_REQUEST: Final = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
_PATIENCE_SECS: Final = 30.0


class NewConnections:
    """While entered, `lanes` of them at any time. `answered` counts the good ones, `refused` the others by kind."""

    def __init__(self, port: int, lanes: int = 4) -> None:
        self._port = port
        self._lanes = lanes
        self.answered = 0
        self.refused: Counter[str] = Counter()

    async def __aenter__(self) -> NewConnections:
        self._running = True
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Waits until so many more were answered."""
        target = self.answered + count
        while self.answered < target:
            await asyncio.sleep(0.02)

    async def _lane(self) -> None:
        while self._running:
            try:
                async with asyncio.timeout(_PATIENCE_SECS):
                    status = await self._one()
            except (OSError, TimeoutError, ValueError) as error:
                self.refused[type(error).__name__] += 1
            else:
                if status == 200:
                    self.answered += 1
                else:
                    self.refused[str(status)] += 1
            await asyncio.sleep(0.005)

    async def _one(self) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(_REQUEST)
            answer = await reader.read()
        finally:
            writer.close()
        if not answer:
            raise ConnectionResetError
        return int(answer.split(b" ", 2)[1])
