"""The TLS files of every plane as they were when they were found good, kept in memory for the processes that use them.

Each of them reads the files when it starts, also one that takes the place of a dead one days later. What somebody
writes to them meanwhile would end it, in the HTTP server's own code by a panic.
"""

import os
from dataclasses import replace
from typing import Any, BinaryIO, Final, NamedTuple

from dynamo_fe.cli.certificates import check_certificates
from dynamo_fe.config import TABLE, Settings
from dynamo_fe.config.errors import SettingFault
from dynamo_fe.config.reading import read_file

_NAMES: Final = tuple(row.name for row in TABLE if "tls_" in row.name and row.name.endswith("_path"))


class HeldTls(NamedTuple):
    """`settings` name the copies, which forked children have as long as `files` are open."""

    settings: Settings
    files: tuple[BinaryIO, ...]


def hold_tls_files(settings: Settings) -> HeldTls:
    """Copies the files. Raises SettingFault for one that is used and cannot be."""
    named = {name: path for name in _NAMES if (path := getattr(settings, name)) is not None}
    files = {path: file for path in set(named.values()) if (file := _in_memory(path)) is not None}
    copies: dict[str, Any] = {name: _path_of(files[path]) for name, path in named.items() if path in files}
    held = replace(settings, **copies)
    try:
        check_certificates(held)
    except SettingFault as fault:
        text = str(fault)
        # one may begin like another that is longer
        for path, file in sorted(files.items(), key=lambda entry: -entry[1].fileno()):
            text = text.replace(_path_of(file), path)
        raise SettingFault(text, *fault.names) from None
    return HeldTls(held, tuple(files.values()))


def _in_memory(path: str) -> BinaryIO | None:
    """None where it cannot be read: that may be one that nobody uses."""
    try:
        content = read_file(path)
    except OSError:
        return None
    file = os.fdopen(os.memfd_create("tls"), "wb")
    file.write(content)
    file.flush()
    return file


def _path_of(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"
