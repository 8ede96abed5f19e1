"""Requests to send: prompts that begin differently, so that no prefix cache answers for the worker."""

from __future__ import annotations

import itertools
import random
from typing import Any, Final

import msgspec

_WORDS: Final = (
    "the time people way water day part place work year back little man world life long great show large house "
    "small end home read hand high point own story food"
).split()
# in front of each prompt; equal ones are as likely as equal random numbers of 30 bits
_UNLIKE_WORDS: Final = 6


class Prompts:
    """Bodies of chat requests of about `words` words."""

    def __init__(self, model: str, words: int, output_tokens: int, stream: bool) -> None:
        self._random = random.Random()
        self._tail = " ".join(itertools.islice(itertools.cycle(_WORDS), max(0, words - _UNLIKE_WORDS)))
        self._first_words = min(words, _UNLIKE_WORDS)
        self._rest: dict[str, Any] = {"model": model, "max_tokens": output_tokens, "ignore_eos": True}
        if stream:
            self._rest |= {"stream": True, "stream_options": {"include_usage": True}}

    def next(self) -> bytes:
        text = " ".join([*self._random.choices(_WORDS, k=self._first_words), self._tail])
        return msgspec.json.encode({"messages": [{"role": "user", "content": text}], **self._rest})
