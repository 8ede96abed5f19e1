"""What systemd is told of a service of Type=notify, and what it asks for: sd_notify(3), sd_watchdog_enabled(3)."""

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """Speaks to the service manager if one listens, else to nobody.

    `watchdog_secs` is how often it must hear that the service lives, None for never. The variables are taken out of the
    environment, so that no child takes them for its own.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval, owner = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        # In a one-file build systemd started our parent, its boot loader.
        ours = not owner or owner in (str(os.getpid()), str(os.getppid()))
        self.watchdog_secs = int(interval) / 1e6 if self._address and ours and interval.isdigit() else None
        self._status = ""

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        """`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split()))

    def extend(self, secs: float) -> None:
        """Start or stop may take that much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(secs * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A manager that is away must not end the service.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.connect(self._address)
            speaker.sendall(message.encode())
