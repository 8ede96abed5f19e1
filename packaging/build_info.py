"""What a frozen build is made of: the C library it needs, and the packages inside, from the analysis of PyInstaller."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from library_owners import distributions, library_owners, system_owners, system_versions

# From PyInstaller's lists: name in the build, path of the source, kind.
Entry = tuple[str, str, str]
_VERSION = re.compile(rb"\bGLIBC_(\d+)\.(\d+)")


def glibc_needed(paths: Iterable[str]) -> str:
    """The newest version of the C library that one of these files asks for."""
    newest = max((needed for path in paths for needed in _versions(Path(path))), default=(2, 17))
    return f"{newest[0]}.{newest[1]}"


def _versions(path: Path) -> list[tuple[int, int]]:
    return [(int(major), int(minor)) for major, minor in _VERSION.findall(path.read_bytes())]


def python_packages(sources: Iterable[str]) -> dict[str, str]:
    """Name and version of each distribution that one of these files belongs to."""
    owners = distributions()
    found = {owners[path].metadata["Name"]: owners[path].version for path in sources if path in owners}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def describe(pure: Iterable[Entry], binaries: Iterable[Entry]) -> dict[str, Any]:
    """The whole, ready for JSON."""
    libraries = {name: source for name, source, kind in binaries if kind != "SYMLINK"}
    debian = system_owners(libraries.values())
    sources = [source for _, source, _ in pure if source]
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "glibc_needed": glibc_needed(libraries.values()),
        "packages": python_packages([*sources, *libraries.values()]),
        "system_packages": system_versions(debian.values()),
        "libraries": library_owners(libraries, debian),
    }
