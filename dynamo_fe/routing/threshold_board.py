"""The busy thresholds that were changed while serving, in memory that all processes of a host inherit."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from typing import Final

# version (odd while it is being written), length in bytes; the text follows
_HEADER_WORDS: Final = 2
_WORD_BYTES: Final = 8
_HEADER_BYTES: Final = _HEADER_WORDS * _WORD_BYTES


class ThresholdBoard:
    """One short text, written by whichever process was asked. Made before the processes are forked."""

    def __init__(self, most_bytes: int = 1 << 20) -> None:
        self._file = os.memfd_create("busy-thresholds")
        os.ftruncate(self._file, _HEADER_BYTES + most_bytes)
        self._memory = mmap.mmap(self._file, _HEADER_BYTES + most_bytes)
        self._words = memoryview(self._memory)[:_HEADER_BYTES].cast("Q")
        self._most_bytes = most_bytes

    @property
    def version(self) -> int:
        """Another number after every change; a look at it costs a read of memory."""
        return self._words[0]

    def read(self) -> tuple[int, bytes] | None:
        """The version and its text; None while another process is writing."""
        version, length = self._words
        text = self._memory[_HEADER_BYTES : _HEADER_BYTES + length]
        return None if version % 2 or version != self._words[0] else (version, text)

    def change(self, edit: Callable[[bytes], bytes]) -> None:
        """Replaces the text by what `edit` makes of it; one process at a time. Raises ValueError: it is too long."""
        # of a process: one that is killed gives it back
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            version, length = self._words
            # odd: whoever wrote it was killed, and half a text is none
            text = edit(b"" if version % 2 else self._memory[_HEADER_BYTES : _HEADER_BYTES + length])
            if len(text) > self._most_bytes:
                raise ValueError(f"the busy thresholds of all models take more than {self._most_bytes} bytes")
            self._words[0] |= 1
            self._memory[_HEADER_BYTES : _HEADER_BYTES + len(text)] = text
            self._words[1] = len(text)
            self._words[0] += 1
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
