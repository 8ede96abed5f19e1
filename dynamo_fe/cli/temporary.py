"""A temporary folder that can really be written to."""

import errno
import os
import shutil
import tempfile
from typing import Final

from dynamo_fe.config import ConfigError
from dynamo_fe.config.errors import NO_TEMPORARY_FOLDER

_PROBE_BYTES: Final = 65536


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


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT and "usable temporary directory" in str(error):
        return "none of the usual places can be written to"
    return error.strerror or str(error)
