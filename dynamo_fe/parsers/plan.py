"""What prepare tells deliver about reading an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ParsePlan:
    """How the text of an answer is to be read.

    `tool_parser`: name as configured, None when calls are not looked for (no parser, no tools, or tool_choice none).
    `reasoning_parser`: likewise, None also when the request switched thinking off. `schemas`: the request's functions
    in order, each with its `parameters` schema. `forced`: the answer must be calls; `named`: calls of this function.
    `parallel`: more than one call is wanted. `guided`: the answer is constrained to a JSON text or a grammar.
    `prompt_tail`: the end of the rendered prompt, which may have opened a thought. `counts_reasoning`: a reasoning
    parser is configured at all, so that usage tells the reasoning tokens.
    """

    tool_parser: str | None = None
    reasoning_parser: str | None = None
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    forced: bool = False
    named: str | None = None
    parallel: bool = True
    guided: bool = False
    prompt_tail: str = ""
    counts_reasoning: bool = False

    @property
    def reads(self) -> bool:
        """Whether the text is to be read at all."""
        return self.forced or self.tool_parser is not None or self.reasoning_parser is not None
