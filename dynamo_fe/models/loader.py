"""From a model card to a model that can be served."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamo_fe.models.checksum import mdc_sum
from dynamo_fe.models.errors import CardError
from dynamo_fe.models.fast_encoders import FastEncoders
from dynamo_fe.models.file_cache import FileCache
from dynamo_fe.models.native.by_type import native_renderer
from dynamo_fe.models.pictures.files import PictureFiles, read_picture_files
from dynamo_fe.models.renderer import PromptRenderer
from dynamo_fe.models.served import ServedModel
from dynamo_fe.models.sources import Sources, gather_files
from dynamo_fe.models.template import ChatTemplate, named_templates, special_tokens
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.models.tokenizer_loading import load_tokenizer
from dynamo_fe.protocol.card import FileRef, ModelCard

__all__ = ["CardError", "eos_token_ids", "load_model"]

_log = logging.getLogger("dynamo_fe.models")


@dataclass(frozen=True, slots=True)
class _Files:
    """What the card's files hold; the tokenizer's is opened later, by its path."""

    eos_token_ids: list[int]
    template: PromptRenderer | None
    tokenizer: Path | None
    pictures: PictureFiles | None = None


async def load_model(
    card: ModelCard,
    *,
    pool: TokenizePool,
    fast_encoders: FastEncoders,
    tokenizer_mode: str = "auto",
    model_path: Path | None = None,
    cache: FileCache | None = None,
    busy: bool = False,
) -> ServedModel:
    """Open and check all that a card names; nothing of a worker that takes text, which needs none of it here.

    `model_path`: where the operator keeps copies of the files; `cache`: for files named by a URL, None refuses them;
    `busy`: the process serves other models already, so the event loop must not be held up.

    Raises:
        CardError: the card cannot be served, with the reason.
    """
    try:
        checksum = mdc_sum(card)
    except ValueError as failure:
        raise CardError(str(failure)) from failure
    files = _Files([], None, None)
    if card.model_input == "Tokens":
        sources = await gather_files(card, model_path, cache)
        files = await asyncio.to_thread(_read_files, card, sources)
    if files.template is not None and files.template.fault:
        _log.warning("model %s: its chat template cannot be used: %s", card.display_name, files.template.fault)
    tokenizer = None
    if files.tokenizer is not None:
        tokenizer = await load_tokenizer(files.tokenizer, tokenizer_mode, pool, fast_encoders, busy)
    pictures = None
    if files.pictures is not None and tokenizer is not None:
        pictures = await files.pictures.tokens(tokenizer)
    return ServedModel(
        name=card.display_name,
        card=card,
        mdc_sum=checksum,
        context_length=card.effective_context_length(),
        eos_token_ids=files.eos_token_ids,
        template=files.template,
        tokenizer=tokenizer,
        pictures=pictures,
    )


def _read_files(card: ModelCard, sources: Sources) -> _Files:
    """Everything that is quick to read. Blocks on the disk."""
    config = _json_of(card.model_info.hf_config_json if card.model_info else None, sources)
    generation = _json_of(card.gen_config.hf_generation_config_json if card.gen_config else None, sources)
    formatter = card.prompt_formatter.hf_tokenizer_config_json if card.prompt_formatter else None
    tokenizer_config = _json_of(formatter, sources)
    return _Files(
        eos_token_ids=eos_token_ids(generation, config),
        template=_read_template(card, config, tokenizer_config, sources),
        tokenizer=_find_tokenizer(card, sources),
        pictures=read_picture_files(card, sources, config, tokenizer_config),
    )


def _find_tokenizer(card: ModelCard, sources: Sources) -> Path:
    if card.tokenizer is not None and card.tokenizer.hf_tokenizer_json is not None:
        return sources.local(card.tokenizer.hf_tokenizer_json)
    if card.tokenizer is not None and card.tokenizer.tik_token_model is not None:
        raise CardError("tiktoken models are not supported; the worker needs a tokenizer.json")
    raise CardError("the card names no tokenizer, and its worker takes tokens")


def _read_template(
    card: ModelCard, config: dict[str, Any], tokenizer_config: dict[str, Any], sources: Sources
) -> PromptRenderer | None:
    """A template that the operator named comes first, then the family's own renderer, then the model's template."""
    native = None if _is_custom(card) else native_renderer(config)
    if native is not None:
        return native
    templates = _separate_template(card, sources) or named_templates(tokenizer_config.get("chat_template"))
    return ChatTemplate(templates, special_tokens(tokenizer_config)) if templates else None


def _is_custom(card: ModelCard) -> bool:
    named = card.chat_template_file
    return named is not None and any(
        artifact is not None and artifact.is_custom
        for artifact in (named.hf_chat_template, named.hf_chat_template_json)
    )


def _separate_template(card: ModelCard, sources: Sources) -> dict[str, str]:
    ref = card.chat_template_file.ref() if card.chat_template_file else None
    if ref is None:
        return {}
    path = sources.local(ref)
    if path.suffix == ".json":
        return named_templates(_parse_json(path).get("chat_template"))
    return named_templates(_read_text(path))


def eos_token_ids(generation_config: dict[str, Any], config: dict[str, Any]) -> list[int]:
    """The ids that end a text: those of generation_config.json, then those of config.json not among them."""
    own = config.get("eos_token_id")
    if own is None and isinstance(config.get("text_config"), dict):
        own = config["text_config"].get("eos_token_id")
    found = [*_ids(generation_config.get("eos_token_id")), *_ids(own)]
    return list(dict.fromkeys(found))


def _ids(value: Any) -> list[int]:
    listed = value if isinstance(value, list) else [value]
    return [entry for entry in listed if type(entry) is int and entry >= 0]


def _json_of(ref: FileRef | None, sources: Sources) -> dict[str, Any]:
    return {} if ref is None else _parse_json(sources.local(ref))


def _parse_json(path: Path) -> dict[str, Any]:
    try:
        # not the stricter parsers: some models' files hold NaN and Infinity
        parsed = json.loads(_read_text(path))
    except (ValueError, RecursionError) as failure:
        raise CardError(f"{path} is not JSON: {failure}") from failure
    if not isinstance(parsed, dict):
        raise CardError(f"{path} is not a JSON object")
    return parsed


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as failure:
        raise CardError(f"{path} cannot be read: {failure}") from failure
