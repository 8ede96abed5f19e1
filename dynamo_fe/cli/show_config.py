"""`check-config` and `print-config`: what would be served, without serving it. The options are those of serve."""

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

from dynamo_fe.cli.config_dump import shown
from dynamo_fe.cli.config_template import NOT_IN_A_FILE, render
from dynamo_fe.cli.places import check_pod
from dynamo_fe.cli.preflight import blaming, configuration
from dynamo_fe.cli.refusal import refuse
from dynamo_fe.config import ConfigError, Loaded, load
from dynamo_fe.config.errors import USAGE_ERROR
from dynamo_fe.config.values import to_toml
from dynamo_fe.ops.logs import say


def check_config(argv: Sequence[str]) -> int:
    """Builds all that can be built without listening; says what is wrong in the words with which serve would refuse."""
    try:
        loaded = blaming(configuration(argv, os.environ), check_pod)
    except ConfigError as error:
        return refuse(error)
    for warning in loaded.warnings:
        say(logging.WARNING, warning, before="dynamo-fe: warning: ", jsonl=loaded.settings.log_jsonl)
    print("the configuration can be served")
    if loaded.settings.dump_config_to is not None:
        print(f"not written to {loaded.settings.dump_config_to}: only serve does that")
    return 0


def print_config(argv: Sequence[str]) -> int:
    """Each setting as a line of a configuration file; with --origin where it came from, with --json as JSON. With
    --template, instead, an explained file to begin with."""
    if "--template" in argv:
        print(render(), end="")
        return 0
    ours = {"--origin", "--json"}
    words = [word for word in argv if word not in ours]
    try:
        loaded = load(words, os.environ)
        if loaded.origins["dump_config_to"] == "--dump-config-to":
            raise ConfigError("--dump-config-to: print-config writes no file; only serve does that", USAGE_ERROR)
    except ConfigError as error:
        return refuse(error)
    values = shown(loaded.settings)
    if "--json" in argv:
        print(json.dumps(_with_origins(values, loaded) if "--origin" in argv else values, indent=2))
        return 0
    for name, value in values.items():
        line = _line(name, value)
        print(f"{line:<60}  # {loaded.origins[name]}" if "--origin" in argv else line)
    return 0


def _line(name: str, value: Any) -> str:
    if value is None:
        return f"# {name} is not set"
    # a file says neither where it is nor what a command does
    return f"{'# ' if name in NOT_IN_A_FILE else ''}{name} = {to_toml(value)}"


def _with_origins(values: dict[str, Any], loaded: Loaded) -> dict[str, Any]:
    return {name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()}
