"""A configuration file to begin with: every setting that has an effect, explained, at its default and commented out."""

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from dynamo_fe.config import TABLE
from dynamo_fe.config.setting import Setting
from dynamo_fe.config.values import to_toml

_COLUMNS: Final = 100
_HEAD: Final = """\
# Settings of dynamo-fe, TOML. Each line shows a default: take the # away to change it. dynamo-fe check-config says if
# the file is good, and systemctl reload takes it over while requests run on. Flags and variables win over this file.
# Secrets: a file NAME in /etc/dynamo-fe/credentials is what "credential:NAME" stands for here, as it was at the start:
# a restart takes over what has changed there, a reload does not.
"""
NOT_IN_A_FILE: Final = ("config", "dump_config_to", "interactive")


def render() -> str:
    """The whole file."""
    lines = [_HEAD.rstrip("\n")]
    rows = [setting for setting in TABLE if setting.status == "active" and setting.name not in NOT_IN_A_FILE]
    for group, settings in groupby(rows, key=lambda setting: setting.group):
        lines += ["", f"## {group}"]
        for setting in settings:
            lines += _entry(setting)
    return "\n".join(lines) + "\n"


def _entry(setting: Setting) -> Iterator[str]:
    words = setting.help
    if setting.choices:
        words += f" One of: {', '.join(setting.choices)}."
    yield ""
    yield from (f"# {line}" for line in textwrap.wrap(words, _COLUMNS, break_on_hyphens=False))
    if setting.default is not None:
        default = to_toml(setting.default)
    else:
        default = '""' if setting.kind == "text" else "…"
    yield f"#{setting.name} = {default}"
