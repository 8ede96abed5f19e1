"""What this is, and what it needs of the machine."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import dynamo_fe
from dynamo_fe import DYNAMO_VERSION, __version__
from dynamo_fe.config.errors import USAGE_ERROR


def print_version() -> int:
    """One line, as the original's."""
    print(f"dynamo-fe {__version__} (compatible with Dynamo Frontend {DYNAMO_VERSION})")
    return 0


def version(argv: list[str]) -> int:
    """`version`: the same and the C library; with --json all there is to know."""
    if argv not in ([], ["--json"]):
        print("usage: dynamo-fe version [--json]", file=sys.stderr)
        return USAGE_ERROR
    if argv:
        print(json.dumps(facts(), indent=2))
        return 0
    print_version()
    found = facts()
    needed = f"{found['glibc_needed']} or newer is needed" if found["glibc_needed"] else "built on this machine"
    print(f"glibc {found['glibc']}: {needed}; Python {found['python']}, {found['form']}")
    return 0


def facts() -> dict[str, Any]:
    """`glibc_needed` and `packages` are known to a frozen build only."""
    built = _built()
    return {
        "version": __version__,
        "dynamo_version": DYNAMO_VERSION,
        "form": _form(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "glibc": (os.confstr("CS_GNU_LIBC_VERSION") or "unknown").removeprefix("glibc "),
        "glibc_needed": built.get("glibc_needed"),
        "packages": built.get("packages", {}),
    }


def _form() -> str:
    if not getattr(sys, "frozen", False):
        return "source tree"
    # the one-file form unpacks itself into a temporary folder, the other lies beside its program
    return "directory" if Path(sys.executable).parent in Path(dynamo_fe.__file__).parents else "one file"


def _built() -> dict[str, Any]:
    """What packaging/build.py wrote into the build."""
    try:
        text = (Path(dynamo_fe.__file__).parent / "build_info.json").read_text(encoding="utf-8")
    except OSError:
        return {}
    built: dict[str, Any] = json.loads(text)
    return built
