"""KV routing in one serving process: requests in, ranks out, and what peers and workers say taken in between."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dynamo_fe._cext.prefix_index import Reader
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.protocol.events import AffinityEvent, KvMetrics, SequenceEvent
from dynamo_fe.routing.busy_thresholds import BusyThresholds
from dynamo_fe.routing.kv.affinity import Sessions
from dynamo_fe.routing.kv.decisions import DecisionLog, Decisions
from dynamo_fe.routing.kv.intent import Hashes, Intent
from dynamo_fe.routing.kv.line_board import LineBoard
from dynamo_fe.routing.kv.load_table import LoadTable, OwnLoads, SiblingLoads
from dynamo_fe.routing.kv.metrics import RequestSeries, RouterMetrics
from dynamo_fe.routing.kv.output_blocks import OutputBlocks
from dynamo_fe.routing.kv.placement import Placement
from dynamo_fe.routing.kv.pool import NO_ENDPOINTS, Pool
from dynamo_fe.routing.kv.pools import PoolKey, Pools, RankedSet
from dynamo_fe.routing.kv.queue import QueueFull, Waiting
from dynamo_fe.routing.kv.ranks import RankId, RankLoads
from dynamo_fe.routing.kv.replicas import Replicas
from dynamo_fe.routing.kv.request import Ask, Choice, NoRank
from dynamo_fe.routing.kv.rules import KvRules
from dynamo_fe.routing.kv.session_log import SessionLog

_log = logging.getLogger("dynamo_fe.routing")

# what nobody tells us of: sibling processes' load, workers no longer set aside
_LOOK_AGAIN_SECS: Final = 0.05
_SWEEP_SECS: Final = 60.0
# without requests of its own: that others' decisions are not overwritten unheard
_HEAR_SECS: Final = 1.0


class Shared(NamedTuple):
    """What the processes of a host have in common. `table` is None where there is but one."""

    table: LoadTable | None
    process: int
    reader: Reader | None
    decisions: Decisions | None = None
    sessions: DecisionLog | None = None


class Peers(NamedTuple):
    """What goes out to others, by pool; does nothing where nobody is to hear it."""

    sequence: Callable[[PoolKey, SequenceEvent], None]
    affinity: Callable[[PoolKey, AffinityEvent], None]


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request in the line. `done` is resolved with its choice."""

    ask: Ask
    done: asyncio.Future[Choice]


@dataclass(slots=True)
class _Room:
    """A pool with what goes along with it."""

    key: PoolKey
    pool: Pool[_Waiter]
    replicas: Replicas
    sessions: Sessions | None


class _Known(NamedTuple):
    """Where the workers with these cards are: found once, as long as the cards are the same."""

    cards: Mapping[int, ModelCard]
    room: _Room


