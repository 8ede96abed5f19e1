"""The few words a worker says to its supervisor: one shared pipe, one fixed-size message."""

import os
import struct
from typing import Final

# The sender's process id. Below PIPE_BUF, so that messages of several workers never mix.
_READY: Final = struct.Struct("=i")


class WorkerControl:
    """The worker's end. `index` counts from 0 among `count` siblings."""

    def __init__(self, index: int, count: int, pipe: int) -> None:
        self.index = index
        self.count = count
        self._pipe = pipe

    def ready(self) -> None:
        """Says that this worker accepts connections now. One that dies before it said so has failed to start."""
        try:
            os.write(self._pipe, _READY.pack(os.getpid()))
        except BrokenPipeError:
            # The supervisor is gone; the kernel's signal about that is on its way.
            pass


class Reports:
    """The supervisor's end."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)

    def fileno(self) -> int:
        return self._read

    def control(self, index: int, count: int) -> WorkerControl:
        """For a forked child: its end of the pipe. The supervisor's end is closed in this process."""
        os.close(self._read)
        return WorkerControl(index, count, self._write)

    def read(self) -> list[int]:
        """The process ids of the workers that became ready since the last call."""
        try:
            data = os.read(self._read, _READY.size * 1024)
        except BlockingIOError:
            return []
        return [pid for (pid,) in _READY.iter_unpack(data)]

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
