"""KV routing, and the simulator that some of it may consult. None of it has an effect on the other router modes."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.setting import choice, optional_real, optional_text, optional_whole, real, switch, whole


@dataclass(frozen=True)
class KvRouterSettings:
    group: ClassVar[str] = "KV router"

    load_aware: bool = switch(
        False,
        "--load-aware",
        env="DYN_ROUTER_LOAD_AWARE",
        help="Preset that looks at load alone; implies --router-mode kv. Deprecated.",
    )
    kv_cache_block_size: int | None = optional_whole(
        "--kv-cache-block-size",
        env="DYN_KV_CACHE_BLOCK_SIZE",
        low=1,
        high=4294967295,
        help="Tokens of a KV cache block.",
    )
    serve_indexer: bool = switch(
        False,
        "--serve-indexer",
        env="DYN_SERVE_INDEXER",
        status="pending",
        help="Serve this frontend's indexers to others.",
    )
    router_kv_overlap_score_credit: float = real(
        1.0,
        "--router-kv-overlap-score-credit",
        env="DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT",
        help="Credit for a prefix on the device. Deprecated.",
    )
    router_kv_overlap_score_credit_decay: float = real(
        0.0,
        "--router-kv-overlap-score-credit-decay",
        env="DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT_DECAY",
        help="How fast that credit fades with load. Deprecated.",
    )
    router_prefill_load_scale: float = real(
        1.0,
        "--router-prefill-load-scale",
        env="DYN_ROUTER_PREFILL_LOAD_SCALE",
        help="Weight of the prompt's load. Deprecated.",
    )
    router_decode_active_request_weight: float = real(
        0.0,
        "--router-decode-active-request-weight",
        env="DYN_ROUTER_DECODE_ACTIVE_REQUEST_WEIGHT",
        help="Blocks that an active request counts for. Deprecated.",
    )
    router_host_cache_hit_weight: float = real(
        0.75,
        "--router-host-cache-hit-weight",
        env="DYN_ROUTER_HOST_CACHE_HIT_WEIGHT",
        high=1.0,
        help="Credit for a prefix in host memory.",
    )
    router_disk_cache_hit_weight: float = real(
        0.25,
        "--router-disk-cache-hit-weight",
        env="DYN_ROUTER_DISK_CACHE_HIT_WEIGHT",
        high=1.0,
        help="Credit for a prefix on disk.",
    )
    router_temperature: float = real(
        0.0,
        "--router-temperature",
        env="DYN_ROUTER_TEMPERATURE",
        help="Randomness of the choice; 0 takes the best. Deprecated.",
    )
    router_kv_events: bool = switch(
        True,
        "--kv-events",
        "--router-kv-events",
        env="DYN_ROUTER_USE_KV_EVENTS",
        help="Learn cache contents from the workers' events.",
    )
    kv_index_mb: int = whole(
        512,
        "--kv-index-mb",
        env="DYN_FE_KV_INDEX_MB",
        low=16,
        high=1 << 20,
        help="Memory for what workers are known to hold, 64 bytes a block; full, the least recently stored goes.",
    )
    kv_decisions_mb: int = whole(
        64,
        "--kv-decisions-mb",
        env="DYN_FE_KV_DECISIONS_MB",
        low=1,
        high=1 << 20,
        help="Memory in which serving processes tell each other the decisions that stand in for KV events.",
    )
    router_replica_sync: bool = switch(
        False,
        "--router-replica-sync",
        env="DYN_ROUTER_REPLICA_SYNC",
        help="Share load between frontends.",
    )
    router_track_active_blocks: bool = switch(
        True,
        "--track-active-blocks",
        "--router-track-active-blocks",
        env="DYN_ROUTER_TRACK_ACTIVE_BLOCKS",
        help="Count the blocks of running requests.",
    )
    router_track_output_blocks: bool = switch(
        False,
        "--track-output-blocks",
        "--router-track-output-blocks",
        env="DYN_ROUTER_TRACK_OUTPUT_BLOCKS",
        help="Count the blocks of output as well.",
    )
    router_assume_kv_reuse: bool = switch(
        True,
        "--assume-kv-reuse",
        "--router-assume-kv-reuse",
        env="DYN_ROUTER_ASSUME_KV_REUSE",
        help="Expect equal prefixes to share blocks.",
    )
    router_track_prefill_tokens: bool = switch(
        True,
        "--router-track-prefill-tokens",
        env="DYN_ROUTER_TRACK_PREFILL_TOKENS",
        help="Count prompt tokens in work.",
    )
    router_tracking_hash: str = choice(
        "public-xxh3-v1",
        ("public-xxh3-v1", "keyed-xxh3-v1"),
        "--router-tracking-hash",
        env="DYN_ROUTER_TRACKING_HASH",
        help="Hash of the tracked sequences.",
    )
    router_tracking_key_file: str | None = optional_text(
        "--router-tracking-key-file",
        env="DYN_ROUTER_TRACKING_KEY_FILE",
        help="File with the 32 bytes of its key.",
    )
    router_tracking_key_id: str | None = optional_text(
        "--router-tracking-key-id", env="DYN_ROUTER_TRACKING_KEY_ID", help="Name of that key."
    )
    router_prefill_load_model: str = choice(
        "none",
        ("none", "ais"),
        "--router-prefill-load-model",
        env="DYN_ROUTER_PREFILL_LOAD_MODEL",
        status="pending",
        help="How the load of a prompt fades.",
    )
    router_ttl_secs: float = real(
        120.0,
        "--router-ttl-secs",
        env="DYN_ROUTER_TTL_SECS",
        help="Life of a block when there are no events.",
    )
    router_approximate_cache_policy: str = choice(
        "ttl",
        ("ttl", "lru"),
        "--router-approximate-cache-policy",
        env="DYN_ROUTER_APPROXIMATE_CACHE_POLICY",
        help="What is forgotten when there are no events.",
    )
    router_predicted_ttl_secs: float | None = optional_real(
        "--router-predicted-ttl-secs",
        env="DYN_ROUTER_PREDICTED_TTL_SECS",
        help="Life of a block predicted from a routing decision.",
    )
    router_queue_threshold: float | None = optional_real(
        "--router-queue-threshold",
        env="DYN_ROUTER_QUEUE_THRESHOLD",
        help="Share of a worker's batch above which requests wait. Deprecated.",
    )
    router_queue_policy: str = choice(
        "fcfs",
        ("fcfs", "wspt"),
        "--router-queue-policy",
        env="DYN_ROUTER_QUEUE_POLICY",
        help="Order of the waiting. Deprecated.",
    )
    router_policy_config: str | None = optional_text(
        "--router-policy-config",
        env="DYN_ROUTER_POLICY_CONFIG",
        help="YAML file of policies: costs and waiting lines; dynamo-fe man explains it.",
    )
    router_prefill_policy: str | None = optional_text(
        "--router-prefill-policy",
        env="DYN_ROUTER_PREFILL_POLICY",
        status="pending",
        help="Policy for prefill workers. Deprecated.",
    )
    router_decode_policy: str | None = optional_text(
        "--router-decode-policy",
        env="DYN_ROUTER_DECODE_POLICY",
        status="pending",
        help="Policy for decode workers. Deprecated.",
    )
    router_conditional_disagg: bool = switch(
        False,
        "--router-conditional-disagg",
        env="DYN_ROUTER_CONDITIONAL_DISAGG",
        status="pending",
        help="Let a decode worker do the prefill where that is better.",
    )
    router_conditional_disagg_config: str | None = optional_text(
        "--router-conditional-disagg-config",
        env="DYN_ROUTER_CONDITIONAL_DISAGG_CONFIG",
        status="pending",
        help="JSON of that policy.",
    )
    router_event_threads: int = whole(
        4, "--router-event-threads", env="DYN_ROUTER_EVENT_THREADS", status="pending", help="Threads of the indexer."
    )
    router_active_request_expiry_secs: float = real(
        300.0,
        env="DYN_ROUTER_ACTIVE_REQUEST_EXPIRY_SECS",
        help="Until a request of another frontend of which nothing is heard counts no more.",
    )
    use_remote_indexer: bool = switch(
        False,
        "--use-remote-indexer",
        env="DYN_USE_REMOTE_INDEXER",
        status="pending",
        help="Ask an indexer that the workers serve.",
    )
    enable_session_prefix_index: bool = switch(
        False,
        "--enable-session-prefix-index",
        env="DYN_ENABLE_SESSION_PREFIX_INDEX",
        status="pending",
        help="Remember the blocks of sessions.",
    )
    shared_cache_type: str = choice(
        "none",
        ("none", "hicache"),
        "--shared-cache-type",
        env="DYN_SHARED_CACHE_TYPE",
        status="pending",
        help="External cache that workers share.",
    )
    shared_cache_multiplier: float | None = optional_real(
        "--shared-cache-multiplier",
        env="DYN_SHARED_CACHE_MULTIPLIER",
        high=1.0,
        status="pending",
        help="Credit for a prefix in it. Deprecated.",
    )


@dataclass(frozen=True)
class SimulatorSettings:
    group: ClassVar[str] = "AISimulate (with --router-prefill-load-model ais)"

    ais_perf_config: str | None = optional_text(
        "--aic-perf-config",
        "--ais-perf-config",
        env="DYN_AIS_PERF_CONFIG",
        status="pending",
        help="Complete model as JSON, or a path of JSON or YAML.",
    )
    ais_backend: str | None = optional_text(
        "--aic-backend", "--ais-backend", env="DYN_AIS_BACKEND", status="pending", help="Engine."
    )
    ais_system: str | None = optional_text(
        "--aic-system", "--ais-system", env="DYN_AIS_SYSTEM", status="pending", help="Hardware."
    )
    ais_backend_version: str | None = optional_text(
        "--aic-backend-version",
        "--ais-backend-version",
        env="DYN_AIS_BACKEND_VERSION",
        status="pending",
        help="Version of the engine.",
    )
    ais_tp_size: int | None = optional_whole(
        "--aic-tp-size", "--ais-tp-size", env="DYN_AIS_TP_SIZE", status="pending", help="Tensor parallel size."
    )
    ais_model_path: str | None = optional_text(
        "--aic-model-path", "--ais-model-path", env="DYN_AIS_MODEL_PATH", status="pending", help="Model."
    )
    ais_moe_tp_size: int | None = optional_whole(
        "--aic-moe-tp-size",
        "--ais-moe-tp-size",
        env="DYN_AIS_MOE_TP_SIZE",
        status="pending",
        help="Tensor parallel size of experts.",
    )
    ais_moe_ep_size: int | None = optional_whole(
        "--aic-moe-ep-size",
        "--ais-moe-ep-size",
        env="DYN_AIS_MOE_EP_SIZE",
        status="pending",
        help="Expert parallel size.",
    )
    ais_attention_dp_size: int | None = optional_whole(
        "--aic-attention-dp-size",
        "--ais-attention-dp-size",
        env="DYN_AIS_ATTENTION_DP_SIZE",
        status="pending",
        help="Data parallel size of attention.",
    )
    ais_nextn: int | None = optional_whole(
        "--aic-nextn", "--ais-nextn", env="DYN_AIS_NEXTN", status="pending", help="Draft tokens."
    )
    ais_nextn_accept_rates: str | None = optional_text(
        "--aic-nextn-accept-rates",
        "--ais-nextn-accept-rates",
        env="DYN_AIS_NEXTN_ACCEPT_RATES",
        status="pending",
        help="Acceptance rates, with commas between them.",
    )
    ais_mtp_seed: int | None = optional_whole(
        "--aic-mtp-seed", "--ais-mtp-seed", env="DYN_AIS_MTP_SEED", status="pending", help="Seed."
    )
