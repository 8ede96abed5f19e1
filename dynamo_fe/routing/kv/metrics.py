"""The router's metrics: names, labels and edges of Dynamo 1.6.1.

`worker_id` of the families under `dynamo_component_` is the frontend's own id, not a worker's, as in the original.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from dynamo_fe.ops.metrics import Family, Histogram, MetricsRegistry, Value
from dynamo_fe.routing.kv.line_metrics import LineMetrics
from dynamo_fe.routing.kv.placement import Placement
from dynamo_fe.routing.kv.pool import Pool
from dynamo_fe.routing.kv.pools import PoolKey
from dynamo_fe.routing.kv.ranks import RankId
from dynamo_fe.routing.kv.rules import PolicyProfile

_STEPS_MS: Final = "0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 16.384"
_WHOLE_MS: Final = (
    "0.01 0.03 0.09 0.27 0.81 2.43 7.290000000000001 21.870000000000005 65.61000000000001 196.83000000000004 "
    "590.4900000000001 1771.4700000000003 5314.410000000001 15943.230000000003 47829.69000000001 143489.07000000004 "
    "430467.2100000001"
)
_RATE: Final = (
    "0 0.05 0.1 0.15000000000000002 0.2 0.25 0.30000000000000004 0.35000000000000003 0.4 0.45 0.5 0.55 "
    "0.6000000000000001 0.65 0.7000000000000001 0.75 0.8 0.8500000000000001 0.9 0.9500000000000001 1"
)
_POLICIES: Final = ("disabled", "lru", "ttl")
_BEYOND: Final = "1 2 4 8 16 32 64 128 256 512 1024 2048"
_TRANSFER: Final = "0 0.0019 0.0037 0.0072 0.014 0.027 0.052 0.1 0.19 0.37 0.72 1.4 2.7 5.2 10"
_LOST: Final = "0.25 0.5 1 2 4 8 16 32 64 128 256 512 1024 2048 4096 8192"
# one class of workers in this version: the original counts aggregated ones as decode
_WORKER_TYPE: Final = "decode"
_ROUTING_GROUP: Final = "default"
_PHASE: Final = "aggregated"
# the original counts choices that pass over a larger overlap of prefill workers alone
_PREFILL: Final = "prefill"
# choices whose times are counted together: one after the other costs a third of five histograms at each request
_MOST_UNCOUNTED: Final = 256

PoolsOf = Callable[[], list[tuple[PoolKey, Pool[Any]]]]


class RequestSeries(NamedTuple):
    """What every request of a model in a pool counts in, found once."""

    hit_rate: Histogram
    selected: Value
    best: Value


class RouterMetrics:
    """The families of one process that only this mode has; `router_id` is the number of the process, `policies` the one
    that is set for what is guessed of ranks, and the one in force.
    """

    def __init__(
        self, registry: MetricsRegistry, prefix: str, router_id: int, policies: tuple[str, str] = ("ttl", "ttl")
    ) -> None:
        self._registry = registry
        self._id = str(router_id)
        self._own_id = f"{router_id:x}"
        self._series: dict[tuple[PoolKey, str], RequestSeries] = {}
        self.line = LineMetrics(registry, prefix)
        self._add_load(prefix)
        self._add_steps()
        self._add_choices()
        self._add_policies(policies)
        self._add_heard()
        self._add_what_is_never_met()

    def _add_load(self, prefix: str) -> None:
        # every process knows the load of all: a sum would count it once for each
        gauge, rank = self._registry.gauge, ("worker_id", "dp_rank", "worker_type")
        self._blocks = gauge(f"{prefix}_worker_active_decode_blocks", "Active KV blocks of a rank", rank, "max")
        self._prefill = gauge(f"{prefix}_worker_active_prefill_tokens", "Prompt tokens in work on a rank", rank, "max")

    def _add_steps(self) -> None:
        def step(name: str, edges: str) -> Histogram:
            family = f"dynamo_router_overhead_{name}_ms"
            return self._registry.histogram(family, f"Time of routing, {name}", edges, ("router_id",)).labels(self._id)

        self._steps = (
            step("block_hashing", _STEPS_MS),
            step("seq_hashing", _STEPS_MS),
            step("indexer_find_matches", _WHOLE_MS),
            step("scheduling", _WHOLE_MS),
            step("total", _WHOLE_MS),
        )
        self._took: list[tuple[float, ...]] = []
        self._registry.before_snapshot(self._count_steps)

    def _add_choices(self) -> None:
        registry = self._registry
        place = ("dynamo_namespace", "dynamo_component", "router_id", "worker_id")
        phase = (*place, "model", "phase")

        def histogram(name: str, text: str, edges: str, labels: tuple[str, ...] = place) -> Family[Histogram]:
            return registry.histogram(f"dynamo_component_router_{name}", text, edges, labels)

        def counter(name: str, text: str, labels: tuple[str, ...] = place) -> Family[Value]:
            return registry.counter(f"dynamo_component_router_{name}", text, labels)

        self._hit_rate = histogram("kv_hit_rate", "Cached share of the prompt on the chosen rank", _RATE)
        self._selected = counter(
            "kv_selected_cached_prefix_tokens_total", "Cached prompt tokens on the chosen rank", phase
        )
        self._best = counter(
            "kv_best_eligible_cached_prefix_tokens_total", "Cached prompt tokens on the best eligible rank", phase
        )
        typed = (*place, "worker_type")
        self._not_best = counter("non_max_overlap_selections_total", "Choices that passed over a larger overlap", typed)
        self._lost = histogram("overlap_blocks_lost", "Blocks that such a choice gave up", _LOST, typed)
        self._registered = registry.gauge(
            "dynamo_component_router_worker_registered",
            "1 for every rank that is known",
            ("dynamo_namespace", "dynamo_component", "worker_id", "router_worker_id", "dp_rank", "worker_type"),
            "max",
        )

    def _add_policies(self, policies: tuple[str, str]) -> None:
        labels = ("dynamo_component", "dynamo_namespace", "policy", "worker_id")
        name = "dynamo_component_router_approximate_cache"
        texts = {"configured": "The policy that is set", "effective": "The policy in force"}
        self._policies = tuple(
            (self._registry.gauge(f"{name}_{which}_policy", text, labels, "max"), policy)
            for (which, text), policy in zip(texts.items(), policies, strict=True)
        )

    def _add_heard(self) -> None:
        # every process hears all that is said
        name = "dynamo_component_router_active_sequence_ingress"
        labels = ("dynamo_component", "dynamo_namespace", "model", "routing_group", "worker_id", "worker_type")
        self._applied = self._registry.counter(
            f"{name}_events_applied_total", "What others said of running requests", labels, "max"
        )
        self._queued = self._registry.gauge(f"{name}_queue_depth", "Of it, what waits to be applied", labels, "max")
        self._heard: dict[PoolKey, Value] = {}

    def heard(self, key: PoolKey) -> None:
        """Another has said something of a request on a rank of this pool; it is applied at once."""
        if key in self._heard:
            self._heard[key].value += 1

    def _add_what_is_never_met(self) -> None:
        """A cache that workers share, and transfers between them: none here, and at 0 from the start as there."""
        registry, place = self._registry, ("dynamo_namespace", "dynamo_component", "router_id", "worker_id")
        name = "dynamo_component_router"
        self._never = (
            registry.histogram(f"{name}_shared_cache_hit_rate", "Share found in a shared cache", _RATE, place),
            registry.histogram(f"{name}_shared_cache_beyond_blocks", "Blocks found there alone", _BEYOND, place),
            registry.histogram(f"{name}_kv_transfer_estimated_latency_seconds", "Of KV transfers", _TRANSFER, place),
        )
        own = ("router_id",)
        queries = registry.histogram("dynamo_router_overhead_shared_cache_query_ms", "Of its queries", _WHOLE_MS, own)
        queries.labels(self._id)
        registry.counter("dynamo_router_shared_cache_errors_total", "Queries of it that failed", own).labels(self._id)

    def follow(self, pools: PoolsOf) -> None:
        """Shows the load and the line of these pools from now on."""
        self._registry.before_snapshot(lambda: self._mirror(pools()))

    def series(self, key: PoolKey, model: str) -> RequestSeries:
        """What a request for a model counts in when it gets its rank in this pool."""
        return self._series.get((key, model)) or self._make_series(key, model)

    def chosen(self, local_secs: float, chain_secs: float, find_secs: float, choice_secs: float, secs: float) -> None:
        """What a choice took: its two hashes, the look into the index, the rest of it with the wait in line, all."""
        self._took.append((local_secs, chain_secs, find_secs, choice_secs, secs))
        if len(self._took) == _MOST_UNCOUNTED:
            self._count_steps()

    def _count_steps(self) -> None:
        for step, column in zip(self._steps, zip(*self._took, strict=True), strict=False):
            for secs in column:
                step.observe(secs * 1000)
        self._took.clear()

    def placed(self, series: RequestSeries, placement: Placement) -> None:
        """A request got its rank."""
        choice, tokens = placement.choice, placement.prompt_tokens
        blocks = -(-tokens // placement.block_tokens)
        series.hit_rate.observe(min(1.0, choice.cached_tokens / placement.block_tokens / blocks) if blocks else 0.0)
        series.selected.value += choice.cached_tokens
        series.best.value += choice.best_cached_tokens

    def _make_series(self, key: PoolKey, model: str) -> RequestSeries:
        place = self._place(key)
        phase = (*place, model, _PHASE)
        series = self._series[key, model] = RequestSeries(
            self._hit_rate.labels(*place),
            self._selected.labels(*phase),
            self._best.labels(*phase),
        )
        return series

    def served(self, key: PoolKey, model: str, profile: PolicyProfile) -> None:
        """Workers of this pool serve the model: what is counted of it is there from now on."""
        place = self._place(key)
        self._hit_rate.labels(*place)
        self._not_best.labels(*place, _PREFILL)
        self._lost.labels(*place, _PREFILL)
        ingress = (key.component, key.namespace, model, _ROUTING_GROUP, self._own_id, _WORKER_TYPE)
        self._heard[key] = self._applied.labels(*ingress)
        self._queued.labels(*ingress)
        for gauge, in_use in self._policies:
            for policy in _POLICIES:
                gauge.labels(key.component, key.namespace, policy, self._own_id).set(policy == in_use)
        for family in self._never:
            family.labels(*place)
        self.line.served(model, profile)

    def ranks_changed(self, key: PoolKey, come: list[RankId], gone: list[RankId]) -> None:
        """Ranks that are known now, and those that are not any more."""
        namespace, component, *_ = key
        for worker_id, dp_rank in gone:
            rank = (str(worker_id), str(dp_rank), _WORKER_TYPE)
            self._registered.forget(namespace, component, self._own_id, *rank)
            self._blocks.forget(*rank)
            self._prefill.forget(*rank)
        for worker_id, dp_rank in come:
            rank = (str(worker_id), str(dp_rank), _WORKER_TYPE)
            self._registered.labels(namespace, component, self._own_id, *rank).set(1)

    def _place(self, key: PoolKey) -> tuple[str, str, str, str]:
        return key.namespace, key.component, self._id, self._own_id

    def _mirror(self, pools: list[tuple[PoolKey, Pool[Any]]]) -> None:
        for _, pool in pools:
            for (worker_id, dp_rank), active_blocks, prefill_tokens in pool.load():
                rank = (str(worker_id), str(dp_rank), _WORKER_TYPE)
                self._blocks.labels(*rank).set(active_blocks)
                self._prefill.labels(*rank).set(prefill_tokens)
        self.line.mirror(pool for _, pool in pools)
