"""The last line of a command that cannot do what it was asked to."""

import logging

from dynamo_fe.config import ConfigError
from dynamo_fe.ops.logs import say


def refuse(error: ConfigError, jsonl: bool | None = None) -> int:
    """Says what is wrong with the configuration; returns the exit code. `jsonl` as of `say`."""
    say(logging.ERROR, str(error), before="dynamo-fe: error: ", jsonl=jsonl)
    return error.exit_code
