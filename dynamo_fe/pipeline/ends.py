"""What is logged of a request that ends for want of a worker, or of time; any other failure of a worker is told where
it comes in, and what a client did wrong is told to the client.
"""

from __future__ import annotations

import logging

from dynamo_fe.protocol.errors import RequestError

_log = logging.getLogger("dynamo_fe.pipeline")


def note_end(request_id: str, error: RequestError | None) -> None:
    """Logs the end of a request where it is one of these."""
    if error is not None and (error.inhibits or error.deadline_stage is not None):
        text = "request %s ends with %d: %s (%s)"
        _log.warning(text, request_id, error.status, error.message, error.reason)
