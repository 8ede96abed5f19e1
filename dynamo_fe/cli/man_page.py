"""The man page, from the tables of commands, settings and exit codes."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from dynamo_fe import DYNAMO_VERSION, __version__
from dynamo_fe.cli.command import Command, operand_of
from dynamo_fe.cli.exit_codes import EXIT_CODES
from dynamo_fe.cli.help import STATUS_MARKS
from dynamo_fe.cli.policy_help import ABOUT, EXAMPLE, PARTS
from dynamo_fe.config import TABLE
from dynamo_fe.config.errors import USAGE_ERROR
from dynamo_fe.config.setting import Setting
from dynamo_fe.config.values import to_toml

_SIGNALS = (
    ("SIGTERM, SIGINT", "Refuse new requests with 503, let running ones end, end. A second one ends at once."),
    ("SIGHUP", "Read flags, variables and file anew. Processes with the new configuration take over when they serve; "
     "one that cannot be used is refused, and all stays as it was."),
    ("SIGUSR1, SIGUSR2, SIGALRM", "No effect."),
)  # fmt: skip
_FILES = (
    ("/etc/dynamo-fe/dynamo-fe.toml", "What dynamo-fe.service reads."),
    ("/etc/dynamo-fe/INSTANCE.toml", "What dynamo-fe@INSTANCE.service reads."),
    ("/etc/dynamo-fe/credentials/", "Secrets, readable by root only. The value credential:NAME of a setting stands for "
     "the file of that name: for its content where the setting is itself a secret, else for its path. A service has "
     "them as they were at its start: what has changed there, a restart takes over, a reload does not."),
    ("TMPDIR/_MEI*/", "What the one-file form unpacked (/tmp without TMPDIR), gone when it has ended. What a kill -9 "
     "left there, the next start by the same user removes, a minute later or more."),
    ("TMPDIR/dynamo-fe-*/", "Where workers of --mock-workers register. What a kill -9 left there, the next start with "
     "--mock-workers by the same user removes."),
)  # fmt: skip


def man(argv: Sequence[str], commands: Sequence[Command]) -> int:
    """Prints it as roff."""
    if argv:
        print("usage: dynamo-fe man", file=sys.stderr)
        return USAGE_ERROR
    print("\n".join(_lines([command for command in commands if command.summary])))
    return 0


def _lines(commands: Sequence[Command]) -> Iterator[str]:
    yield f'.TH DYNAMO-FE 1 "" "dynamo-fe {__version__}"'
    yield from (".SH NAME", r"dynamo-fe \- an OpenAI-compatible frontend for Dynamo workers")
    yield from (".SH SYNOPSIS", r".B dynamo-fe", r"[\fICOMMAND\fR] [\fIOPTIONS\fR]")
    yield ".SH DESCRIPTION"
    yield _text(f"A drop-in replacement for python -m dynamo.frontend {DYNAMO_VERSION}. Without a command it serves.")
    yield ".SH COMMANDS"
    for command in commands:
        yield from _command(command)
    yield ".SH OPTIONS OF SERVE"
    yield _text(
        "A flag wins over its variable, a variable over the file that --config names, the file over the default. In "
        "the file, a TOML file, a setting is called as its flag or as print-config shows it."
    )
    for group, rows in groupby(TABLE, key=lambda setting: setting.group):
        yield f".SS {_text(group)}"
        for setting in rows:
            yield from _entry(setting)
    yield from _policy_file()
    yield from _section("SIGNALS", _SIGNALS)
    yield from _section("FILES", _FILES)
    yield from _section("EXIT STATUS", ((str(code), text) for code, text in EXIT_CODES))


def _command(command: Command) -> Iterator[str]:
    own = list(command.options())
    words = [command.name, *command.operands, *(["[OPTIONS]"] if own or command.serve_options else [])]
    text = f"{command.summary[0].upper()}{command.summary[1:]}. {command.text}"
    yield from (".TP", rf"\fB{_text(' '.join(words))}\fR", _text(text.strip()))
    for option in own:
        yield ".RS"
        yield from (".TP", rf"\fB{_text(', '.join(option.flags))}\fR {option.operand}".rstrip(), _text(option.help))
        yield ".RE"


def _entry(setting: Setting) -> Iterator[str]:
    names = ", ".join(setting.flags) or setting.variable or setting.name
    operand = operand_of(setting) if setting.flags else ""
    words = [setting.help]
    if setting.choices:
        words.append(f"One of: {', '.join(setting.choices)}.")
    if setting.status in STATUS_MARKS:
        words.append(STATUS_MARKS[setting.status])
    if setting.default not in (None, ()):
        words.append(f"Default: {to_toml(setting.default)}.")
    if setting.flags and setting.variable:
        words.append(f"Variable: {setting.variable}.")
    words.append(f"In a file: {setting.name}.")
    yield from (".TP", rf"\fB{_text(names)}\fR {operand}".rstrip(), _text(" ".join(words)))


def _policy_file() -> Iterator[str]:
    yield from (".SH POLICY FILE", _text(ABOUT))
    yield from _rows(PARTS)
    yield from (".PP", "An example:", ".PP", ".nf", *map(_text, EXAMPLE.splitlines()), ".fi")


def _section(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f".SH {title}"
    yield from _rows(rows)


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield from (".TP", rf"\fB{_text(name)}\fR", _text(text))


def _text(text: str) -> str:
    """What roff would take for its own is masked."""
    masked = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{masked}" if masked.startswith((".", "'")) else masked
