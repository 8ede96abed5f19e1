"""Builds dist/dynamo-fe and dist/dynamo-fe.d and checks that the whole package is in them: python packaging/build.py

Raises SystemExit with what is missing or too large.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import PyInstaller.__main__
from modules import package_modules
from PyInstaller.archive.readers import CArchiveReader

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "dist" / "dynamo-fe"
FOLDER = ROOT / "dist" / "dynamo-fe.d"
IMPORT_CHECK = ROOT / "dist" / "import-check" / "import-check"
LARGEST_FILE_BYTES: Final = 60_000_000


def build() -> None:
    arguments = ["--noconfirm", "--log-level", "WARN"]
    arguments += ["--distpath", str(ROOT / "dist"), "--workpath", str(ROOT / "build" / "pyinstaller")]
    PyInstaller.__main__.run([*arguments, str(ROOT / "packaging" / "dynamo-fe.spec")])


def contents(binary: Path) -> set[str]:
    """Dotted names of the modules in a one-file build, the compiled ones among them."""
    reader = CArchiveReader(str(binary))
    names = {name.split(".", 1)[0].replace("/", ".") for name in reader.toc if ".so" in name}
    for name in reader.toc:
        if name.endswith(".pyz"):
            names |= set(reader.open_embedded_archive(name).toc)
    return names


def main() -> None:
    build()
    expected = package_modules(ROOT)
    missing = sorted(set(expected) - contents(BINARY))
    if missing:
        sys.exit(f"not in {BINARY}: {', '.join(missing)}")
    if subprocess.run([IMPORT_CHECK, *expected]).returncode:
        sys.exit(f"{BINARY} holds a module that cannot be imported, see above")
    size = BINARY.stat().st_size
    if size > LARGEST_FILE_BYTES:
        sys.exit(f"{BINARY} has {size / 1e6:.1f} MB, more than {LARGEST_FILE_BYTES / 1e6:.0f}")
    folder = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{BINARY}: {size / 1e6:.1f} MB, as a folder {folder / 1e6:.1f} MB, {len(expected)} modules of its own")


if __name__ == "__main__":
    main()
