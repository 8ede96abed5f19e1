"""Which model records this version can serve, and in what words it refuses the others."""

from __future__ import annotations

import msgspec

from dynamo_fe.models.checksum import mdc_sum
from dynamo_fe.protocol.card import ModelCard, ModelRecord

CARDS_PREFIX = "v1/mdc/"

AGGREGATED = "aggregated"

_SERVED_TYPES = frozenset({"Chat", "Completions", "TensorBased"})
_SERVED_INPUTS = frozenset({"Tokens", "Text", "Tensor"})
_LATER = "not supported yet by this version"

# What the engine says about itself and changes how requests are answered, though the card's checksum leaves it out.
_BEHAVIOUR = (
    "tool_call_parser",
    "reasoning_parser",
    "tool_call_arguments_format",
    "tokenizer_backend",
    "tokenizer_fallback_enabled",
    "structural_tag",
    "structural_tag_mode",
    "structural_tag_scope",
    "structural_tag_schema",
    "exclude_tools_when_tool_choice_none",
)


def card_key(record: ModelRecord) -> str:
    """The key that a record belongs under."""
    key = f"{CARDS_PREFIX}{record.namespace}/{record.component}/{record.endpoint}/{record.instance_id:x}"
    return f"{key}/{record.model_suffix}" if record.model_suffix else key


def refusal(record: ModelRecord) -> str | None:
    """Why a request to this model could not be served, or None."""
    card = record.card_json
    if card.worker_type not in (None, AGGREGATED):
        return f"worker type {card.worker_type!r} is {_LATER}"
    if card.model_input not in _SERVED_INPUTS:
        return f"model input {card.model_input!r} is {_LATER}"
    if not card.model_types() & _SERVED_TYPES:
        return f"model type {card.model_type!r} is {_LATER}"
    return None


def load_key(card: ModelCard) -> str:
    """Equal for cards that can share one loaded model: same files and limits, same input, same endpoints, same
    behaviour. What the model is called does not count, so that adapters share the tokenizer of their base.

    Raises:
        ValueError, TypeError, struct.error: the card has no checksum.
    """
    content = mdc_sum(msgspec.structs.replace(card, display_name="", source_path=None, aliases=None))
    config = card.runtime_config
    behaviour = [getattr(config, name) for name in _BEHAVIOUR]
    behaviour.append(config.runtime_data.get("default_thinking_mode"))
    types = "|".join(sorted(card.model_types()))
    return f"{content} {card.model_input} {types} {msgspec.json.encode(behaviour).decode()}"
