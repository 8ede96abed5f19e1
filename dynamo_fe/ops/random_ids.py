"""Random UUIDs from a pool of the system's random bytes."""

from __future__ import annotations

import os
from typing import Final

_ID_BYTES: Final = 16
_POOL_IDS: Final = 256


class RandomIds:
    """Makes version 4 UUIDs as unpredictable as the system's own, a read of its random bytes for each 256.

    A read gives the interpreter's lock away, and getting it back from the server's threads costs about 15 µs.
    """

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def uuid4(self) -> str:
        """A UUID in its usual spelling, lower case."""
        at = self._at
        if at >= len(self._pool):
            self._pool = os.urandom(_ID_BYTES * _POOL_IDS).hex()
            at = 0
        self._at = at + 2 * _ID_BYTES
        digits = self._pool[at : self._at]
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
