"""Requests that wait for a rank with room: order, classes and limits. Sans I/O: the caller brings the time.

Source of the rules: Dynamo 1.6.1. Between classes deficit round robin: a visit adds the class's quantum, a request
costs its uncached prompt tokens.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from dynamo_fe.routing.kv.line_board import LineBoard, ShownLine
from dynamo_fe.routing.kv.rules import PolicyClass

T = TypeVar("T")

_NOBODY: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Urgency:
    """What a request says about its place in the line."""

    strict_priority: int = 0
    priority_jump: float = 0.0

    @property
    def jump_secs(self) -> float:
        """How much earlier it counts as having come."""
        return max(self.priority_jump, 0.0)


@dataclass(slots=True, eq=False)
class Waiting(Generic[T]):
    """One waiting request. `payload` is the caller's; token counts as they were when it came in."""

    payload: T
    policy: PolicyClass
    urgency: Urgency
    isl_tokens: int
    cached_tokens: int
    since: float
    gone: bool = False

    @property
    def uncached_tokens(self) -> int:
        """What nobody has of its prompt, at least 1."""
        return max(1, self.isl_tokens - self.cached_tokens)


class QueueFull(Exception):
    """A limit of the class is reached; the text is the original's."""

    def __init__(self, policy: PolicyClass, limit: str, current: int, most: int) -> None:
        text = f'router policy class "{policy.name}" queue {limit} limit reached (current={current}, limit={most})'
        super().__init__(text)
        self.policy = policy
        self.limit = limit
        self.current = current
        self.most = most


class _Line(Generic[T]):
    """The waiting of one class, in order. `shown` is where other processes read of them."""

    def __init__(self, policy: PolicyClass, shown: ShownLine | None) -> None:
        self.policy = policy
        self.shown = shown
        self.deficit = 0
        self.requests = self.isl_tokens = self.cached_tokens = 0
        self._heap: list[tuple[int, float, int, Waiting[T]]] = []

    def push(self, order: tuple[int, float, int], entry: Waiting[T]) -> None:
        heapq.heappush(self._heap, (*order, entry))
        self._count(entry, 1)

    def first(self) -> Waiting[T] | None:
        while self._heap and self._heap[0][3].gone:
            heapq.heappop(self._heap)
        return self._heap[0][3] if self._heap else None

    def pop(self) -> None:
        entry = heapq.heappop(self._heap)[3]
        entry.gone = True
        self._count(entry, -1)

    def drop(self, entry: Waiting[T]) -> None:
        entry.gone = True
        self._count(entry, -1)
        if len(self._heap) > 2 * self.requests + 16:
            self._heap = [item for item in self._heap if not item[3].gone]
            heapq.heapify(self._heap)

    def _count(self, entry: Waiting[T], sign: int) -> None:
        self.requests += sign
        self.isl_tokens += sign * entry.isl_tokens
        self.cached_tokens += sign * entry.cached_tokens
        if self.shown is not None:
            self.shown.count(self.requests, self.isl_tokens, self.cached_tokens)


