"""Why a choice fell as it did: every candidate with what it holds, what it has to do and what it costs."""

from __future__ import annotations

from typing import Any, Final

from dynamo_fe._cext.routing_score import Candidates
from dynamo_fe.routing.kv.ranks import RankLoads
from dynamo_fe.routing.kv.request import Ask

# the one that was chosen and the cheapest of a large pool; a header has to hold them
_MOST_CANDIDATES: Final = 32


def explain(loads: RankLoads, columns: Candidates, ask: Ask, slot: int) -> dict[str, Any]:
    """The explanation of the last choice, `slot`. Costs and loads are in blocks unless the name says tokens."""
    chosen = loads.at(slot)
    assert chosen is not None
    eligible = [rank for rank in loads if columns.eligible[rank.slot]]
    eligible.sort(key=lambda rank: (rank is not chosen, columns.cost[rank.slot], rank.key))
    listed = eligible[:_MOST_CANDIDATES]
    return {
        "worker_id": chosen.key[0],
        "dp_rank": chosen.key[1],
        "reason": _reason(loads, columns, ask, slot, len(eligible)),
        "prompt_tokens": ask.prompt_tokens,
        "candidates": [_candidate(columns, rank.key, rank.slot) for rank in listed],
        "candidates_left_out": len(eligible) - len(listed),
        "not_eligible": len([rank for rank in loads if not columns.eligible[rank.slot]]),
    }


def _candidate(columns: Candidates, key: tuple[int, int], slot: int) -> dict[str, Any]:
    terms = columns.terms(slot)
    return {
        "worker_id": key[0],
        "dp_rank": key[1],
        "overlap": {"device": columns.device[slot], "host": columns.host[slot], "disk": columns.disk[slot]},
        "cached_tokens": terms.cached_tokens,
        "active_prefill_tokens": columns.prefill_tokens[slot],
        "active_blocks": columns.active_blocks[slot],
        "active_requests": columns.active_requests[slot],
        "credit": round(terms.credit, 6),
        "prefill": round(terms.prefill, 6),
        "decode": round(terms.decode, 6),
        "taint_factor": round(terms.taint_factor, 6),
        "cost": round(terms.cost, 6),
    }


def _reason(loads: RankLoads, columns: Candidates, ask: Ask, slot: int, eligible: int) -> str:
    chosen = loads.at(slot)
    if ask.target is not None and chosen is not None:
        worker_id, dp_rank = ask.target
        if worker_id == chosen.key[0] and dp_rank in (None, chosen.key[1]):
            return ask.reason
    if eligible == 1:
        return "the only eligible rank"
    ties = columns.ties()
    if slot not in ties:
        return "drawn at random by the temperature, cheaper ranks more often"
    return "least cost" if len(ties) == 1 else f"least cost, drawn from {len(ties)} ranks that cost the same"
