"""The table of commands. `serve` is what runs when the first word names none."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from dynamo_fe.appliance.hangup import hangups_held, let_signals_through
from dynamo_fe.appliance.parent_death import end_with_bootloader, end_with_parent
from dynamo_fe.appliance.unpacked import keep_unpacked
from dynamo_fe.cli.command import ANY_COMMAND, Command, Option


def _serve(argv: list[str]) -> int:
    from dynamo_fe.cli.serve_command import serve

    return serve(argv)


def _check_config(argv: list[str]) -> int:
    from dynamo_fe.cli.show_config import check_config

    return check_config(argv)


def _print_config(argv: list[str]) -> int:
    from dynamo_fe.cli.show_config import print_config

    return print_config(argv)


def _doctor(argv: list[str]) -> int:
    from dynamo_fe.cli.doctor import doctor

    return doctor(argv)


def _mock_worker(argv: list[str]) -> int:
    from dynamo_fe.workers.command import run

    return run(argv)


def _mock_worker_options() -> Iterable[Option]:
    from dynamo_fe.workers.options import flags

    return [Option((flag,), operand, text) for flag, operand, text in flags()]


def _explain(argv: list[str]) -> int:
    from dynamo_fe.cli.explain import run

    return run(argv)


def _tokenizer_check(argv: list[str]) -> int:
    asked_by, *path = argv or [""]
    if asked_by.isdecimal():
        end_with_parent(int(asked_by))
    from dynamo_fe.models.selfcheck import main as check

    return check(path)


def _bench(argv: list[str]) -> int:
    from dynamo_fe.cli.bench import bench

    return bench(argv)


def _bench_options() -> Iterable[Option]:
    from dynamo_fe.cli.bench import bench_options

    return bench_options()


def _version(argv: list[str]) -> int:
    from dynamo_fe.cli.version import version

    return version(argv)


def _help(argv: list[str]) -> int:
    from dynamo_fe.config.errors import USAGE_ERROR

    if len(argv) > 1 or (argv and argv[0].startswith("-")):
        print("usage: dynamo-fe help [COMMAND]", file=sys.stderr)
        return USAGE_ERROR
    return _dispatch([*argv, "--help"])


def _completion(argv: list[str]) -> int:
    from dynamo_fe.cli.completion import completion

    return completion(argv, COMMANDS)


def _man(argv: list[str]) -> int:
    from dynamo_fe.cli.man_page import man

    return man(argv, COMMANDS)


_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_JSON: Final = Option(("--json",), "", "Answer in JSON.")
_TEMPLATE: Final = Option(("--template",), "", "Print an explained file to begin with instead.")
_ORIGIN: Final = Option(("--origin",), "", "Show where each value comes from.")

COMMANDS: Final = (
    Command(
        "serve",
        "serve the models that workers registered (the default)",
        _serve,
        "Serves until SIGTERM or SIGINT, then lets running requests end; a second signal ends at once. SIGHUP reloads.",
        serve_options=True,
    ),
    Command(
        "check-config",
        "say whether serve would take the configuration",
        _check_config,
        "Reads flags, variables and file as serve does and looks into the files that they name, without listening.",
        serve_options=True,
    ),
    Command(
        "print-config",
        "print every setting with its value",
        _print_config,
        "The lines can stand in a configuration file. Secrets are not printed.",
        options=lambda: (_ORIGIN, _JSON, _TEMPLATE),
        serve_options=True,
    ),
    Command(
        "doctor",
        "look at everything that serving needs and say what is wrong",
        _doctor,
        "One line a finding, ok, warn or fail, with the remedy. Exit code 0: nothing fails; 3: something does; "
        "1, 2, 66 or 78: there is no configuration to look at, as of serve.",
        options=lambda: (_JSON,),
        serve_options=True,
    ),
    Command(
        "mock-worker",
        "an engine worker without a GPU, for trying and testing",
        _mock_worker,
        "Registers as an engine would, speaks the real wire and answers with passages of a built-in text.",
        options=_mock_worker_options,
    ),
    Command(
        "explain",
        "say where a running frontend would send a request, and why",
        _explain,
        "Asks a frontend with --router-mode kv; the request is neither executed nor booked.",
        options=lambda: (
            Option(("--url",), "URL", "The frontend; http://127.0.0.1:8000 without it."),
            Option(("--model",), "NAME", "Its model; without it that of the request, or the first one listed."),
            Option(("--prompt",), "TEXT", "A user's message."),
            Option(("--request",), "FILE", "JSON body of a chat or completions request; - for standard input."),
            _JSON,
        ),
    ),
    Command(
        "bench",
        "put load on a frontend and say how it did",
        _bench,
        "Streams chats and reports TTFT, ITL and whole times, throughput, failures by class and, of a frontend on this "
        "host, CPU time. Words behind -- are options of serve for a frontend of its own. Exit code 0: every request "
        "came to its end; 4: some failed.",
        options=_bench_options,
        serve_behind_dashes=True,
    ),
    Command("help", "print the help of a command, or this", _help, operands=(ANY_COMMAND,)),
    Command("version", "print the version and what it needs", _version, options=lambda: (_JSON,)),
    Command(
        "completion",
        "print the completion script of a shell",
        _completion,
        "For bash: dynamo-fe completion bash > /etc/bash_completion.d/dynamo-fe",
        operands=("bash|zsh|fish",),
    ),
    Command("man", "print the man page", _man, "To read it: dynamo-fe man | man -l -"),
    Command("_tokenizer-check", "", _tokenizer_check),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` (the process's own words by default) asks for; returns the exit code."""
    with hangups_held():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(words: list[str]) -> int:
    _open_standard_files()
    end_with_bootloader()
    keep_unpacked()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # where the locale lacks a character
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read our output has seen enough
        _write_no_more()
        return 0
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        from dynamo_fe.config.errors import NOT_WRITTEN

        _write_no_more()
        with contextlib.suppress(OSError):
            _say_error(f"cannot write: {error.strerror}")
        return NOT_WRITTEN
    return code


def _open_standard_files() -> None:
    """Where whoever started us left one closed, the next file opened would get its number, and what is said."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)


def _write_no_more() -> None:
    """The interpreter must not try to write the rest at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    if words and words[0] == "--version":
        from dynamo_fe.cli.version import print_version

        return print_version()
    by_name = {command.name: command for command in COMMANDS}
    if words and words[0] in by_name:
        return _run(by_name[words[0]], words[1:])
    if words and not words[0].startswith("-"):
        return _refuse(words[0], [command.name for command in COMMANDS if command.summary])
    return _run(by_name["serve"], words)


def _refuse(word: str, names: Sequence[str]) -> int:
    import difflib

    from dynamo_fe.config.errors import USAGE_ERROR

    close = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "dynamo-fe help names them"
    _say_error(f"unknown command {word} ({hint})")
    return USAGE_ERROR


def _say_error(text: str) -> None:
    import logging

    from dynamo_fe.ops.logs import say

    say(logging.ERROR, text, before="dynamo-fe: error: ")


def _run(command: Command, words: list[str]) -> int:
    if command.run is not _serve:
        let_signals_through()
    # serve and mock-worker have a help of their own, with every setting
    if command.name not in ("serve", "mock-worker") and ("-h" in words or "--help" in words):
        from dynamo_fe.cli.help import render_command

        print(render_command(command), end="")
        return 0
    return command.run(words)
