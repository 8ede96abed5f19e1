"""Messages are seen to be right by two ways, of which one is shorter."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamo_fe.protocol.request_shapes import check_messages


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_a_text_of_any_speaker(role: str) -> None:
    check_messages([{"role": role, "content": "a"}, {"content": "", "role": role}])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "a"},
        {"role": ["user"], "content": "a"},
        {"role": "user", "content": None},
        {"role": "user", "content": {"text": "a"}},
        {"role": "someone", "content": "a"},
        {"role": "user", "name": "a"},
        {"content": "a"},
        "a",
    ],
)
def test_what_is_no_message_is_refused_wherever_it_stands(message: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"`\$.messages\[1\]"):
        check_messages([{"role": "user", "content": "a"}, message])


def test_what_is_no_list_of_messages() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"`\$.messages`"):
        check_messages({"role": "user", "content": "a"})
