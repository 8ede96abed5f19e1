"""Cross-origin calls from browsers: off unless origins are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dynamo_fe.http.exchange import Exchange, Headers

_MAX_AGE: Final = (b"access-control-max-age", b"600")
_EXPOSED: Final = (b"access-control-expose-headers", b"x-request-id, retry-after")


class Cors:
    """`origins` as a browser spells them (`https://app.example`), or `*` for all."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)
        self.on = bool(origins)

    def headers(self, exchange: Exchange) -> Headers:
        """What goes with every answer to that request."""
        if self._any:
            return [(b"access-control-allow-origin", b"*"), _EXPOSED]
        origin = exchange.header(b"origin")
        if origin is None or origin not in self._origins:
            return [(b"vary", b"origin")]
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin"), _EXPOSED]

    def asked_before(self, exchange: Exchange) -> bool:
        """Whether this is the question a browser asks before the request itself."""
        return exchange.method == "OPTIONS" and exchange.header(b"access-control-request-method") is not None

    def answer(self, exchange: Exchange, methods: str) -> Headers:
        """The headers of the answer to it."""
        wanted = exchange.header(b"access-control-request-headers") or b"*"
        return [
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-allow-headers", wanted),
            _MAX_AGE,
        ]
