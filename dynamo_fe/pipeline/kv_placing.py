"""From a job to what KV routing wants to know of it, and from its refusals to ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from dynamo_fe.models.worker_sets import WorkerSet
from dynamo_fe.pipeline.rank_pin import pinned
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.worker_request import TextRequest, WorkerRequest
from dynamo_fe.routing.kv.intent import Intent
from dynamo_fe.routing.kv.placement import Placement
from dynamo_fe.routing.kv.queue import QueueFull, Urgency
from dynamo_fe.routing.kv.ranks import RankId
from dynamo_fe.routing.kv.request import NoRank
from dynamo_fe.routing.kv.router import KvRouter

# begins the annotation of those who send the request themselves; what follows it says nothing here
_ASKS_PLACE = "query_instance_id:"
# the header x-dynamo-meta-policy-class, without the prefix of metadata
_POLICY_CLASS = "policy-class"


def has_blocks(body: WorkerRequest) -> bool:
    """Whether KV routing can look at the request: it has tokens, not text or embeddings."""
    return not isinstance(body, TextRequest) and body.prompt_embeds is UNSET


def asks_place(body: WorkerRequest) -> bool:
    """Whether the client wants to know no more than where KV routing would send the request."""
    return bool(body.annotations) and has_blocks(body) and any(map(_asks, body.annotations))


def _asks(annotation: str) -> bool:
    return annotation.startswith(_ASKS_PLACE)


def intent_of(
    body: WorkerRequest,
    request_id: str,
    metadata: Mapping[str, str] | None,
    banned: Callable[[], Collection[int]],
    explain: bool,
) -> Intent:
    """What the request says that matters to the choice."""
    shown = body.mm_routing_info
    token_ids = body.token_ids if shown is UNSET else shown.routing_token_ids
    intent = Intent(request_id, body.model, token_ids, banned=banned, explain=explain)
    if body.routing:
        _add_wishes(intent, body.routing)
    if body.agent_context is not UNSET:
        intent.session_id = body.agent_context.get("session_id")
    if metadata:
        intent.family = metadata.get(_POLICY_CLASS)
    return intent


def _add_wishes(intent: Intent, routing: Mapping[str, Any]) -> None:
    intent.lora_name = routing.get("lora_name")
    intent.cache_namespace = routing.get("cache_salt")
    intent.pinned = pinned(routing)
    intent.dp_rank = routing.get("dp_rank") if intent.pinned is not None else None
    intent.expected_output_tokens = routing.get("expected_output_tokens")
    constraints = routing.get("routing_constraints")
    if constraints:
        intent.required_taints = frozenset(constraints.get("required_taints", ()))
        intent.preferred_taints = constraints.get("preferred_taints", {})
    if "strict_priority" in routing or "priority_jump" in routing:
        intent.urgency = Urgency(routing.get("strict_priority", 0), routing.get("priority_jump", 0.0))


async def placed(router: KvRouter, entry: WorkerSet, intent: Intent) -> Placement:
    """The rank, booked. Raises Refusal."""
    try:
        return await router.place(entry, intent)
    except QueueFull as full:
        raise Refusal.queue_full(str(full), full.policy.name, full.limit, full.current, full.most) from full
    except NoRank as reason:
        raise _refusal(intent, reason) from reason


def named(router: KvRouter, entry: WorkerSet, intent: Intent) -> RankId:
    """The rank, not booked. Raises Refusal."""
    try:
        return router.named(entry, intent)
    except NoRank as reason:
        raise _refusal(intent, reason) from reason


def explained(router: KvRouter, entry: WorkerSet, intent: Intent) -> dict[str, Any]:
    """What `placed` would choose now, and why. Raises Refusal."""
    try:
        return router.explained(entry, intent)
    except NoRank as reason:
        raise _refusal(intent, reason) from reason


def routed(body: WorkerRequest, dp_rank: int) -> WorkerRequest:
    """The request as the chosen worker gets it."""
    copy: WorkerRequest = msgspec.structs.replace(body, routing={**body.routing, "dp_rank": dp_rank})
    return copy


def _refusal(intent: Intent, reason: NoRank) -> Refusal:
    if reason.overloaded:
        return Refusal.overloaded()
    text = str(reason)
    if intent.required_taints:
        bound = " that the request may go to" if intent.pinned is not None or intent.session_id is not None else ""
        text = f"{text}: no worker{bound} has the required taints {', '.join(sorted(intent.required_taints))}"
    return Refusal("Unavailable", "backend.unavailable", text)
