"""Where gRPC is served, for modules that are loaded before the fork."""

from typing import NamedTuple


class GrpcAddress(NamedTuple):
    """Where the server listens. The supervisor holds the port, so that nobody else gets it between two processes."""

    host: str
    port: int
