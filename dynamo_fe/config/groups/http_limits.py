"""What one client may cost: time it may be silent, bytes it may have in hand, origins it may come from."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.forms import WEB_ORIGIN
from dynamo_fe.config.setting import real, switch, whole, words


@dataclass(frozen=True)
class HttpLimitSettings:
    group: ClassVar[str] = "Limits of a client"

    http2: bool = switch(
        True, env="DYN_FE_HTTP2", help="Take HTTP/2 with prior knowledge beside HTTP/1.1 on the same port."
    )
    head_idle_timeout_secs: float = real(
        30.0,
        env="DYN_FE_HEAD_IDLE_TIMEOUT_SECS",
        low=0.1,
        help="Silence after which a connection with no or half a request head is closed.",
    )
    body_idle_timeout_secs: float = real(
        30.0,
        env="DYN_FE_BODY_IDLE_TIMEOUT_SECS",
        low=0.1,
        help="Silence in the middle of a request body after which it is answered with 408.",
    )
    keep_alive_timeout_secs: float = real(
        900.0,
        env="DYN_FE_KEEP_ALIVE_TIMEOUT_SECS",
        low=1.0,
        help="How long a connection may wait for its next request.",
    )
    stalled_reader_timeout_secs: float = real(
        120.0,
        env="DYN_FE_STALLED_READER_TIMEOUT_SECS",
        low=0.1,
        help="How long a client may take nothing of what waits for it before it is cut off.",
    )
    body_budget_mb: int = whole(
        256,
        env="DYN_FE_BODY_BUDGET_MB",
        low=1,
        high=1 << 20,
        help="Request bodies in hand at once, per worker, in MiB; beyond it large ones are refused with 503.",
    )
    body_values: int = whole(
        1_000_000,
        env="DYN_FE_BODY_VALUES",
        low=1000,
        help="Values (numbers, texts, objects) in one large request body; beyond it 413.",
    )
    cors_allow_origin: tuple[str, ...] = words(
        "--cors-allow-origin",
        env="DYN_FE_CORS_ALLOW_ORIGIN",
        form=WEB_ORIGIN,
        help="Origin that a browser may call from, or *. Repeatable.",
    )
