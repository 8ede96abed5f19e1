"""One instance a port: with SO_REUSEPORT the kernel would let a second one in and share out the connections."""

import errno
import os
import socket


class PortLock:
    """Held from before the port is looked at until the process ends.

    The lock is the name of a Unix socket in Linux's abstract namespace: it belongs to the network namespace just as the
    port does, leaves no file behind, and the kernel frees it however the process ends. Only processes of the same user
    contend for it, because SO_REUSEPORT does not mix users either.
    """

    def __init__(self, address: str, port: int) -> None:
        """Raises OSError (EADDRINUSE) when another process holds it."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(f"\0dynamo-fe/{os.getuid()}/{address}/{port}")
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno or errno.EADDRINUSE, "another instance holds this port") from None

    def close(self) -> None:
        """Lets go of it in this process. A forked child does, so that it does not hold what its parent gave up."""
        self._socket.close()
