"""The HTTP server's TLS files as they were when they were found good, kept in memory for the processes that serve.

Each of them reads the files when it starts, also one that takes the place of a dead one days later. What somebody
writes to them meanwhile would end it, in the server's own code by a panic.
"""

import os
from dataclasses import replace
from typing import Any, BinaryIO, Final, NamedTuple

from dynamo_fe.config import Settings
from dynamo_fe.config.errors import SettingFault
from dynamo_fe.config.reading import read_file
from dynamo_fe.planes.tls import TlsFileError, server_context

_NAMES: Final = ("tls_cert_path", "tls_key_path", "tls_client_ca_cert_path")


class HeldTls(NamedTuple):
    """`settings` name the copies, which forked children have as long as `files` are open."""

    settings: Settings
    files: tuple[BinaryIO, ...]


def hold_tls_files(settings: Settings) -> HeldTls:
    """Copies the files. Raises SettingFault for one that cannot be used."""
    files: list[BinaryIO] = []
    copies: dict[str, Any] = {}
    for name in _NAMES:
        path = getattr(settings, name)
        if path is not None:
            try:
                content = read_file(path)
            except OSError as error:
                raise SettingFault(f"{path}: {error.strerror or error}", name) from None
            files.append(_in_memory(content))
            copies[name] = f"/proc/self/fd/{files[-1].fileno()}"
    held = replace(settings, **copies)
    if held.tls_cert_path is not None and held.tls_key_path is not None:
        try:
            server_context(held.tls_cert_path, held.tls_key_path, held.tls_client_ca_cert_path)
        except TlsFileError as error:
            text = str(error)
            for name, copy in copies.items():
                text = text.replace(copy, getattr(settings, name))
            raise SettingFault(text, *(name for name, copy in copies.items() if copy == error.path)) from None
    return HeldTls(held, tuple(files))


def _in_memory(content: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("tls"), "wb")
    file.write(content)
    file.flush()
    return file
