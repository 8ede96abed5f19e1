"""Text to token ids: the two libraries that can, behind the same verbs.

Measured with a 128k byte-level BPE (6.4 MB tokenizer.json), unseen text: tokenizers 0.3 Mtok/s, fastokens 16 Mtok/s.
Loading: tokenizers 0.22 s with the GIL held throughout; fastokens 0.7 s, of which 0.08 s (the JSON) with the GIL.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from dynamo_fe.models.errors import CardError, TooManyTokens


class Encoder(Protocol):
    """Turns text into token ids."""

    library: str  # for logs and diagnostics
    inline_factor: int  # how many times longer a text may be than with tokenizers to be encoded on the event loop
    warm_up_off_loop: bool  # the first encoding is slow and must not happen on the event loop
    caches_by_thread: bool  # every thread that encodes keeps a large cache

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """On the event loop: for texts that take well under a millisecond."""

    def encode_off_loop(self, text: str, add_special_tokens: bool, most_tokens: int) -> list[int]:
        """In a thread: releases the GIL while it works.

        Raises TooManyTokens if there are more than `most_tokens`, before a number is made of any: ten million take the
        GIL for half a second.
        """

    def count_off_loop(self, text: str) -> int:
        """How many tokens a text has, special ones aside; as `encode_off_loop`, but no ids are made."""


class HuggingFaceEncoder:
    """The `tokenizers` library."""

    library = "tokenizers"
    inline_factor = 1
    warm_up_off_loop = False
    caches_by_thread = False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return self.encode_off_loop(text, add_special_tokens, sys.maxsize)

    def encode_off_loop(self, text: str, add_special_tokens: bool, most_tokens: int) -> list[int]:
        # not `encode`: that one keeps the GIL
        (encoding,) = self.tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return _ids_of(encoding, most_tokens)

    def count_off_loop(self, text: str) -> int:
        return len(self.tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])


class FastokensEncoder:
    """The `fastokens` library."""

    library = "fastokens"
    inline_factor = 32  # 64 kB: about 1 ms of text never seen, 0.1 ms of common words
    caches_by_thread = True  # 37 MB
    warm_up_off_loop = True  # 60 to 120 ms: it builds tables and, in every thread that encodes, a cache

    def __init__(self, path: Path) -> None:
        """Blocks on the disk and the processor: call it in a thread.

        Raises:
            CardError: the library refuses the file (unigram and wordpiece models, some normalizers).
        """
        # Its own threads halve the time of a 100,000-token text and cost 37 MB of cache each; our pool is enough.
        os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
        try:
            from fastokens import Tokenizer as FastTokenizer

            self._tokenizer = FastTokenizer.from_file(str(path))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # a panic of the library is no Exception
            raise CardError(f"fastokens refuses {path}: {failure}") from failure

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens).ids
        return ids

    def encode_off_loop(self, text: str, add_special_tokens: bool, most_tokens: int) -> list[int]:
        # a short text keeps the GIL in `encode`, never in `encode_batch`
        return _ids_of(self._tokenizer.encode_batch([text], add_special_tokens)[0], most_tokens)

    def count_off_loop(self, text: str) -> int:
        return len(self._tokenizer.encode_batch([text], False)[0])


def load_hugging_face(path: Path) -> HuggingFaceEncoder:
    """Open a tokenizer.json with `tokenizers`. Holds the GIL throughout.

    Raises:
        CardError: the library refuses the file.
    """
    try:
        return HuggingFaceEncoder(Tokenizer.from_file(str(path)))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as failure:  # the library raises bare Exception, and panics
        raise CardError(f"{path} is not a tokenizer that can be read: {failure}") from failure


def _ids_of(encoding: Any, most_tokens: int) -> list[int]:
    if len(encoding) > most_tokens:
        raise TooManyTokens(len(encoding), exact=True)
    ids: list[int] = encoding.ids
    return ids
