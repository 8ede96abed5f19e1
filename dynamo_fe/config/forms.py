"""What the texts of some settings must look like. Whether there is what they name, is looked at elsewhere."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple


class Form(NamedTuple):
    """`expected` says in words what is allowed, behind "must be"."""

    expected: str
    fits: Callable[[str], bool]


# Level words and numbers of tracing's LevelFilter, and the word that Python people write.
LOG_LEVELS: Final = {
    "off": 100, "error": 40, "warn": 30, "warning": 30, "info": 20, "debug": 10, "trace": 5,
    "0": 100, "1": 40, "2": 30, "3": 20, "4": 10, "5": 5,
}  # fmt: skip

# RFC 1123, and _ as in names of containers
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# target[span{field=value}]=level of tracing-subscriber's EnvFilter, each part but one left out
_DIRECTIVE: Final = re.compile(r"(?P<target>[\w:.-]*)(?P<span>\[[^\]]*\])?(=(?P<level>\w+))?")
_WEB_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?P<host>\[[^\]]*\]|[^/:?#\s]+)(:\d{1,5})?/?")


def _is_host(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        labels = text.removesuffix(".").split(".")
        return len(text) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdecimal()
    return True


def _is_log_filter(text: str) -> bool:
    directives = (part.strip() for part in re.split(r",(?![^\[]*\])", text))
    return all(_is_directive(part) for part in directives if part)


def _is_directive(text: str) -> bool:
    """A target alone asks for all of it; only one that looks like a path of Rust is not a level that is misspelt."""
    found = _DIRECTIVE.fullmatch(text)
    if found is None:
        return False
    if found["level"] is not None:
        return found["level"].lower() in LOG_LEVELS
    target = found["target"]
    return bool(found["span"]) or target.lower() in LOG_LEVELS or "_" in target or "::" in target or target == "dynamo"


HOST: Final = Form("an address or a host name, without scheme and port", _is_host)
LOG_FILTER: Final = Form("off, error, warn, info, debug, trace, or such as info,dynamo_fe=debug", _is_log_filter)
HEADER: Final = Form(
    "of letters, digits and -_.!#$%&'*+^`|~", lambda text: bool(re.fullmatch(r"[\w.!#$%&'*+^`|~-]+", text, re.ASCII))
)
ROUTE: Final = Form("a path without blanks, ? and #", lambda text: bool(re.fullmatch(r"[^\s?#]+", text)))
WEB_ORIGIN: Final = Form(
    "* or an origin such as https://app.example", lambda text: text == "*" or bool(_WEB_ORIGIN.fullmatch(text))
)
