"""What a model's files say of pictures: how many tokens one becomes, and which token stands for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from dynamo_fe.models.errors import CardError
from dynamo_fe.models.pictures.families import Counter, PictureTokens, bos_of, counter_of, placeholder_of
from dynamo_fe.models.sources import Sources
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.protocol.card import ModelCard

_log = logging.getLogger("dynamo_fe.models")

_FILE: Final = "preprocessor_config.json"


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Tokens that files name by their text still have to be looked up."""

    counter: Counter
    placeholder: int | str | None
    bos: str | None

    async def tokens(self, tokenizer: TextTokenizer) -> PictureTokens:
        """The same, looked up."""
        placeholder = self.placeholder
        if isinstance(placeholder, str):
            placeholder = await _token_id(placeholder, tokenizer)
        bos_id = None if self.bos is None else await _token_id(self.bos, tokenizer)
        return PictureTokens(self.counter, placeholder, bos_id)


def read_picture_files(
    card: ModelCard, sources: Sources, config: dict[str, Any], tokenizer_config: dict[str, Any]
) -> PictureFiles | None:
    """None for a model that takes no pictures, or of a family that is not known. Blocks on the disk."""
    if card.model_info is None or card.model_info.hf_config_json is None:
        return None
    named, beside = card.picture_file(), card.model_info.hf_config_json
    model_id, model_type = card.source_path or card.display_name, config.get("model_type")
    try:
        path = sources.local(beside).with_name(_FILE) if named is None else sources.local(named)
        counter = counter_of(model_id, model_type if isinstance(model_type, str) else "", path.read_bytes())
    except FileNotFoundError:
        return None
    except (CardError, OSError, ValueError) as error:
        _log.warning("model %s: requests are routed without regard to pictures: %s", card.display_name, error)
        return None
    if counter is None:
        return None
    return PictureFiles(counter, placeholder_of(model_id, config), bos_of(tokenizer_config))


async def _token_id(text: str, tokenizer: TextTokenizer) -> int | None:
    """None where the text is not one token."""
    token_ids = await tokenizer.encode(text)
    return token_ids[0] if len(token_ids) == 1 else None
