"""Opening a tokenizer.json in the order that suits the process: quick to serve, or gentle to what is served already.

* ``default``: tokenizers alone. ``fastokens``: fastokens, tokenizers where it refuses.
* ``auto`` in a process that serves nothing yet: tokenizers at once (0.25 s); fastokens follows in the background and
  takes over when a child process has found the two equal.
* ``auto`` in a process that serves: no tokenizers object is made here of a large file unless it must be, for that keeps
  the GIL for the whole of its loading (35 ms a MB of tokenizer.json). fastokens keeps it for 12 ms a MB.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from dynamo_fe.models.encoders import Encoder, FastokensEncoder, load_hugging_face
from dynamo_fe.models.fast_encoders import FastEncoders
from dynamo_fe.models.memory import release_free_memory
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.models.vocabulary import LibraryVocabulary, read_vocabulary

MODE_DEFAULT: Final = "default"
MODE_FASTOKENS: Final = "fastokens"
# loads in 20 ms, which nobody who is served notices
_SMALL_BYTES: Final = 512 * 1024

_log = logging.getLogger("dynamo_fe.models")


async def load_tokenizer(
    path: Path, mode: str, pool: TokenizePool, fast_encoders: FastEncoders, busy: bool
) -> TextTokenizer:
    """Open a tokenizer.json.

    `mode`: "default", "fastokens"; any other is "auto". `busy`: the process serves other models already.
    `fast_encoders`: those of the whole process.

    Raises:
        CardError: the file cannot be used.
    """
    by_table = await asyncio.to_thread(read_vocabulary, path)
    gentle = busy and path.stat().st_size > _SMALL_BYTES
    fast: FastokensEncoder | None = None
    if mode == MODE_FASTOKENS:
        fast = await fast_encoders.of(path, verified=False)
    elif mode != MODE_DEFAULT and gentle:
        fast = await fast_encoders.of(path, verified=True)
    if fast is not None and by_table is not None:
        return TextTokenizer(fast, by_table, pool)
    reference = await asyncio.to_thread(load_hugging_face, path)
    await asyncio.to_thread(release_free_memory)
    tokenizer = TextTokenizer(fast or reference, by_table or LibraryVocabulary(reference.tokenizer), pool)
    if mode not in (MODE_DEFAULT, MODE_FASTOKENS) and not gentle:
        takeover = _take_over(tokenizer, path, fast_encoders)
        tokenizer.await_takeover(asyncio.create_task(takeover, name=f"tokenizer-takeover {path}"))
    return tokenizer


async def _take_over(tokenizer: TextTokenizer, path: Path, fast_encoders: FastEncoders) -> None:
    """Replace the encoder by fastokens if that is right, and give back what the old one held."""
    fast: Encoder | None = await fast_encoders.of(path, verified=True)
    if fast is None:
        return
    tokenizer.use(fast)
    await asyncio.to_thread(release_free_memory)
    _log.info("fastokens encodes for %s from now on", path)
