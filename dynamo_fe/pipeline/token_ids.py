"""Token ids that a client names must be of the model's vocabulary: some engines die of others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

_LISTS: Final = ("stop_token_ids", "allowed_token_ids", "logprob_token_ids", "bad_words_token_ids", "stop")


def check_prompt_ids(place: str, token_ids: list[int], vocab_size: int, param: str | None = None) -> None:
    """Raises Refusal for an id beyond the vocabulary in a prompt that is given as tokens, none of them negative.

    `place` is where the list stands in the request, `param` the field that it belongs to where that is another. The
    original's text, which is kept, names nothing: what is wrong stands in the detail.
    """
    if token_ids and max(token_ids) >= vocab_size:
        at, token_id = next((at, token_id) for at, token_id in enumerate(token_ids) if token_id >= vocab_size)
        detail = _said(f"{place}[{at}]", token_id, vocab_size)
        raise Refusal.invalid_argument(param=param or place, detail=detail)


def check_token_ids(request: ChatRequest | CompletionRequest, vocab_size: int) -> None:
    """Raises Refusal for an id outside the vocabulary in any field that holds token ids."""
    if request.everyday:
        return
    if request.nvext is not None and request.nvext.token_data:
        check_prompt_ids("nvext.token_data", request.nvext.token_data, vocab_size)
    for name in _LISTS:
        value = getattr(request, name)
        if isinstance(value, list):
            _check(name, name, value, vocab_size)
    for key in request.logit_bias or ():
        if key.isdecimal() and int(key) >= vocab_size:
            raise _refusal("logit_bias", "logit_bias", int(key), vocab_size)


def _check(name: str, place: str, ids: Iterable[Any], vocab_size: int) -> None:
    for at, token_id in enumerate(ids):
        if isinstance(token_id, list):
            _check(name, f"{place}[{at}]", token_id, vocab_size)
        elif isinstance(token_id, int) and not 0 <= token_id < vocab_size:
            raise _refusal(name, f"{place}[{at}]", token_id, vocab_size)


def _refusal(name: str, place: str, token_id: int, vocab_size: int) -> Refusal:
    return Refusal.invalid(f"Validation: {_said(place, token_id, vocab_size)}", param=name)


def _said(place: str, token_id: int, vocab_size: int) -> str:
    vocabulary = f"the model's vocabulary of {vocab_size} (0 to {vocab_size - 1})"
    return f"`{place}`: token id {token_id} is outside {vocabulary}"
