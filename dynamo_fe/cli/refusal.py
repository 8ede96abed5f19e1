"""The last line of a command that cannot do what it was asked to."""

import logging
import os

from dynamo_fe.config import ConfigError
from dynamo_fe.ops.logs import say


def refuse(error: ConfigError, jsonl: bool | None = None) -> int:
    """Says what is wrong with the configuration; returns the exit code. `jsonl` as of `say`, but where neither it nor
    the environment tells, as what could be read of the configuration asks for.
    """
    if jsonl is None and not os.environ.get("DYN_LOGGING_JSONL"):
        jsonl = error.log_jsonl
    say(logging.ERROR, str(error), before="dynamo-fe: error: ", jsonl=jsonl)
    return error.exit_code
