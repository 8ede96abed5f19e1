"""From the text of a flag or a variable to the value of a setting."""

from collections.abc import Sequence
from math import isfinite
from typing import Final

from dynamo_fe.config.errors import BAD_CONFIGURATION, FAILED, USAGE_ERROR, ConfigError
from dynamo_fe.config.setting import Setting, Value

_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off", "")
# Where the table has no bound: what the kernel and the timers of the libraries take. As seconds, 31 years.
_MOST_WHOLE: Final = 2**53
_MOST_REAL: Final = 10**9


def from_flag(setting: Setting, texts: Sequence[str], flag: str) -> Value:
    """Raises ConfigError."""
    if setting.kind == "words":
        return tuple(in_form(setting, text, flag, FAILED) for text in texts)
    return _convert(setting, texts[-1], flag, USAGE_ERROR)


def from_variable(setting: Setting, text: str, variable: str, warnings: list[str]) -> Value:
    """As `from_flag`; a truth value that is none means false, and a number that is none the default where the setting
    is lenient, as in the original: both are added to `warnings`.
    """
    if setting.kind == "words":
        return tuple(in_form(setting, word, variable, BAD_CONFIGURATION) for word in text.split())
    if setting.kind == "switch" and text.strip().lower() not in _TRUE + _FALSE:
        warnings.append(f"{variable}={text!r} is no truth value (true, 1, yes, on): taken as false")
        return False
    if setting.lenient and not text.strip().isdecimal():
        warnings.append(f"{variable}={text!r} is no whole number from 0: ignored")
        return setting.default
    return _convert(setting, text, variable, BAD_CONFIGURATION)


def is_true(text: str) -> bool:
    """Whether it stands for yes in a variable."""
    return text.strip().lower() in _TRUE


def _convert(setting: Setting, text: str, source: str, exit_code: int) -> Value:
    match setting.kind:
        case "switch":
            return is_true(text)
        case "choice":
            return one_of(setting, text, f"argument {source}", exit_code)
        case "whole" | "real":
            return _number(setting, text, source, exit_code)
        case _:
            return in_form(setting, text, source, _refused(exit_code)) if text else setting.default


def one_of(setting: Setting, text: str, source: str, exit_code: int) -> str:
    """The choice as the table spells it. Raises ConfigError."""
    for known in setting.choices:
        if text.strip().replace("_", "-") == known.replace("_", "-"):
            return known
    expected = ", ".join(f"'{known}'" for known in setting.choices)
    raise ConfigError(f"{source}: invalid choice: {text!r} (choose from {expected})", exit_code)


def in_form(setting: Setting, text: str, source: str, exit_code: int) -> str:
    """The text. Raises ConfigError when the table does not allow it."""
    form = setting.form
    if form is None or form.fits(text):
        return text
    raise ConfigError(f"{source} must be {form.expected}, got {text!r}", exit_code)


def _number(setting: Setting, text: str, source: str, exit_code: int) -> Value:
    if setting.optional and text.strip().lower() == "none":
        return None
    try:
        number: int | float = int(text) if setting.kind == "whole" else float(text)
    except ValueError:
        kind = "int" if setting.kind == "whole" else "float"
        raise ConfigError(f"argument {source}: invalid {kind} value: {text!r}", exit_code) from None
    return number_in_range(setting, number, text, source, _refused(exit_code))


def _refused(exit_code: int) -> int:
    """Of what argparse can read, so that the original refuses it by itself."""
    return FAILED if exit_code == USAGE_ERROR else exit_code


def number_in_range(setting: Setting, number: int | float, text: str, source: str, exit_code: int) -> int | float:
    """The number. Raises ConfigError when the table does not allow it."""
    most = _MOST_WHOLE if setting.kind == "whole" else _MOST_REAL
    low, high = setting.low, setting.high
    if high is None and number > most:
        high = most
    if isfinite(number) and (low is None or number >= low) and (high is None or number <= high):
        return number
    wanted = _range(low, high) if isfinite(number) else "finite"
    raise ConfigError(f"{source} must be {wanted}, got {text.strip()}", exit_code)


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "finite" if high is None else f"<= {high}"
    return f">= {low}" if high is None else f"between {low} and {high}"


def to_toml(value: Value) -> str:
    """The value as a configuration file has it. There is no word for None."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return f"[{', '.join(to_toml(word) for word in value)}]"
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in escaped) + '"'
        case _:
            return str(value)
