"""fastokens encoders by the content of their file: compared one at a time, opened once, shared by all models."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from blake3 import blake3

from dynamo_fe.models.encoders import FastokensEncoder
from dynamo_fe.models.errors import CardError
from dynamo_fe.models.memory import release_free_memory
from dynamo_fe.models.selfcheck import Verdict, verify_in_child

_MOST_REMEMBERED: Final = 1024

_log = logging.getLogger("dynamo_fe.models")


class FastEncoders:
    """Three hundred models that come at once must not start three hundred comparisons, each seconds of a processor and
    hundreds of MB, nor keep three hundred encoders: the smallest takes 14 MB, one of 128k tokens 90 MB.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
        self._open: WeakValueDictionary[bytes, FastokensEncoder] = WeakValueDictionary()

    async def of(self, path: Path, verified: bool) -> FastokensEncoder | None:
        """The encoder of a tokenizer.json; None where fastokens refuses it or it cannot be read.

        `verified`: None also where it is not found equal to tokenizers. Waits for those that were asked before.
        """
        try:
            digest = await asyncio.to_thread(_digest, path)
        except OSError as failure:
            _log.info("%s cannot be read: %s", path, failure)
            return None
        async with self._one:
            if verified and not (await self._verdict(digest, path)).equal:
                return None
            encoder = self._open.get(digest)
            if encoder is None:
                encoder = await _open(path)
                if encoder is not None:
                    self._open[digest] = encoder
        return encoder

    async def _verdict(self, digest: bytes, path: Path) -> Verdict:
        verdict = self._verdicts.get(digest)
        if verdict is None:
            verdict = self._verdicts[digest] = await verify_in_child(path)
            if not verdict.equal:
                _log.info("tokenizers is used for %s: %s", path, verdict.detail)
        self._verdicts.move_to_end(digest)
        if len(self._verdicts) > _MOST_REMEMBERED:
            self._verdicts.popitem(last=False)
        return verdict


async def _open(path: Path) -> FastokensEncoder | None:
    try:
        fast = await asyncio.to_thread(FastokensEncoder, path)
    except CardError as refusal:
        _log.info("%s; tokenizers is used", refusal)
        return None
    await asyncio.to_thread(release_free_memory)
    return fast


def _digest(path: Path) -> bytes:
    return blake3(path.read_bytes()).digest()
