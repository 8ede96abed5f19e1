"""`dynamo-fe --help`: the table of settings as text, by purpose."""

import shutil
import textwrap
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from dynamo_fe import DYNAMO_VERSION
from dynamo_fe.cli.command import Command, operand_of
from dynamo_fe.config.setting import Setting

_NAME_COLUMNS = 44
STATUS_MARKS: Final = {
    "pending": "Not in effect yet.",
    "ignored-deprecated": "Deprecated.",
}


def render(table: Iterable[Setting], commands: Iterable[tuple[str, str]]) -> str:
    """The whole text, as wide as the terminal (80 to 140 columns)."""
    width = min(140, max(80, shutil.get_terminal_size((120, 24)).columns))
    lines = [
        "usage: dynamo-fe [COMMAND] [OPTIONS]",
        "",
        "An OpenAI-compatible frontend for Dynamo workers: a drop-in replacement for python -m dynamo.frontend "
        f"{DYNAMO_VERSION}.",
        "",
        "Commands:",
        *(f"  {name:<14}{summary}" for name, summary in commands),
        "",
        "Options of serve. A flag wins over its variable, a variable over the file that --config names, the file over",
        "the default. Lines that begin with = have a variable alone. Words of a choice may be written with - or _.",
        "",
        "  -h, --help    print this text",
        "  --version     print the version",
    ]
    for group, rows in groupby(table, key=lambda setting: setting.group):
        lines += ["", f"{group}:"]
        for setting in rows:
            lines += _entry(setting, width)
    return "\n".join(lines) + "\n"


def render_command(command: Command) -> str:
    """The help of one command."""
    own = list(command.options())
    words = ["dynamo-fe", command.name, *command.operands, *(["[OPTIONS]"] if own or command.serve_options else [])]
    lines = [f"usage: {' '.join(words)}", "", f"{command.summary[0].upper()}{command.summary[1:]}."]
    lines += textwrap.wrap(command.text, 100)
    lines += ["", "Options:"] if own else []
    for option in own:
        name = ", ".join(option.flags) + (f" {option.operand}" if option.operand else "")
        lines.append(f"  {name:<24}{option.help}")
    if command.serve_options:
        lines += ["", "And every option of serve: dynamo-fe --help lists them."]
    return "\n".join(lines) + "\n"


def _entry(setting: Setting, width: int) -> list[str]:
    name = "  " + (", ".join(reversed(setting.flags)) + _operand(setting) if setting.flags else f"= {setting.variable}")
    words = [setting.help]
    if setting.choices:
        words.append(f"One of: {', '.join(setting.choices)}.")
    if setting.status in STATUS_MARKS:
        words.append(STATUS_MARKS[setting.status])
    words.append(f"[{_default(setting)}]")
    if setting.flags and setting.variable:
        words.append(setting.variable)
    indent = " " * _NAME_COLUMNS
    wrapped = textwrap.wrap(" ".join(words), width - _NAME_COLUMNS, break_long_words=False, break_on_hyphens=False)
    if len(name) > _NAME_COLUMNS - 2:
        return [name, *(indent + line for line in wrapped)]
    return [f"{name:<{_NAME_COLUMNS}}{wrapped[0]}", *(indent + line for line in wrapped[1:])]


def _operand(setting: Setting) -> str:
    operand = operand_of(setting)
    return f" {operand}" if operand else f", --no-{setting.flags[-1][2:]}"


def _default(setting: Setting) -> str:
    if setting.default is None or setting.default == ():
        return "none"
    if isinstance(setting.default, bool):
        return "yes" if setting.default else "no"
    return str(setting.default)
