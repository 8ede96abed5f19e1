from array import array
from typing import NamedTuple

from dynamo_fe._cext.prefix_index import Overlaps

class Terms(NamedTuple):
    """What a candidate's cost is made of, in blocks."""

    cached_tokens: int
    raw_prefill: float
    decay: float
    credit: float
    prefill: float
    decode: float
    active_requests: float
    taint_factor: float
    cost: float

class Weights:
    """The parameters of the cost; all of them finite and not negative."""

    def __init__(
        self,
        *,
        overlap_score_credit: float = 1.0,
        overlap_score_credit_decay: float = 0.0,
        prefill_load_scale: float = 1.0,
        decode_active_request_weight: float = 0.0,
        host_cache_hit_weight: float = 0.75,
        disk_cache_hit_weight: float = 0.25,
        booked_host_cache_hit_weight: float | None = None,
        booked_disk_cache_hit_weight: float | None = None,
        shared_cache_multiplier: float = 0.0,
        temperature: float = 0.0,
        track_prefill_tokens: bool = True,
        track_active_blocks: bool = True,
    ) -> None:
        """The booked weights count for `cached_tokens` only; None: as the others. Raises ValueError with the name."""

class Candidates:
    """The ranks of one worker set, one row each, in columns that the caller fills. Made once for a set of ranks."""

    rows: int
    slot: array[int]
    eligible: array[int]
    taint_weight: array[float]
    prefill_tokens: array[int]
    active_blocks: array[float]
    active_requests: array[int]
    shared_prefix: array[int]
    shared_cache: array[int]
    device: array[int]
    host: array[int]
    disk: array[int]
    cached_tokens: array[int]
    cost: array[float]
    def __init__(self, rows: int) -> None: ...
    def take_overlaps(self, overlaps: Overlaps) -> None:
        """Fills device, host and disk of every row from its slot; a row with slot -1 has none."""
    def choose(self, weights: Weights, prompt_tokens: int, block_tokens: int, complete_blocks: int, draw: float) -> int:
        """The row to take, -1 when none is eligible. `draw` in [0, 1) decides ties and the sampling."""
    def ties(self) -> list[int]:
        """The rows of the last choice whose cost equals the least one."""
    def terms(self, row: int) -> Terms:
        """Of the last choice."""
