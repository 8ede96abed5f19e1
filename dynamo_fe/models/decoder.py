"""Incremental decoding of one choice: token ids in, text that is complete out."""

from __future__ import annotations

from typing import Final, Protocol

from tokenizers import Tokenizer

MOST_TOKENS_A_CHARACTER: Final = 4

_REPLACEMENT: Final = "\ufffd"
# a character has at most four bytes; more undecided tokens than this are not the beginning of one
_MOST_HELD_TOKENS: Final = 8
_PROMPT_CONTEXT_TOKENS: Final = 16
_MOST_INVISIBLE_TOKENS: Final = 64


class TokenDecoder(Protocol):
    """Text of one choice. Texts returned by `push` and the final `flush`, joined, are the text of all ids."""

    def push(self, ids: list[int], /) -> str:
        """The text that is complete now, "" if none; an unfinished UTF-8 sequence is held back."""

    def flush(self) -> str:
        """What was held back."""


class UnfinishedPromptDecoder:
    """Decoding behind a prompt whose last character lacks bytes: that character is the prompt's, however it ends."""

    def __init__(self, decoder: TokenDecoder) -> None:
        """`decoder` holds the prompt's bytes back."""
        self._decoder = decoder
        self._in_prompt = True

    def push(self, ids: list[int], /) -> str:
        return self._without_prompt(self._decoder.push(ids))

    def flush(self) -> str:
        return self._without_prompt(self._decoder.flush())

    def _without_prompt(self, text: str) -> str:
        if self._in_prompt and text:
            self._in_prompt = False
            return text[1:]
        return text


class LibraryDecoder:
    """Decoding through the Hugging Face library, for families whose tokens depend on their neighbours.

    New tokens are decoded together with the ones last given out, and the text of those is cut off again: so blanks,
    prefixes and byte runs come out as in the middle of a text. The prompt's last tokens are the first neighbours.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool, prompt_ids: list[int]) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special_tokens
        self._held: list[int] = []
        self._context, self._context_text = self._visible_end(prompt_ids)

    def push(self, ids: list[int], /) -> str:
        self._held += ids
        text = self._text_of_held()
        return self._give_decided(text) if text.endswith(_REPLACEMENT) else self._give(text)

    def flush(self) -> str:
        return self._give(self._text_of_held()) if self._held else ""

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=self._skip_special)
        return text

    def _text_of_held(self) -> str:
        """The text of the held tokens behind their context."""
        text = self._decode(self._context + self._held)
        if text.startswith(self._context_text):
            return text[len(self._context_text) :]
        # the held bytes made the context's unreadable, which is given out already
        return self._decode(self._held)

    def _give_decided(self, text: str) -> str:
        """Lets out what stands before the last tokens, as many of them as may still become a character."""
        held = self._held
        for undecided in range(1, min(len(held), _MOST_HELD_TOKENS) + 1):
            self._held = held[:-undecided]
            if not self._held:
                self._held = held
                return ""
            before = self._text_of_held()
            if not before.endswith(_REPLACEMENT):
                given = self._give(before)
                self._held = held[-undecided:]
                return given
        self._held = held
        return self._give(text)

    def _give(self, text: str) -> str:
        """Let `text` go out: its tokens are the next ones' neighbours."""
        ids = self._held
        if not self._decode(ids) and len(self._context) < _MOST_INVISIBLE_TOKENS:
            # tokens that show nothing by themselves (a lone blank) still stand between their neighbours
            ids = self._context + ids
        context_text = self._decode(ids)
        if context_text or not self._context_text:
            self._context, self._context_text = ids, context_text
        self._held = []
        return text

    def _visible_end(self, prompt_ids: list[int]) -> tuple[list[int], str]:
        """The shortest run of tokens at the prompt's end (of doubling length) that has any text."""
        count = _PROMPT_CONTEXT_TOKENS
        while True:
            ids = prompt_ids[-count:]
            text = self._decode(ids)
            if text or count >= len(prompt_ids):
                return ids, text
            count *= 2
