"""`/`: what is served, by whom, what it waits for, and a chat. Nothing of it comes from another host."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.services import Services

Handler: TypeAlias = Callable[[Exchange, Services], Awaitable[None]]

_FOLDER: Final = Path(__file__).parent / "page"
_FILES: Final = (
    ("/", "index.html", b"text/html; charset=utf-8"),
    ("/page.css", "page.css", b"text/css; charset=utf-8"),
    ("/page.js", "page.js", b"text/javascript; charset=utf-8"),
)
# Whatever a model says is shown as text; and should it ever not be, nothing of it may run or call out.
# Nor may another site show the page in a frame of its own and have clicks fall on it.
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def files(paths: Mapping[str, str]) -> dict[str, Handler]:
    """The handlers by path. `paths` says where the API is: chat, ready, health, metrics; settings can move them.
    Without a path for chat the page has none.
    """
    relative = {name: path.lstrip("/") for name, path in paths.items()}
    return {path: _serve(name, kind, json.dumps(relative)) for path, name, kind in _FILES}


def _serve(name: str, kind: bytes, paths: str) -> Handler:
    content = (_FOLDER / name).read_text(encoding="utf-8").replace("__PATHS__", paths).encode()
    headers = [(b"content-type", kind), (b"content-security-policy", POLICY), (b"cache-control", b"no-cache")]

    async def handle(exchange: Exchange, services: Services) -> None:
        await exchange.respond(200, headers, content)

    return handle
