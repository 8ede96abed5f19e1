"""What an operator is told of a model card that is served all the same."""

from __future__ import annotations

from collections.abc import Callable

from dynamo_fe.cli.kv_shared import in_kv_mode
from dynamo_fe.config import Settings
from dynamo_fe.pipeline.parse_plan import unknown_parser
from dynamo_fe.protocol.card import ModelCard


def remarks(settings: Settings) -> Callable[[ModelCard], str | None]:
    """What of a card does not have its effect under these settings, None where all has."""
    wanted = settings.kv_cache_block_size if in_kv_mode(settings) else None

    def remark(card: ModelCard) -> str | None:
        own = card.kv_cache_block_size
        if wanted is not None and own != wanted:
            return f"its KV blocks have {own} tokens, --kv-cache-block-size says {wanted}"
        return unknown_parser(card)

    return remark
