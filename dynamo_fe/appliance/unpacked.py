"""The folder that a one-file build unpacks itself into: held while it is in use, removed where a kill left one behind.

The boot loader removes it when the program has ended, if it is still there to do so: a kill -9 leaves about 80 MB.
"""

import contextlib
import fcntl
import os
import re
import sys
import time
from pathlib import Path
from typing import Final

# How PyInstaller's boot loader names it: its process id, and what mkdtemp(3) makes of six letters.
_NAME: Final = re.compile(r"_MEI([0-9a-f]{8})\w{6}", re.ASCII)
# What no other program unpacks.
_MARK: Final = "dynamo_fe"
# A program that is still being unpacked does not hold its folder yet. One in another container may share the temporary
# folder with us, and its boot loader's process id then says nothing.
_UNPACKING_SECS: Final = 60.0


def keep_unpacked() -> None:
    """In a one-file build: holds the folder for as long as this process or a fork of it lives, and removes those beside
    it that nobody holds any more; else nothing.
    """
    own = getattr(sys, "_MEIPASS", "")
    if not _NAME.fullmatch(os.path.basename(own)):
        return
    with contextlib.suppress(OSError):
        # never closed
        fcntl.flock(os.open(own, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH | fcntl.LOCK_NB)
        remove_left_behind(Path(own).parent)


def remove_left_behind(temporary: Path) -> None:
    """Removes every folder of a one-file build of ours in there that belongs to this user and is in nobody's use. What
    cannot be removed stays.
    """
    with os.scandir(temporary) as entries:
        names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    for name in names:
        with contextlib.suppress(OSError):
            _remove_if_left(temporary / name)


def _remove_if_left(folder: Path) -> None:
    found = _NAME.fullmatch(folder.name)
    if found is None or os.path.exists(f"/proc/{int(found[1], 16)}"):
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(number)
        if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < _UNPACKING_SECS:
            return
        os.stat(_MARK, dir_fd=number)
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # 3 ms, and seldom needed
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(number)
