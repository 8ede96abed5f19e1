"""Models being loaded, loaded, and failed: each once, however many workers publish its card."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from dynamo_fe.models.errors import CardError
from dynamo_fe.models.served import ServedModel
from dynamo_fe.protocol.card import ModelCard

log = logging.getLogger("dynamo_fe.models")

FIRST_RETRY_SECS = 5.0
LONGEST_RETRY_SECS = 300.0

Load = Callable[[ModelCard], Awaitable[ServedModel]]


@dataclass(slots=True)
class _Failure:
    reason: str
    wait_secs: float
    timer: asyncio.TimerHandle | None

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class ModelLoads:
    """Keeps loaded what is wanted. `on_change` is called with the load key of each model that got ready or failed.

    A failure may be of the moment (a file server that is away), so it is tried again, ever more seldom.
    """

    def __init__(self, load: Load, on_change: Callable[[str], None]) -> None:
        self._load = load
        self._on_change = on_change
        self._wanted: dict[str, ModelCard] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, _Failure] = {}
        self.loaded: dict[str, ServedModel] = {}

    @property
    def running(self) -> bool:
        """Whether any model is being loaded now."""
        return bool(self._running)

    def is_first_try(self, load_key: str) -> bool:
        """Whether it is being loaded and has not failed before."""
        return load_key in self._running and load_key not in self._failures

    def want(self, cards: Mapping[str, ModelCard]) -> None:
        """Exactly these, by load key: starts what is missing, lets go of what is not wanted any more."""
        self._wanted = dict(cards)
        for load_key in self._failures.keys() - cards.keys():
            self._forget_failure(load_key)
        for load_key in self._running.keys() - cards.keys():
            self._running.pop(load_key).cancel()
        for load_key in self.loaded.keys() - cards.keys():
            served = self.loaded.pop(load_key)
            log.info("model %s is let go", served.name)
            served.close()
        for load_key in cards.keys() - self.loaded.keys() - self._running.keys() - self._failures.keys():
            self._start(load_key)

    def retry(self, load_key: str) -> None:
        """Tries a failed model again now: a new record of it came. No effect on any other."""
        failure = self._failures.get(load_key)
        if failure is not None and load_key in self._wanted and load_key not in self._running:
            failure.cancel()
            failure.wait_secs = FIRST_RETRY_SECS / 2
            self._start(load_key)

    def reason(self, load_key: str) -> str | None:
        """Why a wanted model is not loaded; None when it is."""
        if load_key in self.loaded:
            return None
        failure = self._failures.get(load_key)
        return failure.reason if failure is not None else "loading"

    async def close(self) -> None:
        """Ends loading and lets everything go."""
        running = list(self._running.values())
        self.want({})
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _start(self, load_key: str) -> None:
        task = asyncio.create_task(self._run(load_key, self._wanted[load_key]), name="load-model")
        self._running[load_key] = task

    async def _run(self, load_key: str, card: ModelCard) -> None:
        try:
            served = await self._load(card)
        except Exception as error:
            if self._is_current(load_key):
                del self._running[load_key]
                self._fail(load_key, card, error)
        else:
            if not self._is_current(load_key):
                served.close()
                return
            del self._running[load_key]
            self._forget_failure(load_key)
            self.loaded[load_key] = served
            log.info("model %s is loaded", served.name)
            self._on_change(load_key)

    def _is_current(self, load_key: str) -> bool:
        return self._running.get(load_key) is asyncio.current_task()

    def _fail(self, load_key: str, card: ModelCard, error: Exception) -> None:
        before = self._failures.get(load_key)
        reason = str(error) or type(error).__name__
        if before is None or before.reason != reason:
            # A refusal is an everyday matter and explains itself; anything else wants its traceback.
            trace = None if isinstance(error, (CardError, OSError)) else error
            log.warning("model %s cannot be served: %s", card.display_name, reason, exc_info=trace)
        wait_secs = FIRST_RETRY_SECS if before is None else min(before.wait_secs * 2, LONGEST_RETRY_SECS)
        timer = asyncio.get_running_loop().call_later(wait_secs, self._retry_later, load_key)
        self._failures[load_key] = _Failure(reason, wait_secs, timer)
        self._on_change(load_key)

    def _retry_later(self, load_key: str) -> None:
        # The failure stays on record until the new try has ended: it holds the last reason and the waiting time.
        if load_key in self._failures and load_key not in self._running:
            self._start(load_key)

    def _forget_failure(self, load_key: str) -> None:
        failure = self._failures.pop(load_key, None)
        if failure is not None:
            failure.cancel()
