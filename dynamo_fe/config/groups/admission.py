"""What all requests together may take: time, and places in the lines they wait in."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.setting import real, whole


@dataclass(frozen=True)
class AdmissionSettings:
    group: ClassVar[str] = "Admission"

    request_timeout_secs: float = real(
        86400.0,
        env="DYN_FE_REQUEST_TIMEOUT_SECS",
        help="Whole life of a request: preparing, waiting, all tries and the whole answer; 0 means ever.",
    )
    max_requests: int = whole(
        8192, env="DYN_FE_MAX_REQUESTS", low=1, help="Inference requests in hand, per process; beyond it 503."
    )
    max_wait_secs: float = real(
        2.0,
        env="DYN_FE_MAX_WAIT_SECS",
        help="A worker that would take longer than this to begin with one more request gets no more of them, nor does "
        "the tokenizer; when none is left new requests are refused with 503. 0 turns it off.",
    )
    least_waiting: int = whole(
        8,
        env="DYN_FE_LEAST_WAITING",
        low=1,
        help="Requests that may wait for their first token on one worker however slow it is.",
    )
    capacity_factor: float = real(
        2.0,
        env="DYN_FE_CAPACITY_FACTOR",
        help="Requests on one worker as a multiple of those it says it can run at once (max_num_seqs); 0 turns it off.",
    )
