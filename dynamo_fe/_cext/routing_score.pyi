"""The cost of sending a prompt to each rank, and the choice among them: all candidates in one call."""

from array import array
from typing import NamedTuple

from dynamo_fe._cext.prefix_index import Overlaps

class Terms(NamedTuple):
    """What a candidate's cost is made of; in blocks but for `cached_tokens`.

    `prefill` is the scaled rest of `raw_prefill` after the `credit` for cached blocks, `decode` what the rank would
    hold, `active_requests` their weight; the sum times `taint_factor` is the cost. When prefill tokens are not tracked
    the credit counts against `decode`.
    """

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
    """The parameters of the cost, under the names of the policy file; finite and not negative."""

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
        """The booked weights count for `cached_tokens` only (None: the same as for the credit): the shared settings
        give them, the policy of the selector the others. Raises ValueError that names the parameter.
        """

class Candidates:
    """The ranks of one worker set, one row each, in columns of fixed length that the caller writes in place.

    `slot`: of the prefix index, -1 none. `eligible`: 0 or 1. `taint_weight`: sum of the request's preferred taints that
    the worker has. `prefill_tokens`, `active_blocks`, `active_requests`: what is booked on the rank. `shared_prefix`:
    leading blocks of the prompt that are live on it. `shared_cache`: leading blocks in a cache that all ranks share.
    `device`, `host`, `disk`: blocks of the prompt that it holds. `choose` fills `cached_tokens`, those to be booked,
    and `cost`, infinite for a rank that is not eligible.
    """

    @property
    def rows(self) -> int: ...
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
    @property
    def most_cached_tokens(self) -> int:
        """The largest of `cached_tokens` among the eligible rows of the last choice; 0 when there were none."""
    def __init__(self, rows: int) -> None:
        """All eligible, all else 0, without slots."""
    def forget_prompt(self) -> None:
        """Makes `shared_prefix`, `device`, `host` and `disk` 0 everywhere."""
    def take_overlaps(self, overlaps: Overlaps) -> None:
        """Fills `device`, `host` and `disk` of every row from its slot; those of a row without one become 0."""
    def choose(self, weights: Weights, prompt_tokens: int, block_tokens: int, complete_blocks: int, draw: float) -> int:
        """The row to take, -1 when none is eligible.

        At temperature 0 one of the rows of least cost, all equally likely; above, likely by exp(-x / temperature), x
        being where the cost lies between the least (0) and the largest (1). `draw`, even in [0, 1), decides.
        Raises ValueError for a block size below 1, a negative count, a draw outside.
        """
    def ties(self) -> list[int]:
        """The rows of the last choice whose cost equals the least one (to 1e-9)."""
    def terms(self, row: int) -> Terms:
        """Of the last choice. Raises IndexError for no such row, or before any choice."""
