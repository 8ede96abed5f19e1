"""Rules for tools and the choice among them, with the messages of Dynamo 1.6.1. Types are checked before."""

from __future__ import annotations

import re
from typing import Any, Final

from dynamo_fe.http.strict_schema import strict_fault
from dynamo_fe.pipeline.refusal import Refusal

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+\Z")
_MOST_NAME_CHARS: Final = 128


def check_tools(tools: list[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> None:
    """Raises Refusal for the first rule that is broken."""
    if tools is not None and not tools:
        raise _broken("tools array cannot be empty; omit the field entirely to disable tool use", "tools")
    names = [_checked_name(tool["function"], index) for index, tool in enumerate(tools or ())]
    if choice == "required" and not names:
        raise _broken('tool_choice is "required" but tools is empty', "tool_choice")
    if isinstance(choice, dict):
        wanted = choice["function"]["name"]
        if wanted not in names:
            raise _broken(f'tool named "{wanted}" in tool_choice is not present in tools', "tool_choice")


def _checked_name(function: dict[str, Any], index: int) -> str:
    name: str = function["name"]
    if not name:
        raise _broken(f"Function name at index {index} cannot be empty", "tools")
    if not _NAME.match(name):
        raise _broken(
            f'Function at index {index} has an invalid name: "{name}". Only a-z, A-Z, 0-9, underscores, and dashes are '
            "allowed.",
            "tools",
        )
    if len(name) > _MOST_NAME_CHARS:
        raise _broken(
            f"Function name at index {index} exceeds {_MOST_NAME_CHARS} character limit, got {len(name)} characters",
            "tools",
        )
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise _broken(f'Function parameters at index {index} for "{name}" must be a JSON Schema object', "tools")
    fault = strict_fault(parameters) if function.get("strict") else None
    if fault is not None:
        raise _broken(f"Invalid schema for function '{name}': {fault}", "tools")
    return name


def _broken(rule: str, param: str) -> Refusal:
    return Refusal.invalid(f"Validation: {rule}", param=param)
