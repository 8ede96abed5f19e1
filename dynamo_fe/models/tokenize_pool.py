"""The threads that encode long texts, shared by all models of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dynamo_fe.protocol.errors import RequestError


class TokenizePool:
    """A bounded number of threads with a bounded queue in front.

    An encoder that keeps a large cache in every thread (fastokens: 37 MB) always gets the same one.
    """

    def __init__(self, threads: int, inline_bytes: int, queue_limit: int) -> None:
        """`inline_bytes`: texts up to this length are encoded on the event loop; `queue_limit`: texts in hand."""
        self.inline_bytes = inline_bytes
        self._queue_limit = queue_limit
        self._in_hand = 0
        self.refused_total = 0
        self._executor = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="tokenize")
        self._single = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenize-one")

    @property
    def in_hand(self) -> int:
        """Texts waiting or being encoded."""
        return self._in_hand

    async def run(self, encode: Callable[[], list[int]], one_thread: bool) -> list[int]:
        """Encode in a thread, always the same one if `one_thread`. What `encode` raises is raised here.

        Raises:
            RequestError: CapacityExhausted, too many texts are in hand.
        """
        if self._in_hand >= self._queue_limit:
            self.refused_total += 1
            message = f"{self._in_hand} prompts are waiting to be tokenized"
            raise RequestError("CapacityExhausted", "capacity.pool_exhausted", message, error_type="ResourceExhausted")
        loop = asyncio.get_running_loop()
        executor = self._single if one_thread else self._executor
        work = executor.submit(encode)
        self._in_hand += 1
        work.add_done_callback(lambda done: self._tell(loop))
        try:
            return await asyncio.wrap_future(work)
        finally:
            # What it raises knows this frame. If the frame knew its future, the two would keep the text as a cycle.
            del work

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        # from the thread, when the text is really done: a caller that gave up does not make room by that
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._in_hand -= 1

    def close(self) -> None:
        """Drop what waits; what runs comes to its end."""
        for executor in (self._executor, self._single):
            executor.shutdown(wait=False, cancel_futures=True)
