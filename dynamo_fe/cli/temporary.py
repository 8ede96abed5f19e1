"""A temporary folder that can really be written to."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from dynamo_fe.appliance.held_folder import hold, remove_unless_held
from dynamo_fe.config import ConfigError
from dynamo_fe.config.errors import NO_TEMPORARY_FOLDER

_PROBE_BYTES: Final = 65536
# Inside a held folder, and made only once it is held: where it is and nobody holds the folder, whoever did is dead.
_HELD: Final = "held"


def temporary_folder(prefix: str) -> str:
    """Makes a folder that can be written to, below TMPDIR where that is set, whatever else there may be. Raises
    ConfigError, also when the disk is full.
    """
    try:
        folder = tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("TMPDIR") or None)
    except OSError as error:
        raise ConfigError(f"no temporary folder: {_reason(error)}; TMPDIR names another", NO_TEMPORARY_FOLDER) from None
    try:
        with open(os.path.join(folder, "probe"), "wb") as probe:
            probe.write(bytes(_PROBE_BYTES))
        os.unlink(probe.name)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        text = f"cannot write to the temporary folder {os.path.dirname(folder)}: {_reason(error)}; TMPDIR names another"
        raise ConfigError(text, NO_TEMPORARY_FOLDER) from None
    return folder


class HeldFolder:
    """One that lives as long as this process and its forks: what a kill left, the next of the same prefix removes."""

    def __init__(self, prefix: str) -> None:
        """Raises ConfigError, as `temporary_folder` does."""
        self._folder = temporary_folder(prefix)
        self.path = os.path.join(self._folder, _HELD)
        try:
            self._holding = hold(self._folder)
            os.mkdir(self.path)
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            text = f"cannot use the temporary folder {self._folder}: {_reason(error)}; TMPDIR names another"
            raise ConfigError(text, NO_TEMPORARY_FOLDER) from None
        _remove_left_behind(Path(self._folder).parent, prefix)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._holding)


def _remove_left_behind(temporary: Path, prefix: str) -> None:
    """What cannot be removed stays."""
    name = re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}")
    with contextlib.suppress(OSError):
        for found in [entry for entry in os.listdir(temporary) if name.fullmatch(entry)]:
            with contextlib.suppress(OSError):
                remove_unless_held(temporary / found, _HELD)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT and "usable temporary directory" in str(error):
        return "none of the usual places can be written to"
    return error.strerror or str(error)
