"""How a worker is chosen."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.setting import choice, optional_real, optional_whole, real, switch, whole


@dataclass(frozen=True)
class RouterSettings:
    group: ClassVar[str] = "Router"

    router_mode: str = choice(
        "round-robin",
        ("round-robin", "random", "power-of-two", "kv", "direct", "least-loaded", "device-aware-weighted"),
        "--router-mode",
        env="DYN_ROUTER_MODE",
        help="How a worker is chosen for a request.",
    )
    encoder_cuda_to_cpu_ratio: float = real(
        8.0,
        env="DYN_ENCODER_CUDA_TO_CPU_RATIO",
        low=0.001,
        help="Load of an accelerator worker for that of a CPU one, with --router-mode device-aware-weighted.",
    )
    router_min_initial_workers: int = whole(
        0,
        "--router-min-initial-workers",
        env="DYN_ROUTER_MIN_INITIAL_WORKERS",
        help="Workers a model needs before it is served for the first time.",
    )
    router_session_affinity_ttl_secs: int | None = optional_whole(
        "--router-session-affinity-ttl-secs",
        env="DYN_ROUTER_SESSION_AFFINITY_TTL_SECS",
        low=1,
        high=31536000,
        help="Keep a session on its worker until it was idle for so long.",
    )
    router_session_affinity_mode: str = choice(
        "hard",
        ("hard", "soft"),
        "--router-session-affinity-mode",
        env="DYN_ROUTER_SESSION_AFFINITY_MODE",
        help="Whether a session's worker is a must or a preference.",
    )
    active_decode_blocks_threshold: float | None = optional_real(
        "--active-decode-blocks-threshold",
        env="DYN_ACTIVE_DECODE_BLOCKS_THRESHOLD",
        high=1.0,
        help="Share of KV blocks in use above which a worker is busy; None turns it off.",
    )
    active_prefill_tokens_threshold: int | None = optional_whole(
        "--active-prefill-tokens-threshold",
        env="DYN_ACTIVE_PREFILL_TOKENS_THRESHOLD",
        help="Prompt tokens in work above which a worker is busy; None turns it off.",
    )
    active_prefill_tokens_threshold_frac: float | None = optional_real(
        "--active-prefill-tokens-threshold-frac",
        env="DYN_ACTIVE_PREFILL_TOKENS_THRESHOLD_FRAC",
        help="The same as a multiple of the worker's largest batch; None turns it off.",
    )
    enforce_disagg: bool = switch(
        False,
        "--enforce-disagg",
        env="DYN_ENFORCE_DISAGG",
        status="ignored-deprecated",
        help="Without effect, as in Dynamo 1.6.1.",
    )
