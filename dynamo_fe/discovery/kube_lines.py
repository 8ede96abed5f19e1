"""The lines of a watch: one JSON object each, cut anywhere by the network. No I/O."""

from __future__ import annotations

from typing import Final

# An API server takes no object beyond 1.5 MB by default.
LINE_LIMIT_BYTES: Final = 16 << 20


class LineTooLong(Exception):
    """A line that does not end within the limit."""


class Lines:
    """Pieces in, whole lines out."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._rest = bytearray()

    def take(self, piece: bytes) -> list[bytes]:
        """The lines that the piece completes, without their ends; empty ones are left out. Raises `LineTooLong`."""
        if b"\n" not in piece:
            self._rest += piece
            if len(self._rest) > self._limit_bytes:
                raise LineTooLong(f"a line of the watch is longer than {self._limit_bytes >> 20} MB")
            return []
        self._rest += piece
        *whole, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        return [line for line in whole if line.strip()]

    @property
    def pending(self) -> bool:
        """Whether the last piece ended within a line."""
        return bool(self._rest.strip())
