"""Pictures, films and sound in chat messages: what the worker gets of them.

Source: Dynamo 1.6.1 (`multi_modal_data`, `multi_modal_uuids` and `extra_args.messages` of its worker requests).
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec

from dynamo_fe.pipeline.media_url import NoUrl, media_url
from dynamo_fe.pipeline.refusal import Refusal

_KINDS: Final = ("image_url", "video_url", "audio_url")
_DETAILED: Final = ("image_url", "video_url")
_MESSAGE_KEYS: Final = ("role", "content", "reasoning_content", "refusal", "name", "tool_calls", "tool_call_id")
# media whose address may not point inside, and that a worker may have kept by a name
_PICTURE: Final = "image_url"
# of an address that is none
_SHOWN_CHARS: Final = 64


class Media(msgspec.Struct):
    """The media of one request. `data` and `uuids` are lists by kind, `uuids` empty where the client has named none of
    them; `messages` is the conversation for engines that render it themselves, media that stand in it whole left out.
    """

    data: dict[str, list[dict[str, str]]]
    uuids: dict[str, list[str | None]]
    messages: list[dict[str, Any]]


def collect_media(messages: list[dict[str, Any]], allow_internal: bool) -> Media | None:
    """None when no message has any. Raises Refusal for a part with neither address nor name, and for the address of a
    picture that points inside unless that is allowed.
    """
    data: dict[str, list[dict[str, str]]] = {}
    uuids: dict[str, list[str | None]] = {}
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part["type"]
            if kind in _KINDS:
                data.setdefault(kind, []).append(_entry(part, kind, allow_internal))
                uuids.setdefault(kind, []).append(part.get("uuid"))
    if not data:
        return None
    named = any(entry is not None for found in uuids.values() for entry in found)
    return Media(data, uuids if named else {}, [_for_engine(message) for message in messages])


def _entry(part: dict[str, Any], kind: str, allow_internal: bool) -> dict[str, str]:
    """What the worker gets of a part: its address, or the name under which it has the picture. Raises Refusal."""
    uuid = part.get("uuid")
    if uuid == "":
        raise Refusal.invalid_argument(param="messages", detail="a uuid is empty")
    if uuid is not None and not _has_address(part, kind):
        if kind != _PICTURE:
            raise Refusal.invalid_argument(param="messages", detail=f"a {kind} needs an address beside its uuid")
        return {"UuidOnly": uuid}
    if part.get(kind) is None:
        raise Refusal.invalid_argument(param="messages", detail=f"a {kind} has neither an address nor a uuid")
    url, internal = _address(part[kind]["url"])
    if internal and kind == _PICTURE and not allow_internal:
        text = "the address of a picture is an IP address, has a port or is one of the cluster's own"
        raise Refusal.invalid_argument(param="messages", detail=text)
    return {"Url": url}


def _has_address(part: dict[str, Any], kind: str) -> bool:
    given = part.get(kind)
    return given is not None and given["url"] != ""


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
    found: dict[str, Any] | None = None
    if _has_address(part, kind):
        given = part[kind]
        found = {"url": "" if given["url"][:5].lower() == "data:" else _address(given["url"])[0]}
        if kind in _DETAILED:
            found["detail"] = given.get("detail")
        if given.get("uuid") is not None:
            found["uuid"] = str(UUID(given["uuid"]))
    out = {"type": kind, kind: found}
    if part.get("uuid") is not None:
        out["uuid"] = part["uuid"]
    return out