class KvRouter:
    """Belongs to one event loop. `router_id` names this process among routers.

    `peers` hear of what happens here; `on_pool` is told of pools that come and go; `catch_up` puts into the index what
    workers have said and nobody has looked at yet.
    """

    def __init__(
        self,
        rules: KvRules,
        shared: Shared,
        router_id: int,
        thresholds: BusyThresholds,
        metrics: RouterMetrics,
    ) -> None:
        self.rules = rules
        self.router_id = router_id
        self.peers = Peers(lambda key, event: None, lambda key, event: None)
        self.on_pool: Callable[[PoolKey, bool], None] = lambda key, there: None
        self.catch_up: Callable[[], None] = lambda: None
        self._shared = shared
        self.thresholds = thresholds
        self._metrics = metrics
        self._own = None if shared.table is None else OwnLoads(shared.table, shared.process, router_id)
        self._rooms: dict[PoolKey, _Room] = {}
        self._pools: Pools[_Waiter] = Pools(rules.block_tokens, self._make, self._changed, self._closed)
        self._known: dict[int, _Known] = {}
        self._placed: dict[Placement, _Room] = {}
        self._ended = False
        self._looking: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._hearing: asyncio.TimerHandle | None = None
        metrics.follow(self.pools)

    def start(self) -> None:
        """Begins to look after what is left behind."""
        self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_SECS, self._sweep)
        if self._shared.decisions is not None:
            self._hear()

    def close(self) -> None:
        """Gives back what it shows to other processes."""
        for timer in (self._looking, self._sweeping, self._hearing):
            if timer is not None:
                timer.cancel()
        self._pools.settle([])
        self._ended = True

    def pools(self) -> list[tuple[PoolKey, Pool[Any]]]:
        """All of them, by key."""
        return list(self._pools)

    def settle(self, sets: Sequence[RankedSet]) -> None:
        """These are the worker sets now."""
        if self._ended:
            return
        self._known.clear()
        self._pools.settle(sets)
        for entry in sets:
            room = self._room_of(entry)
            if room is not None:
                room.pool.model = entry.model
                self._metrics.served(room.key, entry.model, self.rules.profile_of(entry.model))
                room.pool.eagle = next(iter(entry.cards.values())).runtime_config.enable_eagle

    async def place(self, entry: RankedSet, intent: Intent) -> Placement:
        """The rank that the request goes to, booked there; waits for its turn where all are busy.

        Raises NoRank, QueueFull.
        """
        started = time.monotonic()
        room = self._room_of(entry)
        if room is None:
            raise NoRank(NO_ENDPOINTS)
        hashes = self._hashes(room, intent)
        if hashes.local:
            self.catch_up()
        ask = self._ask(room, entry, intent, hashes)
        series = self._metrics.series(room.key, intent.model)
        now = time.monotonic()
        try:
            found = room.pool.offer(ask, lambda: _Waiter(ask, asyncio.get_running_loop().create_future()), now)
        except QueueFull as refusal:
            self._metrics.line.refused(intent.model, refusal.policy, refusal.limit)
            raise
        finally:
            self._metrics.line.received(intent.model, room.pool.policy)
        find_secs = room.pool.find_secs
        choice = found if isinstance(found, Choice) else await self._turn(room, found)
        done = time.monotonic()
        self._metrics.chosen(hashes.local_secs, hashes.chain_secs, find_secs, done - now - find_secs, done - started)
        return self._placed_at(room, intent, ask, choice, series)

    def explained(self, entry: RankedSet, intent: Intent) -> dict[str, Any]:
        """What `place` would choose now, without booking it. Raises NoRank."""
        room = self._room_of(entry)
        if room is None:
            raise NoRank(NO_ENDPOINTS)
        self.catch_up()
        ask = self._ask(room, entry, intent, self._hashes(room, intent))
        return room.pool.advise(ask, time.monotonic())

    def named(self, entry: RankedSet, intent: Intent) -> RankId:
        """What `place` would choose now, for a client that sends the request there itself. Raises NoRank."""
        policy = self.rules.profile_of(intent.model).classify(intent.family, len(intent.token_ids))
        self._metrics.line.received(intent.model, policy)
        found = self.explained(entry, intent)
        return found["worker_id"], found["dp_rank"]

    def hear_sequence(self, key: PoolKey, event: SequenceEvent, publisher_id: int) -> None:
        """Another router's or a worker's word about a request."""
        room = self._rooms.get(key)
        self._metrics.heard(key)
        if room is not None and room.replicas.hear(event, publisher_id, time.monotonic()):
            self._wake(room)

    def publisher_left(self, key: PoolKey, publisher_id: int) -> None:
        """Whoever said that is gone from discovery."""
        room = self._rooms.get(key)
        if room is not None and room.replicas.publisher_left(publisher_id):
            self._wake(room)

    def hear_affinity(self, key: PoolKey, event: AffinityEvent) -> None:
        """Another frontend's word about a session."""
        room = self._rooms.get(key)
        if room is not None and room.sessions is not None:
            room.sessions.hear(event, time.monotonic())

    def hear_metrics(self, key: PoolKey, report: KvMetrics) -> None:
        """A worker's own view of its load."""
        room = self._rooms.get(key)
        rank = room.pool.loads.get(report.worker_id, report.dp_rank) if room is not None else None
        if rank is not None and report.kv_used_blocks is not None:
            rank.kv_used_blocks = report.kv_used_blocks

    def began(self, placement: Placement) -> None:
        """A placement's first output has come."""
        room = self._placed.get(placement)
        if room is None:
            return
        if self.rules.replica_sync:
            self.peers.sequence(room.key, room.replicas.prefilled(placement.request_id, placement.choice.key))
        self._wake(room)

    def over(self, placement: Placement) -> None:
        """A placement has ended."""
        room = self._placed.pop(placement, None)
        if room is None:
            return
        room.replicas.forget(placement.request_id, placement.choice.key)
        if self.rules.replica_sync:
            self.peers.sequence(room.key, room.replicas.freed(placement.request_id, placement.choice.key))
        if placement.session_id is not None and room.sessions is not None:
            room.sessions.end(placement.session_id, time.monotonic())
        self._wake(room)

    def _room_of(self, entry: RankedSet) -> _Room | None:
        cards = entry.cards
        known = self._known.get(id(cards))
        if known is not None:
            return known.room
        room = self._rooms.get(self._pools.key_of(entry)) if cards else None
        if room is not None:
            self._known[id(cards)] = _Known(cards, room)
        return room

    def _make(self, key: PoolKey) -> Pool[_Waiter]:
        loads = RankLoads(self._own)
        table, process, reader, decisions, bound = self._shared
        siblings = None if table is None else SiblingLoads(table, process, loads.slot_of)
        board = None if table is None else LineBoard(table, process, key)
        told = None if decisions is None else decisions.of_pool(key)
        pool: Pool[_Waiter] = Pool(
            self.rules, key.block_tokens, loads, siblings, reader, self.thresholds.of, told, board
        )

        def is_ours(router_id: int) -> bool:
            return router_id == self.router_id or (siblings is not None and siblings.is_sibling(router_id))

        sessions = None
        if self.rules.affinity_ttl_secs is not None:
            ttl_secs = self.rules.affinity_ttl_secs
            log = None if bound is None else SessionLog(bound, process, key)
            sessions = Sessions(ttl_secs, self.router_id, lambda event: self.peers.affinity(key, event), log)
        self._rooms[key] = _Room(key, pool, Replicas(loads, self.router_id, is_ours, self.rules.replica_sync), sessions)
        self.on_pool(key, True)
        return pool

    def _changed(self, key: PoolKey, pool: Pool[_Waiter], come: list[RankId], gone: list[RankId]) -> None:
        room = self._rooms[key]
        left = {rank.key[0] for rank in pool.loads}
        for worker_id in {worker_id for worker_id, _ in gone} - left:
            if room.sessions is not None:
                room.sessions.worker_gone(worker_id)
        room.replicas.expired()
        self._metrics.ranks_changed(key, come, gone)
        self._wake(room)

    def _closed(self, key: PoolKey, pool: Pool[_Waiter]) -> None:
        del self._rooms[key]
        self.on_pool(key, False)

    def _hashes(self, room: _Room, intent: Intent) -> Hashes:
        return intent.hashes(room.key.block_tokens, room.pool.eagle, self.rules.tracking_key)

    def _ask(self, room: _Room, entry: RankedSet, intent: Intent, hashes: Hashes) -> Ask:
        ask = Ask(
            intent.model,
            len(intent.token_ids),
            hashes.local,
            hashes.tracked,
            allowed=entry.instances.keys(),
            banned=intent.banned,
            required_taints=intent.required_taints,
            preferred_taints=intent.preferred_taints,
            urgency=intent.urgency,
            family=intent.family,
            explain=intent.explain,
        )
        if intent.pinned is not None:
            ask.target, ask.strict, ask.reason = (intent.pinned, intent.dp_rank), True, "pinned by the request"
        elif intent.session_id is not None and room.sessions is not None:
            self._follow_session(room, ask, intent)
        return ask

    def _follow_session(self, room: _Room, ask: Ask, intent: Intent) -> None:
        assert room.sessions is not None and intent.session_id is not None
        target = room.sessions.target(intent.session_id, time.monotonic())
        if target is None or target[0] not in ask.allowed or target[0] in intent.banned():
            return
        if any(rank.key[0] == target[0] and target[1] in (None, rank.key[1]) for rank in room.pool.loads):
            ask.target, ask.strict = target, self.rules.affinity_mode == "hard"
            ask.reason = "the session is bound to it"

    async def _turn(self, room: _Room, entry: Waiting[_Waiter]) -> Choice:
        self._look_again()
        done = entry.payload.done
        try:
            return await done
        except asyncio.CancelledError:
            room.pool.waiting.drop(entry)
            if done.done() and not done.cancelled() and done.exception() is None:
                done.result().booking.free()
                self._wake(room)
            raise

    def _placed_at(
        self, room: _Room, intent: Intent, ask: Ask, choice: Choice, series: RequestSeries
    ) -> Placement:
        placement = Placement(
            intent.request_id,
            intent.session_id,
            choice,
            self,
            ask.prompt_tokens,
            room.key.block_tokens,
            intent.expected_output_tokens,
            self.rules.track_output_blocks,
        )
        self._placed[placement] = room
        running = choice.booking.running
        if running is not None:
            size, eagle = room.key.block_tokens, room.pool.eagle
            seeds = intent.tracked_seeds(size, eagle, self.rules.tracking_key)
            placement.outputs = OutputBlocks(running, intent.token_ids, ask.tracked, size, *seeds, eagle)
        room.replicas.watch(intent.request_id, choice.key, placement.began)
        if self.rules.replica_sync:
            event = room.replicas.added(
                intent.request_id, choice.key, choice.booking, ask.tracked, intent.expected_output_tokens,
                self.rules.track_prefill_tokens, intent.lora_name,
            )  # fmt: skip
            self.peers.sequence(room.key, event)
        if intent.session_id is not None and room.sessions is not None:
            room.sessions.begin(intent.session_id, choice.key, time.monotonic(), time.time_ns())
        self._metrics.placed(series, placement)
        return placement

    def _wake(self, room: _Room) -> None:
        """Lets go whoever may go now."""
        while len(room.pool.waiting):
            due = room.pool.next_due(lambda waiter: waiter.ask, time.monotonic())
            if due is None:
                return
            waiter, outcome = due
            if isinstance(outcome, NoRank):
                if not waiter.done.done():
                    waiter.done.set_exception(outcome)
            elif waiter.done.done():
                outcome.booking.free()
            else:
                waiter.done.set_result(outcome)

    def _look_again(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_AGAIN_SECS, self._look)

    def _look(self) -> None:
        self._looking = None
        for room in list(self._rooms.values()):
            self._wake(room)
        if any(len(room.pool.waiting) for room in self._rooms.values()):
            self._look_again()

    def _hear(self) -> None:
        self._hearing = asyncio.get_running_loop().call_later(_HEAR_SECS, self._hear)
        for room in self._rooms.values():
            room.pool.hear(time.monotonic())

    def _sweep(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_SECS, self._sweep)
        now = time.monotonic()
        for room in list(self._rooms.values()):
            expired = room.pool.loads.expire(now - self.rules.expiry_secs)
            if expired:
                _log.warning("%d requests of other frontends were never ended; their load is forgotten", expired)
            room.replicas.expired()
            if room.sessions is not None:
                room.sessions.expire(now)
            if room.pool.approximate is not None:
                room.pool.approximate.expire(now)
            self._wake(room)
