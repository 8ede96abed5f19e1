"""One worker request under way: what is known of it from its beginning to its end, whoever serves it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.router_counts import Visit
from dynamo_fe.pipeline.worker_load import Place
from dynamo_fe.pipeline.worker_stream import WorkerStream
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.routing.kv.placement import Placement

_CANNOT_CONNECT: Final = "transport.cannot_connect"


@dataclass(slots=True)
class Job:
    """One worker request under way.

    `tried` are the instances that failed it, `silent` those of them that a timer of ours gave up; `task` is a new try
    that is starting. `failed_at` is when the try before broke off, 0 while the first is under way; `ongoing` tells that
    its worker had begun to answer. `dp_rank` is the
    rank that KV routing has chosen, or that the request names, `explanation` why, where `explain` asks for it;
    `only_named` tells that its client wants to know no more than that rank. `placing_secs` is what its choices
    took, `received_at` when its client's request came (`time.perf_counter`), `sent_at` when the first worker was sent
    it, without that time, and `asked_at` when the present one was chosen. `on_first_token` is told of the first token
    of the answer.
    """

    request_id: str
    model: str
    prepared: Prepared
    delivery: WorkerStream
    metadata: Mapping[str, str] | None
    instance_id: int = 0
    place: Place | None = None
    visit: Visit | None = None
    placement: Placement | None = None
    explain: bool = False
    only_named: bool = False
    dp_rank: int | None = None
    explanation: dict[str, Any] | None = None
    tries: int = 0
    moves: int = 0
    used_up: bool = False
    ongoing: bool = False
    failed_at: float = 0.0
    placing_secs: float = 0.0
    received_at: float = 0.0
    asked_at: float = 0.0
    sent_at: float = 0.0
    tried: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    on_first_token: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Ends the request wherever it is."""
        if self.task is not None:
            self.task.cancel()
        self.delivery.cancel()

    def began(self) -> None:
        """The first items of the present worker have come."""
        if self.place is not None:
            self.place.began(time.monotonic())
        if self.placement is not None:
            self.placement.began()

    def first_token(self) -> None:
        """The first token of the answer has come."""
        if self.visit is not None:
            self.visit.first_token(self.delivery.first_token_at)
        if self.on_first_token is not None:
            on_first_token, self.on_first_token = self.on_first_token, None
            on_first_token()

    def leave(self) -> None:
        """The present worker has nothing more to do with it."""
        visit, self.visit = self.visit, None
        if visit is not None:
            visit.over(self.delivery)
        place, self.place = self.place, None
        if place is not None:
            place.over()
        placement, self.placement = self.placement, None
        if placement is not None:
            placement.over()

    def note_failure(self, error: RequestError) -> None:
        """The present worker failed it. One that could not be reached, at the first attempt and at once, costs no try:
        nothing was sent, and a lost node may leave more such workers behind than there are tries.
        """
        unreached = error.reason == _CANNOT_CONNECT and error.deadline_stage is None
        if unreached and self.instance_id not in self.tried:
            self.tries -= 1
        self.tried.add(self.instance_id)
        if error.deadline_stage is not None:
            self.silent.add(self.instance_id)
        self.failed_at = time.monotonic()
