"""Pictures, films and sound in chat messages: what the worker gets of them. The frontend fetches nothing.

Source: Dynamo 1.6.1 (`multi_modal_data`, `multi_modal_uuids` and `extra_args.messages` of its worker requests).
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from dynamo_fe.pipeline.refusal import Refusal

_KINDS: Final = ("image_url", "video_url", "audio_url")
_DETAILED: Final = ("image_url", "video_url")
_MESSAGE_KEYS: Final = ("role", "content", "reasoning_content", "refusal", "name", "tool_calls", "tool_call_id")
_PARTS: Final = re.compile(r"//([^/?#]+)([^?#]*)(.*)\Z", re.DOTALL)
_PATH_SAFE: Final = "/%!$&'()*+,-.:;=@[\\]^_|~"
_QUERY_SAFE: Final = "/%!$&()*+,-.:;=@[\\]^_|~?#{}`"


class Media(msgspec.Struct):
    """The media of one request. `data` and `uuids` are lists by kind, `messages` the conversation for engines that
    render it themselves, media that stand in it whole left out.
    """

    data: dict[str, list[dict[str, str]]]
    uuids: dict[str, list[str | None]]
    messages: list[dict[str, Any]]


def collect_media(messages: list[dict[str, Any]]) -> Media | None:
    """None when no message has any. Raises Refusal for a part without an address."""
    data: dict[str, list[dict[str, str]]] = {}
    uuids: dict[str, list[str | None]] = {}
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part["type"]
            if kind in _KINDS:
                if part.get(kind) is None:
                    raise Refusal.invalid_argument(param="messages")
                data.setdefault(kind, []).append({"Url": _address(part[kind]["url"])})
                uuids.setdefault(kind, []).append(part.get("uuid"))
    if not data:
        return None
    named = {kind: found for kind, found in uuids.items() if any(entry is not None for entry in found)}
    return Media(data, named, [_for_engine(message) for message in messages])


def _address(url: str) -> str:
    """As the original writes it (WHATWG): scheme and host in lower case, a path, blanks and the like escaped."""
    scheme, _, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme not in ("http", "https"):
        return f"{scheme}:{rest}"
    found = _PARTS.match(rest)
    if found is None:
        return f"{scheme}:{rest}"
    host, path, query = found[1], found[2] or "/", found[3] or ""
    return f"{scheme}://{host.lower()}{quote(path, safe=_PATH_SAFE)}{quote(query, safe=_QUERY_SAFE)}"


def _for_engine(message: dict[str, Any]) -> dict[str, Any]:
    out = {key: message[key] for key in _MESSAGE_KEYS if message.get(key) is not None}
    content = out.get("content")
    if isinstance(content, list):
        out["content"] = [_part(part) for part in content]
    return out


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part["type"]
    if kind not in _KINDS:
        return {"type": kind, kind: part[kind]}
    url = part[kind]["url"]
    found: dict[str, Any] = {"url": "" if url[:5].lower() == "data:" else _address(url)}
    if kind in _DETAILED:
        found["detail"] = part[kind].get("detail")
    out = {"type": kind, kind: found}
    if part.get("uuid") is not None:
        out["uuid"] = part["uuid"]
    return out
