"""The options of `dynamo-fe bench`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn

from dynamo_fe.cli.frontend_url import frontend_url


class BenchError(Exception):
    """Nothing can be measured. `str()` is one line, `exit_code` what the command ends with."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """`url` None: a frontend of its own, which gets the words `serve`. Of `requests` and `duration_secs` the first to
    be reached ends the load; `rate` None: each lane asks again as soon as it has its answer.
    """

    url: str | None
    model: str | None
    concurrency: int
    requests: int | None
    duration_secs: float | None
    rate: float | None
    prompt_tokens: int
    output_tokens: int
    stream: bool
    timeout_secs: float
    mock_workers: int
    json: bool
    serve: tuple[str, ...]


class Row(NamedTuple):
    """One flag; without `read` it is a switch."""

    flag: str
    operand: str
    text: str
    read: Callable[[str], Any] | None = None
    default: Any = None


def _whole(least: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        value = int(word)
        if value < least:
            raise argparse.ArgumentTypeError(f"{word} is less than {least}")
        return value

    read.__name__ = "number"
    return read


def _positive(word: str) -> float:
    value = float(word)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not a positive number")
    return value


_positive.__name__ = "number"

DEFAULT_SECS: Final = 10.0
ROWS: Final = (
    Row("--url", "URL", "The frontend; without it one is started for the time, with mock workers.", str),
    Row("--model", "NAME", "Its model; the first one listed without it.", str),
    Row("--concurrency", "N", "Requests at a time, or at most with --rate [16].", _whole(1), 16),
    Row("--requests", "N", "Ends after so many requests.", _whole(1)),
    Row("--duration-secs", "N", "Starts no more requests after so long [10, unless --requests is given].", _positive),
    Row("--rate", "N", "Requests a second, at random moments; times then count from when one was due.", _positive),
    Row("--prompt-tokens", "N", "Length of a prompt; no two begin alike [128].", _whole(1), 128),
    Row("--output-tokens", "N", "Length of an answer [64].", _whole(1), 64),
    Row("--no-stream", "", "Ask for whole answers."),
    Row("--timeout-secs", "N", "Gives a request up after so long [120].", _positive, 120.0),
    Row("--mock-workers", "N", "Of its own frontend [2].", _whole(1), 2),
    Row("--json", "", "Answer in JSON."),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(message, 2)


def parse(argv: Sequence[str]) -> BenchOptions:
    """What stands behind a lone `--` are words for the frontend of its own. Raises BenchError."""
    own, serve = list(argv), []
    if "--" in own:
        at = own.index("--")
        own, serve = own[:at], own[at + 1 :]
    parser = _Parser(prog="dynamo-fe bench", allow_abbrev=False, add_help=False)
    for row in ROWS:
        if row.read is None:
            parser.add_argument(row.flag, action="store_true")
        else:
            parser.add_argument(row.flag, type=row.read, default=row.default, metavar=row.operand)
    values = vars(parser.parse_args(own))
    if serve and values["url"] is not None:
        raise BenchError("words behind -- are for a frontend of its own: leave out --url, or the words", 2)
    if values["url"] is not None:
        try:
            values["url"] = frontend_url(values["url"])
        except ValueError as error:
            raise BenchError(str(error), 2) from None
    if values["requests"] is None and values["duration_secs"] is None:
        values["duration_secs"] = DEFAULT_SECS
    return BenchOptions(stream=not values.pop("no_stream"), serve=tuple(serve), **values)
