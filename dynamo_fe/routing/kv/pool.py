"""The ranks of one endpoint and the choice among them. Sans I/O: the caller brings the time.

Source of the rules: Dynamo 1.6.1; the cost itself is in `routing_score`.
"""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from dynamo_fe._cext.prefix_index import Overlaps, Reader
from dynamo_fe._cext.routing_score import Candidates, Weights
from dynamo_fe.routing.busy_thresholds import BusyThreshold
from dynamo_fe.routing.kv.approximate import ApproximateIndex
from dynamo_fe.routing.kv.decisions import PoolDecisions
from dynamo_fe.routing.kv.explanation import explain
from dynamo_fe.routing.kv.line_board import LineBoard
from dynamo_fe.routing.kv.load_table import SiblingLoads
from dynamo_fe.routing.kv.output_blocks import ends_within_a_block
from dynamo_fe.routing.kv.queue import Waiting, WaitingRequests
from dynamo_fe.routing.kv.ranks import Rank, RankId, RankLoads, RankTraits
from dynamo_fe.routing.kv.request import Ask, Choice, NoRank
from dynamo_fe.routing.kv.rules import KvRules, PolicyClass
from dynamo_fe.routing.kv_events.memory import MAX_RANKS

T = TypeVar("T")

NO_ENDPOINTS: Final = "no endpoints available to route work"
_NO_BLOCKS: Final = array("Q")
_NOBODY: Final[frozenset[int]] = frozenset()


