"""What turns a conversation into a prompt: a model's chat template, or code for a family that ships none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

ContentKind = Literal["string", "openai"]


class PromptRenderer(Protocol):
    """`content_kind`: the content of a message as text or as a list of parts; `media_mark`, `mentions_reasoning`,
    `keeps_argument_strings`: see `ChatTemplate`; `shows_demands`: the prompt tells the model what is demanded of its
    answer, from the variables ``response_format`` and ``tool_choice``; `is_slow`: it has passed a bound on what it may
    cost, so the event loop should not wait for it.
    """

    content_kind: ContentKind
    media_mark: str
    mentions_reasoning: bool
    keeps_argument_strings: bool
    shows_demands: bool
    is_slow: bool

    @property
    def fault(self) -> str:
        """Why it cannot be used at all; "" if it can."""

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        """The prompt text. Raises TemplateError."""
