"""One line a record on stderr, as text or JSON, at the level that `DYN_LOG` asks for."""

import json
import logging
import sys
from datetime import UTC, datetime

_LEVELS = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "off": 100}


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{_stamp(record)} {record.levelname:<7} {record.name}[{record.process}]: {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


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


def configure(level: str, jsonl: bool) -> None:
    """Sets up the root logger.

    `level` is what `DYN_LOG` holds, an env_logger filter such as `info` or `info,dynamo_runtime=debug`: the part
    without a target counts; an unknown word means `info`.
    """
    plain = next((part for part in level.lower().split(",") if "=" not in part), "info")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if jsonl else _TextFormatter())
    logging.basicConfig(level=_LEVELS.get(plain.strip(), 20), handlers=[handler], force=True)


def _stamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
