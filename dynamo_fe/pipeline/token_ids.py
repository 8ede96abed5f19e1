"""Token ids that a client names must be of the model's vocabulary: some engines die of others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

_LISTS: Final = ("stop_token_ids", "allowed_token_ids", "logprob_token_ids", "bad_words_token_ids")


def check_token_ids(request: ChatRequest | CompletionRequest, vocab_size: int) -> None:
    """Raises Refusal for an id outside the vocabulary in any field that holds token ids."""
    if request.everyday:
        return
    for name in _LISTS:
        _check(name, getattr(request, name), vocab_size)
    if isinstance(request.stop, list):
        _check("stop", request.stop, vocab_size)
    if request.logit_bias:
        _check("logit_bias", (int(key) for key in request.logit_bias if key.isdecimal()), vocab_size)
    if request.nvext is not None and request.nvext.token_data:
        _check("nvext.token_data", request.nvext.token_data, vocab_size)


def _check(name: str, ids: Iterable[Any] | None, vocab_size: int) -> None:
    for token_id in ids or ():
        if isinstance(token_id, list):
            _check(name, token_id, vocab_size)
        elif isinstance(token_id, int) and not 0 <= token_id < vocab_size:
            text = f"`{name}`: token id {token_id} is outside the model's vocabulary of {vocab_size}"
            raise Refusal.invalid(f"Validation: {text}", param=name)
