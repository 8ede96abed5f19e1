"""A temporary folder that is held while it is in use, so that a later start can tell it from one that a kill left."""

import fcntl
import os
import time
from pathlib import Path


def hold(folder: str | os.PathLike[str]) -> int:
    """Holds the folder for as long as this process or a fork of it has the file descriptor returned. Raises OSError,
    also where somebody is about to remove it.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        raise
    return number


def remove_unless_held(folder: Path, mark: str, quiet_secs: float = 0.0) -> None:
    """Removes the folder if it is this user's, has the entry `mark`, has not been changed for so long, and nobody holds
    it. Raises OSError where it is not there, or held.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(number)
        if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < quiet_secs:
            return
        os.stat(mark, dir_fd=number)
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # 3 ms, and seldom needed
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(number)
