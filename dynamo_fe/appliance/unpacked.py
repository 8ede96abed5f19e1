"""The folder that a one-file build unpacks itself into: held while it is in use, removed where a kill left one behind.

The boot loader removes it when the program has ended, if it is still there to do so: a kill -9 leaves about 80 MB.
"""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Final

from dynamo_fe.appliance.held_folder import hold, remove_unless_held

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
    found = _NAME.fullmatch(os.path.basename(own))
    if found is None:
        return
    with contextlib.suppress(OSError):
        # never closed
        hold(own)
        remove_left_behind(Path(own).parent, int(found[1], 16))


def remove_left_behind(temporary: Path, loader_pid: int) -> None:
    """Removes every folder of a one-file build of ours in there that belongs to this user and is in nobody's use. What
    cannot be removed stays. `loader_pid` is our own boot loader's, which has one folder: as the first process of a
    container it has the number of the one before.
    """
    with os.scandir(temporary) as entries:
        names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    for name in names:
        with contextlib.suppress(OSError):
            _remove_if_left(temporary / name, loader_pid)


def _remove_if_left(folder: Path, loader_pid: int) -> None:
    found = _NAME.fullmatch(folder.name)
    if found is None:
        return
    pid = int(found[1], 16)
    if pid != loader_pid and os.path.exists(f"/proc/{pid}"):
        return
    remove_unless_held(folder, _MARK, _UNPACKING_SECS)
