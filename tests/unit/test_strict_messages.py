"""Conversations that strict templates refuse as they are."""

from __future__ import annotations

from typing import Any

from dynamo_fe.pipeline.messages import Parts
from dynamo_fe.pipeline.strict_messages import one_system_first, users_merged


def said(*turns: str) -> list[dict[str, Any]]:
    return [{"role": turn.split(":")[0], "content": turn.split(":")[1]} for turn in turns]


def test_one_system_message_stands_first() -> None:
    assert one_system_first(said("system:a", "system:b", "user:c")) == said("system:a\n\nb", "user:c")
    assert one_system_first(said("user:a", "system:b", "user:c")) == said("user:a", "user:b", "user:c")
    assert one_system_first(said("system:a", "user:b")) is None


def test_users_do_not_speak_twice() -> None:
    merged = users_merged(said("user:a", "user:b", "assistant:c", "user:d"))
    assert merged == said("user:a\n\nb", "assistant:c", "user:d")
    assert users_merged(said("user:a", "assistant:b", "assistant:c")) is None


def test_parts_are_joined_as_parts() -> None:
    image = {"type": "image"}
    merged = users_merged([{"role": "user", "content": "a"}, {"role": "user", "content": Parts([image])}])
    assert merged is not None
    assert merged[0]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "\n\n"}, image]


def test_messages_themselves_are_not_changed() -> None:
    messages = said("system:a", "system:b", "user:c", "user:d")
    one_system_first(messages)
    users_merged(messages)
    assert messages == said("system:a", "system:b", "user:c", "user:d")
