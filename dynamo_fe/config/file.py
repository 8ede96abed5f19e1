"""The configuration file: TOML, one line a setting, under the names that flags and `print-config` have."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dynamo_fe.config.errors import BAD_CONFIGURATION, UNREADABLE_FILE, ConfigError
from dynamo_fe.config.long_keys import MOST_PARTS, line_of_long_key
from dynamo_fe.config.reading import Unsuitable, read_file_or_pipe
from dynamo_fe.config.setting import Kind, Setting, Value
from dynamo_fe.config.values import in_form, number_in_range, one_of, to_toml

_EXPECTED: Final[Mapping[Kind, str]] = {
    "text": "a text in quotes",
    "choice": "a text in quotes",
    "switch": "true or false",
    "whole": "a whole number",
    "real": "a number",
    "words": "a list of texts",
}


_TOO_BIG: Final = "a number is too long, or lists are nested too deeply"
# Every setting and its explanation take a tenth of it; the parser takes up to 0.7 s for so much.
_MOST_CHARACTERS: Final = 1 << 20
_KEY_IN_LINE: Final = re.compile(r"""\s*+(?:\[\s*+)*+(?:"([^"]*+)"|'([^']*+)'|([\w-]++))\s*+[=.\]]""", re.ASCII)
_LONGEST_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class FileValue:
    """`origin` is `path:line`."""

    value: Value
    origin: str


def read_config_file(path: str, table: Iterable[Setting], *, may_wait: bool) -> dict[str, FileValue]:
    """What the file sets, by the name of the setting; hyphens and underscores in a key mean the same. Where `may_wait`
    it may be a pipe.

    Raises ConfigError, which names file, line, key and what is allowed.
    """
    text = _read(path, may_wait)
    content = _parsed(path, text)
    try:
        return _found(path, text, content, table)
    except ConfigError as error:
        error.log_jsonl = any(key.replace("-", "_") == "log_jsonl" and value is True for key, value in content.items())
        raise


def _parsed(path: str, text: str) -> dict[str, Any]:
    import tomllib

    long_key = line_of_long_key(text)
    if long_key is not None:
        raise ConfigError(f"{path}:{long_key}: a key of more than {MOST_PARTS} parts", BAD_CONFIGURATION)
    try:
        # the parser says no line of a fault where the text ends, but does of one before a last line's end
        return tomllib.loads(text if text.endswith("\n") else f"{text}\n")
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = f":{place[1]}" if place else ""
        reason = str(error)[: place.start()] if place else str(error)
        if place and reason == "Cannot overwrite a value":
            reason += f": {_key_on(int(place[1]), text)} was set before"
        raise ConfigError(f"{path}{line}: not TOML: {reason}", BAD_CONFIGURATION) from None
    except (ValueError, RecursionError):
        # a number of thousands of digits, or as many brackets
        raise ConfigError(f"{path}: not TOML that can be read: {_TOO_BIG}", BAD_CONFIGURATION) from None


def _found(path: str, text: str, content: Mapping[str, Any], table: Iterable[Setting]) -> dict[str, FileValue]:
    known = _keys(table)
    lines = _lines(text)
    found: dict[str, FileValue] = {}
    for key, value in content.items():
        origin = f"{path}:{lines.get(key, 1)}"
        setting = known.get(key.replace("-", "_"))
        if setting is None:
            raise ConfigError(f"{origin}: {_unknown(key, value, known, table)}", BAD_CONFIGURATION)
        if setting.name in found:
            earlier = found[setting.name].origin
            raise ConfigError(f"{origin}: {key} was set before, in {earlier}", BAD_CONFIGURATION)
        found[setting.name] = FileValue(_checked(setting, key, value, origin), origin)
    return found


def _read(path: str, may_wait: bool) -> str:
    try:
        # editors of other systems put a mark of the byte order in front
        text = read_file_or_pipe(path, may_wait=may_wait).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not TOML: it is not UTF-8", BAD_CONFIGURATION) from None
    except Unsuitable as error:
        raise ConfigError(f"{path}: {error.strerror}", BAD_CONFIGURATION) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", UNREADABLE_FILE) from None
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(f"{path}: it has more than {_MOST_CHARACTERS} characters", BAD_CONFIGURATION)
    return text


def _keys(table: Iterable[Setting]) -> dict[str, Setting]:
    """By every name a file may use: that of the setting, and those of its long flags. Not the file's own name."""
    known = {}
    for setting in table:
        if setting.name == "config":
            continue
        for name in (setting.name, *(flag[2:] for flag in setting.flags if flag.startswith("--"))):
            known[name.replace("-", "_")] = setting
    return known


def _lines(text: str) -> dict[str, int]:
    """The first line that sets each key (the parser does not tell)."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if match := _KEY_IN_LINE.match(line):
            lines.setdefault(match[1] or match[2] or match[3] or "", number)
    return lines


def _key_on(number: int, text: str) -> str:
    """The key that the line sets."""
    return _shown(text.split("\n")[number - 1].partition("=")[0].strip())


def _shown(key: str) -> str:
    """On one line of a log or a terminal, and no more of it than tells."""
    cut = key if len(key) <= _LONGEST_SHOWN else f"{key[:_LONGEST_SHOWN]}..."
    return cut if cut.isprintable() and cut else repr(cut)


def _unknown(key: str, value: Any, known: Mapping[str, Setting], table: Iterable[Setting]) -> str:
    """Also somebody who writes a variable is told the key."""
    import difflib

    if isinstance(value, dict):
        return f"{_shown(key)} is a table; settings stand at the top, each on a line of its own"
    wanted = key.replace("-", "_").lower()
    by_variable = [each.name for each in table if each.variable and each.variable.lower() == wanted]
    close = by_variable or difflib.get_close_matches(wanted[:_LONGEST_SHOWN], known, n=1, cutoff=0.75)
    return f"unknown key {_shown(key)}" + (f" (did you mean {close[0]}?)" if close else "")


def _written(value: Any) -> str:
    """As the file has it, as far as one line tells."""
    match value:
        case dict():
            return "a table"
        case bool() | int() | float() | str():
            return to_toml(value)
        case list() if all(isinstance(each, str) for each in value):
            return to_toml(tuple(value))
        case list():
            return "a list of other things"
        case _:
            return str(value)


def _checked(setting: Setting, key: str, value: Any, origin: str) -> Value:
    source = f"{origin}: {key}" + ("" if key == setting.name else f" (the key is {setting.name})")
    match setting.kind, value:
        case "switch", bool():
            return value
        case ("whole" | "real"), int() if not isinstance(value, bool):
            number = value if setting.kind == "whole" else float(value)
            return number_in_range(setting, number, str(value), source, BAD_CONFIGURATION)
        case "real", float():
            return number_in_range(setting, value, str(value), source, BAD_CONFIGURATION)
        case "choice", str():
            return one_of(setting, value, source, BAD_CONFIGURATION)
        case "text", str():
            return in_form(setting, value, source, BAD_CONFIGURATION) if value else setting.default
        case "words", list() if all(isinstance(word, str) for word in value):
            return tuple(in_form(setting, word, source, BAD_CONFIGURATION) for word in value)
    raise ConfigError(f"{source} must be {_EXPECTED[setting.kind]}, got {_written(value)}", BAD_CONFIGURATION)
