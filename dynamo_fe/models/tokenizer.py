"""A model's tokenizer as requests use it: text to ids, ids to text."""

from __future__ import annotations

import asyncio
import sys
import threading
from functools import partial

from dynamo_fe.models.beginnings import encode_within
from dynamo_fe.models.decoder import TokenDecoder
from dynamo_fe.models.encoders import Encoder
from dynamo_fe.models.errors import TooManyTokens
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.models.vocabulary import Vocabulary


class TextTokenizer:
    """Encodes with one library, decodes with a table or a library; the encoder may be replaced while it serves."""

    def __init__(self, encoder: Encoder, vocabulary: Vocabulary, pool: TokenizePool) -> None:
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._pool = pool
        self._warming: asyncio.Task[None] | None = None
        self._cold = encoder.warm_up_off_loop
        self._takeover: asyncio.Task[None] | None = None

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return self._vocabulary.size

    @property
    def library(self) -> str:
        """The library that encodes now: "tokenizers" or "fastokens"."""
        return self._encoder.library

    async def encode(
        self, text: str, add_special_tokens: bool = False, most_tokens: int = sys.maxsize
    ) -> list[int]:
        """The ids of `text`; tokens that the text spells out are recognised, none are added unless asked for.

        Short texts are encoded at once, long ones in the pool.

        Raises:
            RequestError: CapacityExhausted, too many texts wait for the pool.
            TooManyTokens: a long text has more than `most_tokens`.
        """
        encoder = self._encoder
        if _is_longer(text, self._pool.inline_bytes * encoder.inline_factor):
            least = self._vocabulary.least_tokens(text)
            if least > most_tokens:
                raise TooManyTokens(least, exact=False)
            encode = partial(encode_within, encoder, text, add_special_tokens, most_tokens)
            return await self._pool.run(encode, one_thread=encoder.caches_by_thread)
        if self._cold:
            await self._warm_up(encoder)
        return encoder.encode(text, add_special_tokens)

    def decoder(self, skip_special_tokens: bool, prompt_ids: list[int]) -> TokenDecoder:
        """An incremental decoder for one choice, primed with the prompt."""
        return self._vocabulary.decoder(skip_special_tokens, prompt_ids)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token, also of a part of a character; empty for an unknown id."""
        return self._vocabulary.token_bytes(token_id)

    def token_text(self, token_id: int) -> str:
        """The text of one token by itself; U+FFFD where it is a part of a character, "" for an unknown id."""
        return self._vocabulary.token_bytes(token_id).decode("utf-8", "replace")

    def is_special(self, token_id: int) -> bool:
        """Whether skipping special tokens drops this one."""
        return self._vocabulary.is_special(token_id)

    def use(self, encoder: Encoder) -> None:
        """Encode with another library from now on; encodings under way end with the old one."""
        self._encoder = encoder
        self._cold = encoder.warm_up_off_loop

    def await_takeover(self, takeover: asyncio.Task[None]) -> None:
        """Keep the task that may call `use` later; `close` ends it."""
        self._takeover = takeover

    async def settled(self) -> None:
        """Return when it is decided which library encodes from now on."""
        if self._takeover is not None:
            await asyncio.wait((self._takeover,))

    def close(self) -> None:
        """Give up a takeover under way. Idempotent; decoders and encodings in use come to their end."""
        if self._takeover is not None:
            self._takeover.cancel()

    async def _warm_up(self, encoder: Encoder) -> None:
        """Encode once off the loop, for all that wait.

        Done at the first request, not at the start: an idle server does without the 40 MB it takes.
        """
        if self._warming is None:
            self._warming = asyncio.create_task(asyncio.to_thread(_encode_once, encoder), name="tokenizer-warm-up")
            self._warming.add_done_callback(self._warmed)
        await asyncio.shield(self._warming)

    def _warmed(self, warming: asyncio.Task[None]) -> None:
        self._cold = False
        self._warming = None


def _encode_once(encoder: Encoder) -> None:
    """Encode in a thread that ends: its cache passes on to the next thread that encodes, which is the event loop's."""
    thread = threading.Thread(target=encoder.encode_off_loop, args=("warm up", False, sys.maxsize), daemon=True)
    thread.start()
    thread.join()


def _is_longer(text: str, limit_bytes: int) -> bool:
    """Whether the UTF-8 form is over the limit; counted only where the number of characters does not tell."""
    if text.isascii() or len(text) > limit_bytes:
        return len(text) > limit_bytes
    return 4 * len(text) > limit_bytes and len(text.encode("utf-8", "surrogatepass")) > limit_bytes