class WaitingRequests(Generic[T]):
    """The lines of all classes of a pool. `board` shows those of other processes; None: there are no others."""

    def __init__(self, board: LineBoard | None = None) -> None:
        self._board = board
        self._lines: dict[PolicyClass, _Line[T]] = {}
        self._turns: list[_Line[T]] = []
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return sum(line.requests for line in self._turns) if self._turns else 0

    def backlog(self, policy: PolicyClass) -> bool:
        """Whether somebody of that class waits already."""
        line = self._lines.get(policy)
        return line is not None and line.requests > 0

    def gives_way(self, policy: PolicyClass, urgency: Urgency, since: float, now: float) -> bool:
        """Whether one that waits since then lets one of another process go first. Only a class that goes by the time of
        coming asks for that.
        """
        if self._board is None or policy.queue_policy != "fcfs":
            return False
        return self._board.goes_first(policy.name, urgency.strict_priority, since - urgency.jump_secs, now)

    def look(self, now: float) -> None:
        """Shows other processes that this one looks after its lines."""
        for line in self._turns:
            first = line.first()
            if first is not None and line.shown is not None:
                line.shown.look(first.urgency.strict_priority, first.since - first.urgency.jump_secs, now)

    def pending(self) -> list[tuple[PolicyClass, int, int, int]]:
        """By class that ever waited: requests, prompt tokens, cached tokens."""
        return [(line.policy, line.requests, line.isl_tokens, line.cached_tokens) for line in self._lines.values()]

    def push(
        self, payload: T, policy: PolicyClass, urgency: Urgency, isl_tokens: int, cached_tokens: int, now: float,
        workers: int,
    ) -> Waiting[T]:  # fmt: skip
        """Takes a request in. Raises QueueFull where a limit of its class, times `workers`, is reached."""
        line = self._lines.get(policy)
        if line is None:
            shown = None if self._board is None else self._board.own(policy.name)
            line = self._lines[policy] = _Line(policy, shown)
        others = _NOBODY if self._board is None or not policy.limited else self._board.others(policy.name)
        _check(line, others, workers)
        entry = Waiting(payload, policy, urgency, isl_tokens, cached_tokens, now)
        key = _policy_key(entry, urgency.jump_secs)
        if not line.requests:
            line.deficit = 0
            self._turns.append(line)
        line.push((-urgency.strict_priority, -key, next(self._arrivals)), entry)
        self.look(now)
        return entry

    def first(self) -> Waiting[T] | None:
        """Whose turn it is; None when nobody waits. The same until it is taken or dropped."""
        heads = [(line, entry) for line in self._turns if (entry := line.first()) is not None]
        self._turns = [line for line, _ in heads]
        if len(heads) < 2:
            return heads[0][1] if heads else None
        # rounds in which nobody's turn would come, all at once
        idle = min(max(0, -(-_missing(line, entry) // line.policy.quantum) - 1) for line, entry in heads)
        for line, _ in heads:
            line.deficit += idle * line.policy.quantum
        for at in itertools.count():
            line, entry = heads[at % len(heads)]
            if _missing(line, entry) <= 0:
                break
            line.deficit += line.policy.quantum
            if _missing(line, entry) <= 0:
                break
        turn = at % len(heads)
        self._turns = self._turns[turn:] + self._turns[:turn]
        return entry

    def take(self, entry: Waiting[T]) -> None:
        """The one whose turn it is goes."""
        line = self._lines[entry.policy]
        line.deficit = max(0, line.deficit - entry.uncached_tokens)
        line.pop()
        following = line.first()
        if following is None:
            self._turns.remove(line)
        elif line.deficit < following.uncached_tokens:
            self._turns.append(self._turns.pop(self._turns.index(line)))

    def drop(self, entry: Waiting[T]) -> None:
        """One that waits no longer, for a reason of its own. Idempotent."""
        if not entry.gone:
            self._lines[entry.policy].drop(entry)


def _missing(line: _Line[T], entry: Waiting[T]) -> int:
    return entry.uncached_tokens - line.deficit


def _policy_key(entry: Waiting[T], jump: float) -> float:
    """Larger goes first."""
    match entry.policy.queue_policy:
        case "wspt":
            return (1 + jump) / entry.uncached_tokens
        case "lcfs":
            return jump + entry.since
        case _:
            return jump - entry.since


def _check(line: _Line[T], others: tuple[int, int, int], workers: int) -> None:
    policy = line.policy
    limits = (
        ("requests", line.requests + others[0], policy.request_limit),
        ("raw_isl_tokens", line.isl_tokens + others[1], policy.isl_token_limit),
        ("cached_tokens", line.cached_tokens + others[2], policy.cached_token_limit),
    )
    for name, current, per_worker in limits:
        if per_worker is not None and current >= per_worker * workers:
            raise QueueFull(policy, name, current, per_worker * workers)
