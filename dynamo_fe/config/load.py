"""From a command line and an environment to the settings of a process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynamo_fe.config.credentials import resolve
from dynamo_fe.config.errors import ConfigError, SettingFault
from dynamo_fe.config.file import FileValue, read_config_file
from dynamo_fe.config.flags import FlagParser
from dynamo_fe.config.origin import DEFAULT_ORIGIN, refusal
from dynamo_fe.config.rules import (
    adopt_stand_ins,
    check,
    warn_of_half_tls,
    warn_of_the_ineffective,
    warn_of_unknown_variables,
)
from dynamo_fe.config.settings import TABLE, Settings
from dynamo_fe.config.values import from_flag, from_variable

(_CONFIG,) = (setting for setting in TABLE if setting.name == "config")


@dataclass(frozen=True, slots=True)
class Loaded:
    """`origins` says of every setting where its value came from: the flag or the variable as written, the file and line
    in it, or "default"."""

    settings: Settings
    origins: dict[str, str]
    warnings: list[str]


def load(argv: Sequence[str], environ: Mapping[str, str], *, may_wait: bool = True) -> Loaded:
    """The settings: a flag wins over its variable, that over the file, that over the default. An empty variable counts
    as not set. Where `may_wait` the file may be a pipe.

    Raises ConfigError, whose text is the original's where it has one.
    """
    given = FlagParser(TABLE).parse(argv)
    path = given["config"][0][-1] if "config" in given else environ.get(_CONFIG.variable or "", "")
    in_file = read_config_file(path, TABLE, may_wait=may_wait) if path else {}
    try:
        return _merged(given, in_file, environ)
    except ConfigError as error:
        if "log_jsonl" in in_file:
            error.log_jsonl = bool(in_file["log_jsonl"].value)
        raise


def _merged(
    given: Mapping[str, tuple[list[str], str]], in_file: Mapping[str, FileValue], environ: Mapping[str, str]
) -> Loaded:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    warnings: list[str] = []
    for setting in TABLE:
        origins[setting.name] = DEFAULT_ORIGIN
        if setting.name in given:
            texts, flag = given[setting.name]
            values[setting.name] = from_flag(setting, texts, flag)
            origins[setting.name] = flag
        elif setting.variable and environ.get(setting.variable):
            values[setting.name] = from_variable(setting, environ[setting.variable], setting.variable, warnings)
            origins[setting.name] = setting.variable
        elif setting.name in in_file:
            values[setting.name], origins[setting.name] = in_file[setting.name].value, in_file[setting.name].origin
        if setting.name in values:
            values[setting.name] = resolve(setting, values[setting.name], origins[setting.name], environ)
    warn_of_unknown_variables(environ, warnings)
    settings = Settings(**values)
    try:
        check(settings)
    except SettingFault as fault:
        raise refusal(fault, origins) from None
    warn_of_the_ineffective(settings, origins, warnings)
    warn_of_half_tls(settings, warnings)
    return Loaded(adopt_stand_ins(settings, origins, warnings), origins, warnings)
