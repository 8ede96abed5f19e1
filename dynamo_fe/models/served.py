"""A model that is ready to be served: all that its card names, opened and checked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamo_fe.models.pictures.families import PictureTokens
    from dynamo_fe.models.renderer import PromptRenderer
    from dynamo_fe.models.tokenizer import TextTokenizer
    from dynamo_fe.protocol.card import ModelCard


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """One model as requests use it.

    `template` is None when the model has none (completions and embeddings still work); `tokenizer` is None only when
    the worker takes text or tensors instead of tokens and names no tokenizer. `pictures` is None for a model of which
    it is not known what it makes of them.
    """

    name: str
    card: ModelCard
    mdc_sum: str
    context_length: int  # tokens; 0 = not known
    eos_token_ids: list[int]
    template: PromptRenderer | None
    tokenizer: TextTokenizer | None
    pictures: PictureTokens | None = None
    created_secs: int = field(default_factory=lambda: int(time.time()))  # since the epoch

    def close(self) -> None:
        """Let the tokenizer and its threads go. Idempotent."""
        if self.tokenizer is not None:
            self.tokenizer.close()
