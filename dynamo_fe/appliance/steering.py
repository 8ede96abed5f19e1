"""Which of the listening sockets on one port new connections go to: SO_REUSEPORT with a filter, socket(7).

Without one the kernel spreads them by a hash over all sockets, also over that of a process that has died or is still
starting: there they wait for it, half of all of them where two serve.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

# from asm-generic/socket.h
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_SO_DETACH_REUSEPORT_BPF: Final = 68
# from linux/filter.h and linux/bpf_common.h
_LOAD_WORD: Final = 0x20
_MODULO: Final = 0x94
_SKIP_UNLESS_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_RANDOM_WORD: Final = (-0x1000 + 56) & 0xFFFFFFFF
_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")


def steer(listener: socket.socket, wanted: Sequence[int], count: int) -> None:
    """Has new connections go to the sockets `wanted` alone, by their order of listening among the `count` of their
    port, of which `listener` is one; all are the default. Where the kernel cannot, nothing changes.
    """
    with contextlib.suppress(OSError):
        if not wanted or len(wanted) == count:
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
            return
        code = b"".join(_one_of(wanted))
        buffer = ctypes.create_string_buffer(code)
        program = _PROGRAM.pack(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)


def _one_of(indexes: Sequence[int]) -> list[bytes]:
    """Instructions that return any of the indexes."""
    pack = _INSTRUCTION.pack
    code = [pack(_LOAD_WORD, 0, 0, _RANDOM_WORD), pack(_MODULO, 0, 0, len(indexes))]
    for turn, index in enumerate(indexes[:-1]):
        code += [pack(_SKIP_UNLESS_EQUAL, 0, 1, turn), pack(_RETURN, 0, 0, index)]
    return [*code, pack(_RETURN, 0, 0, indexes[-1])]
