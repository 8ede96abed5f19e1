"""The memory of the prefix index: one writer in one process, readers in any process forked after it was made."""

from __future__ import annotations

import mmap
import os
import secrets
from typing import Final

from dynamo_fe._cext.prefix_index import Reader, Writer
from dynamo_fe.routing.kv_events.tally import TALLY_BYTES, Tally

# ranks of all workers of all models together
MAX_RANKS: Final = 2048
_LABEL_BITS: Final = 53


class IndexMemory:
    """`index_bytes` of index, given by the host as it fills, and the tally of events. `label` names it in metrics."""

    def __init__(self, index_bytes: int) -> None:
        """Raises OSError if the host has no such memory, ValueError if that is too small for any index."""
        self.index_bytes = index_bytes
        self.label = f"{secrets.randbits(_LABEL_BITS):x}"
        self._index = _memory("index", index_bytes)
        self._tally = _memory("tally", TALLY_BYTES)
        self.writer()

    def writer(self) -> Writer:
        """The one writer's hold on it. It begins empty: what the writer before it knew is gone."""
        return Writer(mmap.mmap(self._index, self.index_bytes), MAX_RANKS)

    def reader(self) -> Reader:
        """A reader's, which could not write."""
        return Reader(mmap.mmap(self._index, self.index_bytes, prot=mmap.PROT_READ))

    def tally(self) -> Tally:
        """The consumer's counters."""
        return Tally(mmap.mmap(self._tally, TALLY_BYTES))


def _memory(name: str, size_bytes: int) -> int:
    """A file of the kernel's memory, which children inherit."""
    handle = os.memfd_create(f"dynamo-fe-{name}", os.MFD_CLOEXEC)
    os.ftruncate(handle, size_bytes)
    return handle
