"""One line on a terminal that says how far it is; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from typing import Final

from dynamo_fe.cli.bench.tally import Tally

# back to the first column, the rest of the line erased
_ANEW: Final = "\r\x1b[K"


class Progress:
    """On stderr, when that is a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._began = time.monotonic()

    def begin(self) -> None:
        """The load begins now."""
        self._began = time.monotonic()

    def show(self, tally: Tally) -> None:
        secs = max(time.monotonic() - self._began, 1e-3)
        rate = tally.completion_tokens / secs
        counts = f"{tally.complete} complete, {tally.failed} failed, {tally.running} running"
        self.say(f"{secs:.1f} s: {counts}, {rate:.0f} tokens/s")

    def say(self, text: str) -> None:
        if self._shown:
            print(f"{_ANEW}{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        self.say("")
