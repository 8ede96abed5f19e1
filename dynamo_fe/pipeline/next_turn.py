"""`nvext.agent_hints.speculative_prefill`: once an answer has gone out a worker reads the conversation with it, so that
the next turn finds it in the cache.

Source: Dynamo 1.6.1, what its workers get: a request for one token, of which nobody hears.
"""

from __future__ import annotations

import asyncio
from typing import Final

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.models.served import ServedModel
from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.parsers.events import Content
from dynamo_fe.pipeline.delta import Delta, Piece, Usage
from dynamo_fe.pipeline.dispatch import Dispatcher
from dynamo_fe.pipeline.job import Job
from dynamo_fe.pipeline.prepare import Preparer
from dynamo_fe.pipeline.whole_items import WholeItems
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.openai import ChatRequest

# beyond these the next turns are as they would be without the hint
_MOST_AT_ONCE: Final = 64


def is_wanted(request: ChatRequest) -> bool:
    """Whether the request asks for it."""
    hints = request.nvext.agent_hints if request.nvext is not None else None
    return hints is not None and hints.speculative_prefill is True


def text_of(pieces: list[Piece]) -> str:
    """What the user sees of them."""
    return "".join(map(_text, pieces))


def _text(piece: Piece) -> str:
    if isinstance(piece, str):
        return piece
    if isinstance(piece, Content):
        return piece.text
    if isinstance(piece, Delta):
        return piece.text if piece.events is None else text_of([*piece.events])
    return ""


class _Unheard(WholeItems):
    """The stream of such a request: nothing of it is read."""

    __slots__ = ()

    @property
    def answered(self) -> bool:
        return False

    def usage(self) -> Usage:
        return Usage(0, 0, False, None)

    def _read(self, item: OutputItem, first: bool) -> Piece | None:
        return None


class _End:
    """The sink of that stream: `came` is done with its end."""

    def __init__(self) -> None:
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_deltas(self, pieces: list[Piece]) -> None:
        """There are none."""

    def on_finish(self, usage: Usage, error: RequestError | None) -> None:
        """The end, whatever it was."""
        if not self.came.done():
            self.came.set_result(None)


class NextTurns:
    """The requests of a process that make next turns ready."""

    def __init__(self, preparer: Preparer, dispatcher: Dispatcher, ids: RandomIds) -> None:
        self._preparer = preparer
        self._dispatcher = dispatcher
        self._ids = ids
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def expect(self, request: ChatRequest, model: ServedModel, answer: str) -> None:
        """The conversation of `request` may go on after `answer`."""
        if len(self._running) < _MOST_AT_ONCE:
            task = asyncio.create_task(self._read_ahead(request, model, answer))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def close(self) -> None:
        """Ends what runs."""
        for task in self._running:
            task.cancel()

    async def _read_ahead(self, request: ChatRequest, model: ServedModel, answer: str) -> None:
        end = _End()
        stream = _Unheard(end)
        try:
            prepared = await self._preparer.next_turn(request, model, answer)
            await self._dispatcher.start(Job(self._ids.uuid4(), request.model, prepared, stream, None))
            await end.came
        except RequestError:
            # a hint that cannot be followed is no failure of anybody
            return
        finally:
            stream.cancel()
