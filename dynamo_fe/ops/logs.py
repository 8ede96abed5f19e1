"""One line a record on stderr, as text or JSON, at the level that `DYN_LOG` asks for."""

import json
import logging
import os
import select
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

from dynamo_fe.config.forms import LOG_LEVELS
from dynamo_fe.config.values import is_true

_OURS: Final = "dynamo_fe"
# syslog(3), of which journald reads "<N>" at the beginning of a line: sd-daemon(3)
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
# how long whoever reads stderr may keep a process waiting before it does without
_PATIENCE_MS: Final = 1000


class _Handler(logging.StreamHandler[TextIO]):
    """Leaves out what nobody takes: a reader that is stuck, such as a logger on a full disk, would hold up the process,
    which then hears no signal and serves nobody. How much was left out is said when there is room again.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lost = 0
        self._room = select.poll()
        try:
            self._room.register(stream.fileno(), select.POLLOUT)
            self._is_file = True
        except (OSError, ValueError):
            self._is_file = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_file and not self._room.poll(0 if self._lost else _PATIENCE_MS):
            self._lost += 1
            return
        if self._lost:
            text, lost = "%d lines are missing here: nobody took them", (self._lost,)
            self._lost = 0
            super().emit(logging.LogRecord(__name__, logging.WARNING, "", 0, text, lost, None))
        super().emit(record)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _one_line(f"{_stamp(record)} {record.levelname:<7} {record.name}[{record.process}]: {_words(record)}")


class _JournalFormatter(logging.Formatter):
    """The journal has time and process id of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return _one_line(f"{record.name}: {_words(record)}")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _stamp(record),
            "level": record.levelname,
            "target": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _WithPriority(logging.Formatter):
    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return f"<{priority}>{self._inner.format(record)}"


def configure(level: str, jsonl: bool) -> None:
    """Sets up the root logger.

    `level` is what `DYN_LOG` holds, an env_logger filter such as `info` or `info,dynamo_fe::planes=debug`: the part
    without a target is for all, of the others those of our own count; an unknown word means `info`.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(_formatter(jsonl, os.environ))
    words = [part.strip().partition("=") for part in level.lower().split(",")]
    general = next((target for target, equals, _ in words if not equals and target in LOG_LEVELS), "info")
    logging.basicConfig(level=LOG_LEVELS[general], handlers=[handler], force=True)
    for name in logging.root.manager.loggerDict:
        if name.startswith(_OURS):
            logging.getLogger(name).setLevel(logging.NOTSET)
    for target, equals, word in words:
        if equals and target.startswith(_OURS):
            logging.getLogger(target.replace("::", ".")).setLevel(LOG_LEVELS.get(word, 20))


def say(
    level: int, text: str, *, before: str = "", jsonl: bool | None = None, target: str = f"{_OURS}.cli"
) -> None:
    """One line on stderr of a command that has no log, or not yet: `text` with `before` in front for people; a record
    like those of the log where they are JSON (`jsonl`, None: as the environment says) or go to the journal.
    """
    if jsonl is None:
        jsonl = is_true(os.environ.get("DYN_LOGGING_JSONL", ""))
    formatter = _formatter(jsonl, os.environ)
    if isinstance(formatter, _TextFormatter):
        print(f"{before}{text}", file=sys.stderr)
    else:
        print(formatter.format(logging.LogRecord(target, level, "", 0, text, None, None)), file=sys.stderr)


def trace_of(error: BaseException) -> str:
    """What an exception is and where it came from, without its words: they may hold what a client sent."""
    return f"{type(error).__qualname__}\n{''.join(traceback.format_tb(error.__traceback__))}"


def _formatter(jsonl: bool, environ: Mapping[str, str]) -> logging.Formatter:
    journal = _is_journal(environ.get("JOURNAL_STREAM", ""))
    if jsonl:
        return _WithPriority(_JsonFormatter()) if journal else _JsonFormatter()
    return _WithPriority(_JournalFormatter()) if journal else _TextFormatter()


def _is_journal(stream: str) -> bool:
    """Whether stderr is the stream that systemd connected with the journal: `device:inode`, systemd.exec(5)."""
    if not stream:
        return False
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _words(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return f"{text}\n{logging.Formatter().formatException(record.exc_info)}" if record.exc_info else text


def _one_line(text: str) -> str:
    """What a client said must not look like a record of ours, and a traceback is one record."""
    return " | ".join(text.splitlines()) if "\n" in text or "\r" in text else text


def _stamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
