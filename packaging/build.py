"""Builds dist/dynamo-fe and checks that the whole package is in it: python packaging/build.py

Raises SystemExit with the names of the modules that are missing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import PyInstaller.__main__
from modules import package_modules
from PyInstaller.archive.readers import CArchiveReader

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "dist" / "dynamo-fe"
IMPORT_CHECK = ROOT / "dist" / "import-check" / "import-check"


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
    print(f"{BINARY}: {BINARY.stat().st_size / 1e6:.1f} MB, {len(expected)} modules of its own")


if __name__ == "__main__":
    main()
