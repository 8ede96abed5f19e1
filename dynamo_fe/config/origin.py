"""Where the value of a setting came from, and what a refusal of it says and ends with.

An origin is a flag or a variable as it was written, the file and line of a configuration file, or "default".
"""

from collections.abc import Mapping
from typing import Final

from dynamo_fe.config.errors import BAD_CONFIGURATION, FAILED, ConfigError, SettingFault
from dynamo_fe.config.settings import TABLE

DEFAULT_ORIGIN: Final = "default"

_LABELS: Final = {setting.name: setting.label for setting in TABLE}


def place_of(name: str, origins: Mapping[str, str]) -> str:
    """Where an operator finds the value: flag, variable, or file, line and key."""
    origin = origins[name]
    if origin == DEFAULT_ORIGIN:
        return _LABELS[name]
    return f"{origin}: {name}" if ":" in origin else origin


def refusal(fault: SettingFault, origins: Mapping[str, str]) -> ConfigError:
    """The fault with the place of what is to blame: the first given by a flag, else the first given."""
    given = [name for name in fault.names if origins[name] != DEFAULT_ORIGIN] or list(fault.names)
    by_flag = [name for name in given if _is_flag(origins[name])]
    place = place_of((by_flag or given)[0], origins)
    text = str(fault)
    exit_code = FAILED if fault.passes or by_flag else BAD_CONFIGURATION
    return ConfigError(text if place in text else f"{place}: {text}", exit_code)


def _is_flag(origin: str) -> bool:
    return origin.startswith("-") and ":" not in origin