class Pool(Generic[T]):
    """`T` is what the caller wants back with a waiting request whose turn has come. `model` is one of those served,
    for metrics, `eagle` how its blocks are hashed, `find_secs` what the last look into the index took, `policy` the
    class of the last that was offered; `partial_finds` counts looks that may have missed blocks, since there was no
    index or it was being changed.
    """

    def __init__(
        self,
        rules: KvRules,
        block_tokens: int,
        loads: RankLoads,
        siblings: SiblingLoads | None,
        reader: Reader | None,
        busy: Callable[[str], BusyThreshold],
        decisions: PoolDecisions | None = None,
        board: LineBoard | None = None,
    ) -> None:
        self.rules = rules
        self.block_tokens = block_tokens
        self.loads = loads
        self.model = ""
        self.eagle = False
        self.find_secs = 0.0
        self.policy = rules.profile.classes[0]
        self.partial_finds = 0
        self.waiting: WaitingRequests[T] = WaitingRequests(board)
        self._siblings = siblings
        self._reader = reader
        # While its writer begins anew the index says 0 of itself.
        self._overlaps = None if reader is None else Overlaps(reader.max_ranks or MAX_RANKS)
        self._ranks_version = -1
        self._busy = busy
        self._draw = random.Random()
        self._weights: dict[bool, Weights] = {}
        self._columns = Candidates(0)
        self._live = array("B")
        self._all_eligible = False
        self._workers = 0
        self._tainted = False
        self._borrowed: list[Rank] = []
        ttl_secs = rules.predicted_ttl_secs if rules.use_kv_events else rules.ttl_secs
        self.approximate: ApproximateIndex | None = None
        if rules.wants_overlaps and ttl_secs is not None:
            self.approximate = ApproximateIndex(ttl_secs, rules.approximate_policy == "lru")
        self._decisions = decisions
        if decisions is not None and self.approximate is not None:
            self.approximate.on_end = self._left
            self.approximate.most_bytes = decisions.budget_bytes

    def settle(self, wanted: Mapping[RankId, RankTraits]) -> tuple[list[RankId], list[RankId]]:
        """Makes these the ranks; returns those that came and those that went."""
        slots = {rank.key: rank.slot for rank in self.loads}
        self.hear(time.monotonic())
        come, gone = self.loads.settle(dict(wanted))
        if self.approximate is not None:
            for key in gone:
                self.approximate.forget(slots[key])
            if self._decisions is not None:
                self._decisions.settled(set(come), bool(gone), self.approximate, self.loads, time.monotonic())
        if len(self.loads) != self._columns.rows:
            self._columns = Candidates(len(self.loads))
        self._all_eligible = False
        self._live = array("B", bytes(len(self.loads)))
        for rank in self.loads:
            self._live[rank.slot] = 1
            rank.load.show_in(self._columns, rank.slot)
        self._workers = len({rank.key[0] for rank in self.loads})
        self._borrowed = []
        self._ranks_version = -1
        if self._siblings is not None:
            self._siblings.slots_changed()
        return come, gone

    def hear(self, now: float) -> None:
        """Notes what other processes have decided."""
        if self._decisions is not None and self.approximate is not None:
            self._decisions.hear(self.approximate, self.loads, now)

    def offer(self, ask: Ask, payload: Callable[[], T], now: float) -> Choice | Waiting[T]:
        """A choice at once, or a place in the line for what `payload` makes. Raises NoRank and QueueFull."""
        profile = self.rules.profile_of(ask.model)
        self.policy = profile.classify(ask.family, ask.prompt_tokens)
        self._judge(ask, now)
        slot = self._score(ask)
        if profile.queues:
            cached = self._columns.most_cached_tokens
            self.policy = policy = profile.classify(ask.family, ask.prompt_tokens - cached)
            if policy.queues and self._has_to_wait(ask, now):
                return self.waiting.push(payload(), policy, ask.urgency, ask.prompt_tokens, cached, now, self._workers)
        return self._take(ask, slot, now)

    def advise(self, ask: Ask, now: float) -> dict[str, Any]:
        """What would be chosen now, and why. Raises NoRank."""
        self._judge(ask, now)
        return explain(self.loads, self._columns, ask, self._score(ask))

    def load(self) -> Iterator[tuple[RankId, float, int]]:
        """Of every rank the active blocks and the prompt tokens in work, of peers and sibling processes as well."""
        self._borrow()
        for rank in self.loads:
            yield rank.key, self._columns.active_blocks[rank.slot], self._columns.prefill_tokens[rank.slot]

    def next_due(self, ask_of: Callable[[T], Ask], now: float) -> tuple[T, Choice | NoRank] | None:
        """The next waiting request that may go now, booked; or whose ranks are all gone. None: nobody."""
        entry = self.waiting.first()
        if entry is None:
            return None
        self.waiting.look(now)
        ask = ask_of(entry.payload)
        try:
            self._judge(ask, now)
        except NoRank as reason:
            if reason.overloaded:
                return None
            self.waiting.take(entry)
            return entry.payload, reason
        if self._all_busy(entry.policy) or self.waiting.gives_way(entry.policy, entry.urgency, entry.since, now):
            return None
        self.waiting.take(entry)
        return entry.payload, self._take(ask, self._score(ask), now)

    def _judge(self, ask: Ask, now: float) -> None:
        """Fills the columns: who is eligible, what everybody has to do and holds. Raises NoRank."""
        self._fill_loads(ask)
        self._fill_eligible(ask)
        self._fill_overlaps(ask, now)
        if ask.preferred_taints or self._tainted:
            self._fill_taints(ask)

    def _fill_taints(self, ask: Ask) -> None:
        self._tainted = bool(ask.preferred_taints)
        for rank in self.loads:
            held = (weight for taint, weight in ask.preferred_taints.items() if taint in rank.traits.taints)
            self._columns.taint_weight[rank.slot] = sum(held)

    def _fill_loads(self, ask: Ask) -> None:
        self._borrow()
        columns = self._columns
        columns.forget_prompt()
        if ask.tracked and self._reuses(ask) and self.rules.track_active_blocks:
            self.loads.tree.show_shared(ask.tracked, columns)

    def _borrow(self) -> None:
        """Adds what the sibling processes have booked to the rows."""
        if self._siblings is None:
            return
        columns = self._columns
        for rank in self._borrowed:
            rank.load.refresh()
        self._borrowed.clear()
        for slot, load in self._siblings.loads():
            columns.prefill_tokens[slot] += load.prefill_tokens
            columns.active_blocks[slot] += round(load.active_blocks)
            columns.active_requests[slot] += load.requests
            rank_of_slot = self.loads.at(slot)
            if rank_of_slot is not None:
                self._borrowed.append(rank_of_slot)

    def _fill_eligible(self, ask: Ask) -> None:
        columns = self._columns
        banned = ask.banned()
        overloaded = self._overloaded(ask.model)
        everyone = len(ask.allowed) == self._workers and not (banned or overloaded or ask.required_taints)
        everyone = everyone and ask.target is None and self._workers > 0
        if everyone and self._all_eligible:
            return
        columns.eligible[:] = self._live
        self._all_eligible = everyone
        if everyone:
            return
        left = busy = 0
        for slot in range(columns.rows):
            rank = self.loads.at(slot)
            if rank is None or not self._may_take(rank, ask, banned):
                columns.eligible[slot] = 0
            elif rank.key[0] in overloaded:
                columns.eligible[slot] = 0
                busy += 1
            else:
                left += 1
        if ask.target is not None and not ask.strict and left:
            self._prefer(ask.target)
        if not left:
            raise NoRank(NO_ENDPOINTS, overloaded=busy > 0)

    def _may_take(self, rank: Rank, ask: Ask, banned: Collection[int]) -> bool:
        worker_id, dp_rank = rank.key
        if worker_id not in ask.allowed or worker_id in banned:
            return False
        if ask.required_taints and not ask.required_taints <= rank.traits.taints:
            return False
        if ask.strict and ask.target is not None:
            return ask.target[0] == worker_id and ask.target[1] in (None, dp_rank)
        return True

    def _prefer(self, target: tuple[int, int | None]) -> None:
        """Leaves only what the target names, if any of that is eligible."""
        eligible = self._columns.eligible
        wanted = [
            rank.slot for rank in self._eligible() if rank.key[0] == target[0] and target[1] in (None, rank.key[1])
        ]
        if wanted:
            eligible[:] = array("B", bytes(len(eligible)))
            for slot in wanted:
                eligible[slot] = 1

    def _fill_overlaps(self, ask: Ask, now: float) -> None:
        columns = self._columns
        reader, overlaps = self._reader, self._overlaps
        started = time.monotonic()
        if reader is not None and overlaps is not None and ask.local:
            self._map_slots(reader)
            if reader.find(ask.local, overlaps):
                columns.take_overlaps(overlaps)
            self.partial_finds += not overlaps.whole
        if self.approximate is not None:
            self.hear(now)
            for slot, depth in self.approximate.depths(ask.tracked, now).items():
                columns.device[slot] = max(columns.device[slot], depth)
        self.find_secs = time.monotonic() - started

    def _map_slots(self, reader: Reader) -> None:
        version = reader.ranks_version
        if version == self._ranks_version:
            return
        slots = array("i", [-1]) * self._columns.rows
        for index_slot, worker_id, dp_rank in reader.ranks():
            slot = self.loads.slot_of(worker_id, dp_rank)
            if slot is not None:
                slots[slot] = index_slot
        self._columns.slot[:] = slots
        self._ranks_version = version

    def _score(self, ask: Ask) -> int:
        tracks = self._tracks_prefill(ask)
        weights = self._weights.get(tracks)
        if weights is None:
            weights = self._weights[tracks] = _weights(self.rules, tracks)
        complete = len(ask.tracked)
        return self._columns.choose(weights, ask.prompt_tokens, self.block_tokens, complete, self._draw.random())

    def _take(self, ask: Ask, slot: int, now: float) -> Choice:
        columns = self._columns
        rank = self.loads.at(slot)
        assert rank is not None
        overlap = (columns.device[slot], columns.host[slot], columns.disk[slot])
        cached, best = columns.cached_tokens[slot], columns.most_cached_tokens
        explanation = explain(self.loads, columns, ask, slot) if ask.explain else None
        complete = len(ask.tracked) if self.rules.track_active_blocks else 0
        shared = ask.tracked if complete and self._reuses(ask) else _NO_BLOCKS
        tokens = max(0, ask.prompt_tokens - cached) if self._tracks_prefill(ask) else 0
        booking = self.loads.book(rank, shared, complete, tokens)
        if self.approximate is not None:
            tail_tokens = ask.prompt_tokens - len(ask.tracked) * self.block_tokens
            partial = ends_within_a_block(tail_tokens, len(ask.tracked), self.eagle)
            capacity = rank.traits.total_kv_blocks
            booking.running = self.approximate.begin(slot, ask.tracked, partial, capacity, now)
            if self._decisions is not None:
                self._decisions.tell(rank.key, ask.tracked, now)
        return Choice(rank.key, booking, columns.cost[slot], overlap, cached, best, explanation)

    def _left(self, slot: int, hashes: array[int]) -> None:
        rank = self.loads.at(slot)
        if rank is not None and self._decisions is not None:
            self._decisions.tell(rank.key, hashes, time.monotonic())

    def _eligible(self) -> list[Rank]:
        eligible = self._columns.eligible
        return [rank for rank in self.loads if eligible[rank.slot]]

    def _has_to_wait(self, ask: Ask, now: float) -> bool:
        waiting, policy = self.waiting, self.policy
        return waiting.backlog(policy) or self._all_busy(policy) or waiting.gives_way(policy, ask.urgency, now, now)

    def _all_busy(self, policy: PolicyClass) -> bool:
        tokens = self._columns.prefill_tokens
        return all(
            tokens[rank.slot] > policy.busy_above(rank.traits.max_num_batched_tokens) for rank in self._eligible()
        )

    def _overloaded(self, model: str) -> Collection[int]:
        """The workers of which every rank is above a busy threshold of the model."""
        limits = self._busy(model)
        if not limits.any:
            return _NOBODY
        free = {rank.key[0] for rank in self.loads if not self._is_busy(rank, limits)}
        return {rank.key[0] for rank in self.loads} - free

    def _is_busy(self, rank: Rank, limits: BusyThreshold) -> bool:
        tokens, blocks = self._columns.prefill_tokens[rank.slot], self._columns.active_blocks[rank.slot]
        total, batch = rank.traits.total_kv_blocks, rank.traits.max_num_batched_tokens
        share = limits.active_decode_blocks_threshold
        if share is not None and total is not None and max(blocks, rank.kv_used_blocks or 0) > share * total:
            return True
        if limits.active_prefill_tokens_threshold is not None and tokens > limits.active_prefill_tokens_threshold:
            return True
        factor = limits.active_prefill_tokens_threshold_frac
        return factor is not None and batch is not None and tokens > factor * batch

    def _reuses(self, ask: Ask) -> bool:
        return self.rules.assume_kv_reuse if ask.assume_kv_reuse is None else ask.assume_kv_reuse

    def _tracks_prefill(self, ask: Ask) -> bool:
        return self.rules.track_prefill_tokens if ask.track_prefill_tokens is None else ask.track_prefill_tokens


def _weights(rules: KvRules, tracks_prefill: bool) -> Weights:
    given = rules.weights
    return Weights(
        overlap_score_credit=given.overlap_score_credit,
        overlap_score_credit_decay=given.overlap_score_credit_decay,
        prefill_load_scale=given.prefill_load_scale,
        decode_active_request_weight=given.decode_active_request_weight,
        host_cache_hit_weight=given.host_cache_hit_weight,
        disk_cache_hit_weight=given.disk_cache_hit_weight,
        booked_host_cache_hit_weight=rules.host_weight,
        booked_disk_cache_hit_weight=rules.disk_weight,
        shared_cache_multiplier=given.shared_cache_multiplier,
        temperature=given.router_temperature,
        track_prefill_tokens=tracks_prefill,
        track_active_blocks=rules.track_active_blocks,
    )
