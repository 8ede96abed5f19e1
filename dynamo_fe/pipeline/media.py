"""Pictures, films and sound in chat messages: what the worker gets of them.

Source: Dynamo 1.6.1 (`multi_modal_data`, `multi_modal_uuids` and `extra_args.messages` of its worker requests).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dynamo_fe.pipeline.media_url import NoUrl, media_url
from dynamo_fe.pipeline.refusal import Refusal

_KINDS: Final = ("image_url", "video_url", "audio_url")
_DETAILED: Final = ("image_url", "video_url")
_MESSAGE_KEYS: Final = ("role", "content", "reasoning_content", "refusal", "name", "tool_calls", "tool_call_id")
# media whose address may not point inside
_GUARDED: Final = "image_url"
# of an address that is none
_SHOWN_CHARS: Final = 64


class Media(msgspec.Struct):
    """The media of one request. `data` and `uuids` are lists by kind, `messages` the conversation for engines that
    render it themselves, media that stand in it whole left out.
    """

    data: dict[str, list[dict[str, str]]]
    uuids: dict[str, list[str | None]]
    messages: list[dict[str, Any]]


def collect_media(messages: list[dict[str, Any]], allow_internal: bool) -> Media | None:
    """None when no message has any. Raises Refusal for a part without an address, and for a picture's that points
    inside unless that is allowed.
    """
    data: dict[str, list[dict[str, str]]] = {}
    uuids: dict[str, list[str | None]] = {}
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part["type"]
            if kind in _KINDS:
                if part.get(kind) is None:
                    raise Refusal.invalid_argument(param="messages")
                url, internal = _address(part[kind]["url"])
                if internal and kind == _GUARDED and not allow_internal:
                    text = "the address of a picture is an IP address, has a port or is one of the cluster's own"
                    raise Refusal.invalid_argument(param="messages", detail=text)
                data.setdefault(kind, []).append({"Url": url})
                uuids.setdefault(kind, []).append(part.get("uuid"))
    if not data:
        return None
    named = {kind: found for kind, found in uuids.items() if any(entry is not None for entry in found)}
    return Media(data, named, [_for_engine(message) for message in messages])


def _address(text: str) -> tuple[str, bool]:
    """See `media_url`. Raises Refusal where there is none."""
    if not text:
        raise Refusal.invalid_argument(param="messages", detail="an address is empty")
    try:
        return media_url(text)
    except NoUrl as error:
        prefix = "Failed to deserialize the JSON body into the target type: "
        raise Refusal.invalid(f"{prefix}{text[:_SHOWN_CHARS]!r} is no address: {error}", param="messages") from error


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
    found: dict[str, Any] = {"url": "" if url[:5].lower() == "data:" else _address(url)[0]}
    if kind in _DETAILED:
        found["detail"] = part[kind].get("detail")
    out = {"type": kind, kind: found}
    if part.get("uuid") is not None:
        out["uuid"] = part["uuid"]
    return out
