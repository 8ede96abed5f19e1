"""Bytes that distributions take on disk: python tests/bench/installed.py NAME..., run by the interpreter that has them.

Prints the sum over them and all that they need, as far as it is installed.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path


def closure(names: list[str]) -> dict[str, metadata.Distribution]:
    """By name; what only an extra needs is left out."""
    found: dict[str, metadata.Distribution] = {}
    ahead = list(names)
    while ahead:
        name = re.sub(r"[-_.]+", "-", ahead.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        needs = [need for need in found[name].requires or () if "extra ==" not in need]
        ahead += [match[0] for need in needs if (match := re.match(r"[\w.-]+", need))]
    return found


def size_bytes(distribution: metadata.Distribution) -> int:
    paths = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main(names: list[str]) -> None:
    print(sum(map(size_bytes, closure(names).values())))


if __name__ == "__main__":
    main(sys.argv[1:])
