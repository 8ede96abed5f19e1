"""What of the package has to be in the frozen file: said by the source tree, so that nothing is listed by hand."""

from __future__ import annotations

import sysconfig
from pathlib import Path

PACKAGE = "dynamo_fe"
NOT_DATA = {".py", ".pyc", ".pyi", ".so", ".pyx", ".c", ".proto"}


def package_modules(root: str | Path) -> list[str]:
    """Every module and compiled module of the package, by its dotted name."""
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    names = set()
    for path in (Path(root) / PACKAGE).rglob("*"):
        if path.name.endswith(suffix):
            names.add(".".join([*path.relative_to(root).parts[:-1], path.name.removesuffix(suffix)]))
        elif path.suffix == ".py":
            parts = path.relative_to(root).with_suffix("").parts
            names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names)


def package_data(root: str | Path) -> list[tuple[str, str]]:
    """Every file of the package that is not code, with the folder it belongs in."""
    files = (path for path in (Path(root) / PACKAGE).rglob("*") if path.is_file() and path.suffix not in NOT_DATA)
    return sorted((str(path), str(path.parent.relative_to(root))) for path in files)
