"""A conversation in the order that strict chat templates insist on: one system message, then no two users in a row.

Source: Dynamo 1.6.1, what its prompts showed of conversations that such templates refuse.
"""

from __future__ import annotations

from typing import Any, Final

from dynamo_fe.pipeline.messages import Parts

Messages = list[dict[str, Any]]

_BETWEEN: Final = "\n\n"


def one_system_first(messages: Messages) -> Messages | None:
    """Leading system messages become one, later ones speak as the user. None when nothing changes."""
    leading = next((index for index, one in enumerate(messages) if one["role"] != "system"), len(messages))
    rest = [{**one, "role": "user"} if one["role"] == "system" else one for one in messages[leading:]]
    ordered = _merged(messages[:leading], "system") + rest
    return ordered if ordered != messages else None


def users_merged(messages: Messages) -> Messages | None:
    """What users say in a row becomes one message. None when nothing changes."""
    ordered = _merged(messages, "user")
    return ordered if len(ordered) != len(messages) else None


def _merged(messages: Messages, role: str) -> Messages:
    merged: Messages = []
    for message in messages:
        if merged and message["role"] == role == merged[-1]["role"]:
            merged[-1] = {**merged[-1], "content": _joined(merged[-1]["content"], message["content"])}
        else:
            merged.append(message)
    return merged


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return first + _BETWEEN + second
    return Parts([*_parts(first), {"type": "text", "text": _BETWEEN}, *_parts(second)])


def _parts(content: Any) -> Messages:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
