"""What cext/routing_score.pyx does, in plain Python: the cost of a rank, the set of cheapest ranks, the choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TIE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Weights:
    overlap_score_credit: float = 1.0
    overlap_score_credit_decay: float = 0.0
    prefill_load_scale: float = 1.0
    decode_active_request_weight: float = 0.0
    host_cache_hit_weight: float = 0.75
    disk_cache_hit_weight: float = 0.25
    booked_host_cache_hit_weight: float | None = None
    booked_disk_cache_hit_weight: float | None = None
    shared_cache_multiplier: float = 0.0
    temperature: float = 0.0
    track_prefill_tokens: bool = True
    track_active_blocks: bool = True


@dataclass(frozen=True)
class Row:
    """One rank: what it holds of the prompt, in blocks, and what runs on it."""

    device: int = 0
    host: int = 0
    disk: int = 0
    shared_cache: int = 0
    prefill_tokens: int = 0
    active_blocks: float = 0.0
    active_requests: int = 0
    shared_prefix: int = 0
    taint_weight: float = 0.0
    eligible: bool = True


def cached_tokens(row: Row, weights: Weights, block_tokens: int) -> int:
    """Tokens of the prompt that need no prefill, by the booked weights; rounded to nearest, halves up."""
    host = weights.booked_host_cache_hit_weight
    disk = weights.booked_disk_cache_hit_weight
    host = weights.host_cache_hit_weight if host is None else host
    disk = weights.disk_cache_hit_weight if disk is None else disk
    return math.floor((row.device + host * row.host + disk * row.disk) * block_tokens + 0.5)


def cost(
    row: Row, weights: Weights, least_prefill: int, prompt_tokens: int, block_tokens: int, complete_blocks: int
) -> float:
    """`least_prefill` is the least number of prefill tokens booked on an eligible rank."""
    cached = cached_tokens(row, weights, block_tokens)
    raw, decay = 0.0, 1.0
    if weights.track_prefill_tokens:
        raw = (row.prefill_tokens + max(0, prompt_tokens - cached) + cached) / block_tokens
        request_blocks = max(1, math.ceil(prompt_tokens / block_tokens))
        more = (row.prefill_tokens - least_prefill) / block_tokens
        decay = 1 / (1 + weights.overlap_score_credit_decay * more / request_blocks)
    credit = 0.0
    if weights.overlap_score_credit:
        credit = weights.overlap_score_credit * decay * row.device
        credit += weights.host_cache_hit_weight * row.host + weights.disk_cache_hit_weight * row.disk
        credit += weights.shared_cache_multiplier * max(0, row.shared_cache - row.device)
    decode = 0.0
    if weights.track_active_blocks:
        decode = row.active_blocks + complete_blocks - row.shared_prefix
    if weights.track_prefill_tokens:
        total = weights.prefill_load_scale * max(0.0, raw - credit) + decode
    else:
        total = max(0.0, decode - credit)
    total += weights.decode_active_request_weight * row.active_requests
    return total * math.exp(-math.tanh(row.taint_weight))


def costs(
    rows: Sequence[Row], weights: Weights, prompt_tokens: int, block_tokens: int, complete_blocks: int
) -> list[float]:
    """Of every row; infinite for a rank that is not eligible."""
    least = min((row.prefill_tokens for row in rows if row.eligible), default=0)
    return [
        cost(row, weights, least, prompt_tokens, block_tokens, complete_blocks) if row.eligible else math.inf
        for row in rows
    ]


def ties(values: Sequence[float]) -> list[int]:
    """The rows whose cost equals the least one."""
    least = min(values, default=math.inf)
    if least == math.inf:
        return []
    return [row for row, value in enumerate(values) if value <= least + TIE_TOLERANCE * max(1.0, abs(least))]


def probabilities(values: Sequence[float], temperature: float) -> list[float]:
    """With what probability each row is taken."""
    least = ties(values)
    if not least:
        return [0.0 for _ in values]
    finite = [value for value in values if value < math.inf]
    spread = max(finite) - min(finite)
    if not temperature:
        return [1 / len(least) if row in least else 0.0 for row in range(len(values))]
    if not spread:
        return [1 / len(finite) if value < math.inf else 0.0 for value in values]
    weights = [math.exp(-((value - min(finite)) / spread) / temperature) for value in values]
    return [weight / sum(weights) for weight in weights]


def choose(chances: Sequence[float], draw: float) -> int:
    """The row in which `draw` falls when the chances are laid end to end; -1 without any."""
    at = 0.0
    chosen = -1
    for row, chance in enumerate(chances):
        if chance > 0.0:
            chosen = row
            at += chance
            if draw < at:
                break
    return chosen
