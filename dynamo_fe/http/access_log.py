"""One line a request, at the level `debug`: what was asked, how it was answered, how long it took. Never a word of its
body.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from dynamo_fe.http.exchange import Exchange

_log = logging.getLogger("dynamo_fe.http.access")

# of what a client chooses at will
_MOST_CHARS: Final = 200


def begin() -> float:
    """When a request that is to be told of began (`time.perf_counter`); 0.0 where nobody wants to know."""
    return time.perf_counter() if _log.isEnabledFor(logging.DEBUG) else 0.0


def end(exchange: Exchange, begun: float) -> None:
    """Tells of one that has ended. Its id is ours, which workers know as well; the client's own stands beside it."""
    if not begun:
        return
    given = exchange.header(b"x-request-id")
    parts = [f"request {exchange.request_id}:" if exchange.request_id else "request:"]
    parts += [exchange.method, ascii(exchange.path[:_MOST_CHARS])]
    parts.append(f"answered with {exchange.status}" if exchange.status else "not answered")
    parts.append(f"after {(time.perf_counter() - begun) * 1000:.1f} ms")
    if exchange.left:
        parts.append("its client left")
    if given:
        parts.append(f"x-request-id {ascii(given[:_MOST_CHARS].decode('latin-1'))}")
    _log.debug("%s", ", ".join([" ".join(parts[:5]), *parts[5:]]))
