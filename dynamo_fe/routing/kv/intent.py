"""What the pipeline knows of a request when it asks for a rank, before any hashing."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dynamo_fe._cext.block_hash import PUBLIC_SEED, block_seed, local_hashes, sequence_hashes
from dynamo_fe.routing.kv.queue import Urgency
from dynamo_fe.routing.tracking_hash import TrackingKey, tracking_seeds

# the group of all pools of a frontend, whatever namespace their workers are in
_ROUTING_GROUP = "default"


class Hashes(NamedTuple):
    """Of the complete blocks of a prompt. `chain` is by the public key, `tracked` by that of the settings, and the same
    object where they have none.
    """

    local: array[int]
    chain: array[int]
    tracked: array[int]
    local_secs: float
    chain_secs: float


_NO_BLOCKS: Final = Hashes(array("Q"), array("Q"), array("Q"), 0.0, 0.0)


@dataclass(slots=True)
class Intent:
    """`pinned` is the worker the request names, `dp_rank` the rank of it. `session_id` is the conversation it belongs
    to, `family` the policy class or family it asks for. `banned` tells the workers left out at the moment.
    """

    request_id: str
    model: str
    token_ids: list[int]
    lora_name: str | None = None
    cache_namespace: str | None = None
    pinned: int | None = None
    dp_rank: int | None = None
    session_id: str | None = None
    expected_output_tokens: int | None = None
    required_taints: frozenset[str] = frozenset()
    preferred_taints: Mapping[str, float] = field(default_factory=dict)
    urgency: Urgency = Urgency()
    family: str | None = None
    banned: Callable[[], Collection[int]] = frozenset
    explain: bool = False

    def hashes(self, block_tokens: int, eagle: bool, key: TrackingKey | None) -> Hashes:
        """Hashes the prompt for a pool."""
        if len(self.token_ids) < block_tokens:
            return _NO_BLOCKS
        started = time.monotonic()
        seed = block_seed(self.lora_name, self.cache_namespace)
        local = local_hashes(self.token_ids, block_tokens, seed, eagle)
        hashed = time.monotonic()
        chain = sequence_hashes(local)
        tracked = chain
        if key is not None:
            own_seed, chain_seed = self.tracked_seeds(block_tokens, eagle, key)
            tracked = sequence_hashes(local_hashes(self.token_ids, block_tokens, own_seed, eagle), chain_seed)
        return Hashes(local, chain, tracked, hashed - started, time.monotonic() - hashed)

    def tracked_seeds(self, block_tokens: int, eagle: bool, key: TrackingKey | None) -> tuple[int, int]:
        """What blocks and their chain are hashed with in `Hashes.tracked`."""
        if key is None:
            return block_seed(self.lora_name, self.cache_namespace), PUBLIC_SEED
        return tracking_seeds(
            key,
            model_name=self.model,
            routing_group=_ROUTING_GROUP,
            block_tokens=block_tokens,
            cache_namespace=self.cache_namespace,
            lora_name=self.lora_name,
            eagle=eagle,
        )
