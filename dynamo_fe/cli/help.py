"""`dynamo-fe --help`: the table of settings as text, by purpose."""

import shutil
import textwrap
from collections.abc import Iterable
from itertools import groupby

from dynamo_fe.config.setting import Setting

_NAME_COLUMNS = 44
_MARKS = {
    "pending": "Not in effect yet.",
    "ignored-deprecated": "Deprecated.",
}


def render(table: Iterable[Setting], commands: Iterable[tuple[str, str]]) -> str:
    """The whole text, as wide as the terminal (80 to 140 columns)."""
    width = min(140, max(80, shutil.get_terminal_size((120, 24)).columns))
    lines = [
        "usage: dynamo-fe [COMMAND] [OPTIONS]",
        "",
        "An OpenAI-compatible frontend for Dynamo workers: a drop-in replacement for python -m dynamo.frontend 1.6.1.",
        "",
        "Commands:",
        *(f"  {name:<14}{summary}" for name, summary in commands),
        "",
        "Options of serve. A flag wins over its variable, a variable over the default. Lines that begin with = have a",
        "variable alone. Words of a choice may be written with - or _.",
        "",
        "  -h, --help    print this text",
        "  --version     print the version",
    ]
    for group, rows in groupby(table, key=lambda setting: setting.group):
        lines += ["", f"{group}:"]
        for setting in rows:
            lines += _entry(setting, width)
    return "\n".join(lines) + "\n"


def _entry(setting: Setting, width: int) -> list[str]:
    name = "  " + (", ".join(reversed(setting.flags)) + _operand(setting) if setting.flags else f"= {setting.variable}")
    words = [setting.help]
    if setting.choices:
        words.append(f"One of: {', '.join(setting.choices)}.")
    if setting.status in _MARKS:
        words.append(_MARKS[setting.status])
    words.append(f"[{_default(setting)}]")
    if setting.flags and setting.variable:
        words.append(setting.variable)
    indent = " " * _NAME_COLUMNS
    wrapped = textwrap.wrap(" ".join(words), width - _NAME_COLUMNS, break_long_words=False, break_on_hyphens=False)
    if len(name) > _NAME_COLUMNS - 2:
        return [name, *(indent + line for line in wrapped)]
    return [f"{name:<{_NAME_COLUMNS}}{wrapped[0]}", *(indent + line for line in wrapped[1:])]


def _operand(setting: Setting) -> str:
    match setting.kind:
        case "switch":
            return f", --no-{setting.flags[-1][2:]}"
        case "whole" | "real":
            return " N"
        case "choice":
            return " WORD"
        case _:
            return " TEXT"


def _default(setting: Setting) -> str:
    if setting.default is None or setting.default == ():
        return "none"
    if isinstance(setting.default, bool):
        return "yes" if setting.default else "no"
    return str(setting.default)
