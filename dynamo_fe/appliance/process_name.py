"""What ps, top and pgrep call a process (PR_SET_NAME of prctl(2))."""

import ctypes
from typing import Final

# From linux/prctl.h.
_PR_SET_NAME: Final = 15
_MOST_BYTES: Final = 15

NAME_PREFIX: Final = "fe "
MOCK_WORKER_NAME: Final = f"{NAME_PREFIX}mock worker"


def name_process(role: str) -> None:
    """Names this process by its role, as far as the kernel's 15 bytes go."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"{NAME_PREFIX}{role}".encode()[:_MOST_BYTES], 0, 0, 0)
