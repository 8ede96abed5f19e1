"""The table of reasoning formats: what opens and closes a thought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dynamo_fe.parsers.state import Action, drop_line, drop_marker


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """`forced`: an answer begins inside a thought where the prompt does not say otherwise. `title` may follow an opener
    and is no part of the thought. `others` are markers of content. `prefix` is put before the content. `prose`: the
    markers are words of prose; a prompt does not open a thought with them, a call in a thought is only talked about,
    and blanks behind a closer are text.
    """

    openers: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()
    forced: bool = False
    title: str = ""
    others: Mapping[str, Action] = field(default_factory=dict)
    prefix: str = ""
    prose: bool = False


def _wrapped(opener: str, closer: str) -> Mapping[str, Action]:
    """A wrapper around content, with the line breaks on its inner sides."""
    return {opener: drop_line, "\n" + closer: drop_marker, closer: drop_marker}


def _thinking(forced: bool = False, others: Mapping[str, Action] | None = None, tag: str = "think") -> ReasoningFormat:
    return ReasoningFormat((f"<{tag}>",), (f"</{tag}>",), forced, others=others or {})


_THINK: Final = _thinking()
_FORCED: Final = _thinking(forced=True)
K3_OTHERS: Final[Mapping[str, Action]] = dict.fromkeys(
    ("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>", "<|end_of_msg|>"), drop_marker
)

# An unknown name means `basic`.
REASONING_FORMATS: Final[Mapping[str, ReasoningFormat]] = {
    "basic": _THINK,
    "deepseek_r1": _FORCED,
    "step3": _FORCED,
    "minimax_m2": _FORCED,
    "kimi": ReasoningFormat(("◁think▷",), ("◁/think▷",)),
    "kimi_k3": ReasoningFormat(("<|open|>think<|sep|>",), ("<|close|>think<|sep|>",), others=K3_OTHERS),
    "mistral": ReasoningFormat(("[THINK]",), ("[/THINK]",), forced=True),
    "minimax_append_think": ReasoningFormat(prefix="<think>"),
    "minimax_m3": _thinking(tag="mm:think"),
    "gemma4": ReasoningFormat(("<|channel>",), ("<channel|>",), title="thought\n"),
    "granite": ReasoningFormat(
        ("Here is my thought process:", "Here's my thought process:"),
        ("Here is my response:", "Here's my response:"),
        prose=True,
    ),
    "ernie45": _thinking(others=_wrapped("<response>", "</response>")),
    "hunyuan_a13b": _thinking(others=_wrapped("<answer>", "</answer>")),
    "seed_oss": _thinking(tag="seed:think"),
    "apertus": ReasoningFormat(("<|inner_prefix|>",), ("<|inner_suffix|>",)),
    "cohere_command": ReasoningFormat(
        ("<|START_THINKING|>",),
        ("<|END_THINKING|>",),
        others=dict.fromkeys(("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"), drop_marker),
    ),
}
