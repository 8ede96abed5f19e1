"""What the comparisons of tokenizer libraries found: one at a time, and each content once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Final

from blake3 import blake3

from dynamo_fe.models.selfcheck import Verdict, verify_in_child

_MOST_REMEMBERED: Final = 1024


class Verdicts:
    """Remembers verdicts by the file's checksum, so models that share a tokenizer share the comparison.

    A comparison is seconds of a processor and hundreds of MB: three hundred models that come at once must not start
    three hundred of them.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()

    async def of(self, path: Path) -> Verdict:
        """Whether fastokens equals tokenizers with this tokenizer.json; waits for those that were asked before."""
        try:
            digest = await asyncio.to_thread(_digest, path)
        except OSError as failure:
            return Verdict(False, f"{path} cannot be read: {failure}")
        async with self._one:
            verdict = self._known.get(digest)
            if verdict is None:
                verdict = self._known[digest] = await verify_in_child(path)
            self._known.move_to_end(digest)
            if len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        return verdict


def _digest(path: Path) -> bytes:
    return blake3(path.read_bytes()).digest()
