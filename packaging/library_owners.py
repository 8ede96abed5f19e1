"""Who made each library that a frozen build carries."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from modules import PACKAGE

# What a library is laid to, other than a Python distribution or a Debian package.
PYTHON: Final = "python"
OWN: Final = "dynamo-fe"


def distributions() -> dict[str, metadata.Distribution]:
    """The installed distribution that each file belongs to."""
    return {
        str(distribution.locate_file(file)): distribution
        for distribution in metadata.distributions()
        for file in distribution.files or ()
    }


def system_owners(paths: Iterable[str]) -> dict[str, str]:
    """Name of the Debian package that each of these files comes from; one that comes from none is left out."""
    asked = {}
    for path in paths:
        resolved = str(Path(path).resolve())
        asked[resolved] = path
        # A package may install below /lib what is found below /usr/lib, where the one is a link to the other.
        asked[resolved.removeprefix("/usr")] = path
    if not asked:
        return {}
    # It fails where one of them has no owner, and names those of the others all the same.
    said = subprocess.run(["dpkg", "-S", *asked], capture_output=True, text=True).stdout
    owned = (line.rpartition(": ") for line in said.splitlines())
    return {asked[path]: packages.partition(":")[0] for packages, _, path in owned if path in asked}


def system_versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each of these Debian packages."""
    query = ["dpkg-query", "-W", "-f", "${Version}"]
    return {
        name: subprocess.run([*query, name], capture_output=True, text=True, check=True).stdout
        for name in sorted(set(names))
    }


def library_owners(sources: Mapping[str, str], debian: Mapping[str, str]) -> dict[str, str]:
    """Name of the component that each library (name in the build, path of the source) is a part of, given the Debian
    packages by path. One that belongs to nothing, such as what an administrator compiled, is a component by itself:
    its name without the folder.
    """
    installed = distributions()
    of_python = str(sysconfig.get_config_var("DESTSHARED")) + "/"

    def owner(name: str, source: str) -> str:
        if Path(name).parts[0] == PACKAGE:
            return OWN
        if source in installed:
            return installed[source].metadata["Name"]
        if source in debian:
            return debian[source]
        file = Path(name).name
        return PYTHON if source.startswith(of_python) or file.startswith("libpython") else file

    return {name: owner(name, source) for name, source in sorted(sources.items())}
