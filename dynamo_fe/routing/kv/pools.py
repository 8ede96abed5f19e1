"""The pools of all endpoints, kept in step with discovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.protocol.instance import Instance
from dynamo_fe.routing.kv.pool import Pool
from dynamo_fe.routing.kv.ranks import RankId, RankTraits

T = TypeVar("T")


class RankedSet(Protocol):
    """A worker set as KV routing sees it: `cards` are those of its live instances, by id."""

    @property
    def model(self) -> str:
        """The name it is served under."""

    @property
    def key(self) -> str:
        """Names the set."""

    @property
    def namespace(self) -> str: ...

    @property
    def component(self) -> str: ...

    @property
    def endpoint(self) -> str: ...

    @property
    def instances(self) -> Mapping[int, Instance]: ...

    @property
    def cards(self) -> Mapping[int, ModelCard]: ...


class PoolKey(NamedTuple):
    """The workers of one endpoint with one block size; adapters of a model are in the pool of their base."""

    namespace: str
    component: str
    endpoint: str
    block_tokens: int


class Pools(Generic[T]):
    """By key. `make` builds one, `on_change` is told which ranks of it came and went, `on_close` of its end."""

    def __init__(
        self,
        block_tokens: int | None,
        make: Callable[[PoolKey], Pool[T]],
        on_change: Callable[[PoolKey, Pool[T], list[RankId], list[RankId]], None],
        on_close: Callable[[PoolKey, Pool[T]], None],
    ) -> None:
        self._block_tokens = block_tokens
        self._make = make
        self._on_change = on_change
        self._on_close = on_close
        self._pools: dict[PoolKey, Pool[T]] = {}
        self._seen: dict[PoolKey, dict[str, Mapping[int, ModelCard]]] = {}

    def __iter__(self) -> Iterator[tuple[PoolKey, Pool[T]]]:
        return iter(self._pools.items())

    def key_of(self, entry: RankedSet) -> PoolKey:
        """The pool that a set's workers are in."""
        card = next(iter(entry.cards.values()))
        block_tokens = self._block_tokens or card.kv_cache_block_size
        return PoolKey(entry.namespace, entry.component, entry.endpoint, block_tokens)

    def of(self, entry: RankedSet) -> tuple[PoolKey, Pool[T]] | None:
        """The pool of a set, None when it has not been settled."""
        key = self.key_of(entry)
        pool = self._pools.get(key)
        return None if pool is None else (key, pool)

    def settle(self, sets: Sequence[RankedSet]) -> None:
        """These are the sets now."""
        wanted: dict[PoolKey, dict[str, Mapping[int, ModelCard]]] = {}
        for entry in sets:
            if entry.cards:
                wanted.setdefault(self.key_of(entry), {})[entry.key] = entry.cards
        for key in [key for key in self._pools if key not in wanted]:
            pool = self._pools.pop(key)
            del self._seen[key]
            self._change(key, pool, {})
            self._on_close(key, pool)
        for key, cards in wanted.items():
            before = self._seen.get(key, {})
            if before.keys() == cards.keys() and all(cards[name] is before[name] for name in cards):
                continue
            self._seen[key] = cards
            pool = self._pools.get(key) or self._pools.setdefault(key, self._make(key))
            self._change(key, pool, _ranks(cards))

    def _change(self, key: PoolKey, pool: Pool[T], ranks: Mapping[RankId, RankTraits]) -> None:
        come, gone = pool.settle(ranks)
        if come or gone:
            self._on_change(key, pool, come, gone)


def _ranks(sets: Mapping[str, Mapping[int, ModelCard]]) -> dict[RankId, RankTraits]:
    """The ranks of all workers; what two cards of a worker say differently is taken from the later one."""
    found: dict[RankId, RankTraits] = {}
    for cards in sets.values():
        for worker_id, card in cards.items():
            config = card.runtime_config
            domains = (f"dynamo.topology/{name}={value}" for name, value in config.topology_domains.items())
            taints = frozenset((*config.taints, *domains))
            traits = RankTraits(config.total_kv_blocks, config.max_num_batched_tokens, taints)
            start = config.data_parallel_start_rank
            for dp_rank in range(start, start + max(config.data_parallel_size, 1)):
                found[worker_id, dp_rank] = traits
    return found
