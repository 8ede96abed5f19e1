"""The few words a child says to its supervisor: short messages on one socket pair that all children share."""

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from dynamo_fe.appliance.heartbeat import Pulse

Kind = Literal["ready", "status"]

# The sender's process id and the kind; the rest of the datagram is text in UTF-8.
_HEAD: Final = struct.Struct("=iB")
_KINDS: Final[tuple[Kind, ...]] = ("ready", "status")
_MOST_TEXT_BYTES: Final = 400


class Report(NamedTuple):
    """One message: `text` is empty for ready."""

    pid: int
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child stands among its siblings, the children of one role.

    `index` counts from 0 among `count`. `seat`, below `seats`, is a number that no other living sibling has: from a
    reload on several generations may live beside each other, and all have an index 0.
    """

    index: int
    count: int
    seat: int
    seats: int


class Control:
    """The child's end. `listener` is its own of the role's listening sockets."""

    def __init__(self, place: Place, pipe: socket.socket, pulse: Pulse, listener: socket.socket | None = None) -> None:
        self.place = place
        self.listener = listener
        self._pipe = pipe
        self._pulse = pulse
        self._status = ""

    def ready(self) -> None:
        """Says that this child does its work now. One that dies before it said so has failed to start."""
        self._send("ready", "")

    def beat(self) -> None:
        """Says that its loop still turns; costs a write to memory."""
        self._pulse.beat()

    def status(self, text: str) -> None:
        """What the service does or waits for, for people; said only when it is another than before."""
        if text != self._status:
            self._status = text
            self._send("status", text)

    def _send(self, kind: Kind, text: str) -> None:
        # Without a supervisor the kernel's signal about that is on its way; a full queue is read before long.
        with contextlib.suppress(OSError):
            body = text.encode()[:_MOST_TEXT_BYTES]
            self._pipe.send(_HEAD.pack(os.getpid(), _KINDS.index(kind)) + body)


class Reports:
    """The supervisor's end."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._read.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def pipe(self) -> socket.socket:
        """For a forked child: its end. The supervisor's is closed in this process."""
        self._read.close()
        return self._write

    def read(self) -> list[Report]:
        """What was said since the last call."""
        found: list[Report] = []
        while True:
            try:
                data = self._read.recv(_HEAD.size + _MOST_TEXT_BYTES)
            except BlockingIOError:
                return found
            pid, kind = _HEAD.unpack_from(data)
            found.append(Report(pid, _KINDS[kind], data[_HEAD.size :].decode(errors="replace")))

    def close(self) -> None:
        self._read.close()
        self._write.close()
