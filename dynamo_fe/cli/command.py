"""One row of the table of commands: what runs, and what help, man page and completion say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

# every command waits for what is imported here
if TYPE_CHECKING:
    from dynamo_fe.config.setting import Setting

# an operand that is the name of a command
ANY_COMMAND: Final = "[COMMAND]"


@dataclass(frozen=True, slots=True)
class Option:
    """`flags` as they are written; `operand` is the word for its value, empty for a switch. `words` are those it may
    be, where they are few."""

    flags: tuple[str, ...]
    operand: str
    help: str
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, setting: Setting) -> Option:
        """A row of the table of settings that has a flag."""
        return cls(setting.flags, operand_of(setting), setting.help, setting.choices)


@dataclass(frozen=True, slots=True)
class Command:
    """`run` takes the words after the command and returns the exit code. `operands` are what they may be beside the
    options, each with its choices; with `serve_options` the options of serve are taken as well, with
    `serve_behind_dashes` they are what stands behind a lone `--`. Without a summary it is not for people.
    """

    name: str
    summary: str
    run: Callable[[list[str]], int]
    text: str = ""
    operands: tuple[str, ...] = ()
    options: Callable[[], Iterable[Option]] = tuple
    serve_options: bool = False
    serve_behind_dashes: bool = False


def operand_of(setting: Setting) -> str:
    """The word for the value of a setting's flag; empty for a switch."""
    match setting.kind:
        case "switch":
            return ""
        case "whole" | "real":
            return "N"
        case "choice":
            return "WORD"
        case _:
            return "TEXT"
