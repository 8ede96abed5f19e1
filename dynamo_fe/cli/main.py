"""The table of commands. `serve` is what runs when the first word names none."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dynamo_fe import __version__


@dataclass(frozen=True, slots=True)
class Command:
    """`run` takes the words after the command and returns the exit code. Without a summary it is not for people."""

    name: str
    summary: str
    run: Callable[[list[str]], int]


def _serve(argv: list[str]) -> int:
    from dynamo_fe.cli.serve_command import serve

    return serve(argv)


def _mock_worker(argv: list[str]) -> int:
    from dynamo_fe.workers.command import run

    return run(argv)


def _tokenizer_check(argv: list[str]) -> int:
    from dynamo_fe.models.selfcheck import main as check

    return check(argv)


def _version(argv: list[str]) -> int:
    print(f"dynamo-fe {__version__} (compatible with Dynamo Frontend 1.6.1)")
    return 0


COMMANDS: Final = (
    Command("serve", "serve the models that workers registered (the default)", _serve),
    Command("mock-worker", "an engine worker without a GPU, for trying and testing", _mock_worker),
    Command("version", "print the version", _version),
    Command("_tokenizer-check", "", _tokenizer_check),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` (the process's own words by default) asks for; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] == "--version":
        return _version(words[1:])
    by_name = {command.name: command for command in COMMANDS}
    if words and words[0] in by_name:
        return by_name[words[0]].run(words[1:])
    return by_name["serve"].run(words)
