"""What a frozen build is made of: the C library it needs, and the packages inside, from the analysis of PyInstaller."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

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
    owners = {}
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            owners[str(distribution.locate_file(file))] = distribution
    found = {owners[path].metadata["Name"]: owners[path].version for path in sources if path in owners}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def system_packages(binaries: Iterable[str]) -> dict[str, str]:
    """Name and version of each Debian package that one of these libraries comes from."""
    found = {}
    for path in sorted(set(binaries)):
        done = subprocess.run(["dpkg", "-S", str(Path(path).resolve())], capture_output=True, text=True)
        if done.returncode == 0:
            name = done.stdout.partition(":")[0]
            query = ["dpkg-query", "-W", "-f", "${Version}", name]
            found[name] = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return found


def describe(pure: Iterable[Entry], binaries: Iterable[Entry]) -> dict[str, Any]:
    """The whole, ready for JSON."""
    libraries = [source for _, source, _ in binaries if source]
    sources = [source for _, source, _ in pure if source]
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "glibc_needed": glibc_needed(libraries),
        "packages": python_packages([*sources, *libraries]),
        "system_packages": system_packages(libraries),
    }
