"""What decides a choice in KV mode: settings, as one frozen object. Defaults are those of Dynamo 1.6.1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dynamo_fe.routing.tracking_hash import TrackingKey

QueuePolicy = Literal["fcfs", "lcfs", "wspt"]
AffinityMode = Literal["hard", "soft"]

# where a card does not say how many tokens a worker takes at once
UNKNOWN_BATCH_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class CostWeights:
    """The parameters of the cost function `dynamo-default-cost-fn`. Credits and weights are in blocks a block."""

    overlap_score_credit: float = 1.0
    overlap_score_credit_decay: float = 0.0
    prefill_load_scale: float = 1.0
    decode_active_request_weight: float = 0.0
    host_cache_hit_weight: float = 0.75
    disk_cache_hit_weight: float = 0.25
    shared_cache_multiplier: float = 0.0
    router_temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyClass:
    """One class of waiting requests. A rank is busy for it above `busy_tokens` prompt tokens in work, or above
    `busy_frac` of what the worker takes at once; both None: nobody waits. `quantum` is in uncached prompt tokens, the
    limits are per worker.
    """

    name: str
    family: str | None = None
    bucket: str | None = None
    queue_policy: QueuePolicy = "fcfs"
    quantum: int = 1
    busy_tokens: int | None = None
    busy_frac: float | None = None
    request_limit: int | None = None
    isl_token_limit: int | None = None
    cached_token_limit: int | None = None

    @property
    def queues(self) -> bool:
        """Whether its requests ever wait."""
        return self.busy_tokens is not None or self.busy_frac is not None

    @property
    def limited(self) -> bool:
        """Whether only so many of them may wait."""
        return any(most is not None for most in (self.request_limit, self.isl_token_limit, self.cached_token_limit))

    def busy_above(self, max_num_batched_tokens: int | None) -> float:
        """The prompt tokens in work beyond which a rank is busy for this class."""
        batch = UNKNOWN_BATCH_TOKENS if max_num_batched_tokens is None else max_num_batched_tokens
        by_share = float("inf") if self.busy_frac is None else self.busy_frac * batch
        return by_share if self.busy_tokens is None else min(by_share, self.busy_tokens)


@dataclass(frozen=True, slots=True)
class PolicyProfile:
    """How requests fall into classes: by the family they name, and by how much of the prompt no worker has.

    `buckets` are (least uncached tokens, name), ascending from 0.
    """

    classes: tuple[PolicyClass, ...]
    default_family: str | None = None
    buckets: tuple[tuple[int, str], ...] = ()

    @property
    def queues(self) -> bool:
        """Whether it matters to any request which class it is in."""
        return len(self.classes) > 1 or self.classes[0].queues

    def classify(self, asked: str | None, uncached_tokens: int) -> PolicyClass:
        """`asked` is a family or the name of an explicit class; an unknown one counts as not given."""
        if self.default_family is None:
            return self.classes[0]
        bucket = next(name for least, name in reversed(self.buckets) if uncached_tokens >= least)
        by_place = {(known.family, known.bucket): known for known in self.classes}
        for known in self.classes:
            if known.name == asked and known.family is None:
                return known
        return by_place.get((asked, bucket)) or by_place[self.default_family, bucket]


def single_class(threshold: float | None, policy: QueuePolicy) -> PolicyProfile:
    """The profile of `--router-queue-threshold` and `--router-queue-policy`."""
    return PolicyProfile((PolicyClass("default", queue_policy=policy, busy_frac=threshold),))


@dataclass(frozen=True, slots=True)
class KvRules:
    """All of it. `host_weight` and `disk_weight` say how many tokens count as cached when a request is booked, which is
    a setting of its own beside the weights of the cost. TTLs are in seconds.
    """

    weights: CostWeights = CostWeights()
    host_weight: float = 0.75
    disk_weight: float = 0.25
    use_kv_events: bool = True
    track_active_blocks: bool = True
    track_output_blocks: bool = False
    assume_kv_reuse: bool = True
    track_prefill_tokens: bool = True
    tracking_key: TrackingKey | None = None
    ttl_secs: float = 120.0
    approximate_policy: Literal["ttl", "lru"] = "ttl"
    predicted_ttl_secs: float | None = None
    profile: PolicyProfile = field(default_factory=lambda: single_class(None, "fcfs"))
    model_profiles: tuple[tuple[str, PolicyProfile], ...] = ()
    replica_sync: bool = False
    affinity_ttl_secs: int | None = None
    affinity_mode: AffinityMode = "hard"
    block_tokens: int | None = None
    expiry_secs: float = 300.0

    def profile_of(self, model: str) -> PolicyProfile:
        """The classes that hold for a model."""
        return dict(self.model_profiles).get(model, self.profile) if self.model_profiles else self.profile

    @property
    def guesses(self) -> bool:
        """Whether what a rank holds is told from decisions as well."""
        return self.wants_overlaps and (not self.use_kv_events or self.predicted_ttl_secs is not None)

    @property
    def hears_peers(self) -> bool:
        """Whether choices depend on what other frontends say."""
        return self.replica_sync or self.affinity_ttl_secs is not None

    @property
    def wants_overlaps(self) -> bool:
        """Whether it matters who holds what: with a credit of 0 the original does not even keep an index."""
        return self.weights.overlap_score_credit > 0
