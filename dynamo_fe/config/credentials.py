"""Secrets that systemd hands over as files: LoadCredential=, `credential:NAME` as the value of a setting."""

import os
from collections.abc import Mapping
from typing import Final

from dynamo_fe.config.errors import UNREADABLE_FILE, ConfigError
from dynamo_fe.config.setting import Setting, Value

PREFIX: Final = "credential:"
# systemd names the files of a folder that is loaded as a whole after the folder's own id
_FOLDER_ID: Final = "dynamo-fe_"
_BY_HAND: Final = (
    "to check the file of a service, as root: "
    "CREDENTIALS_DIRECTORY=/etc/dynamo-fe/credentials dynamo-fe check-config --config FILE"
)


def resolve(setting: Setting, value: Value, origin: str, environ: Mapping[str, str]) -> Value:
    """What `credential:NAME` stands for: the content where the setting is a secret itself, else the file's path.

    Other values are returned as they are. Raises ConfigError when there is no such file or it cannot be read.
    """
    if setting.kind != "text" or not isinstance(value, str) or not value.startswith(PREFIX):
        return value
    name = value.removeprefix(PREFIX)
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        text = f"{origin}: {value}: no credentials were passed (CREDENTIALS_DIRECTORY is not set; {_BY_HAND})"
        raise ConfigError(text, UNREADABLE_FILE)
    paths = [os.path.join(folder, found) for found in (name, _FOLDER_ID + name)]
    there = [path for path in paths if name and "/" not in name and os.path.lexists(path)]
    path = next(filter(os.path.isfile, there), None)
    if there and path is None:
        raise ConfigError(f"{origin}: credential {name} is no regular file", UNREADABLE_FILE)
    if path is None:
        known = ", ".join(sorted(_names(folder))) or "none"
        raise ConfigError(f"{origin}: there is no credential {name}; there is: {known}", UNREADABLE_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{origin}: cannot read credential {name}: {reason}", UNREADABLE_FILE) from None
    return content.rstrip("\n") if setting.secret else path


def _names(folder: str) -> list[str]:
    try:
        return [name.removeprefix(_FOLDER_ID) for name in os.listdir(folder)]
    except OSError:
        return []
