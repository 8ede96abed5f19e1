"""The scripts of packaging/, which is no package."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tests.support.peer import ROOT

PACKAGING = ROOT / "packaging"


def packaging_module(name: str) -> ModuleType:
    """One of them, as a module."""
    spec = importlib.util.spec_from_file_location(f"packaging_{name}", PACKAGING / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(PACKAGING))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PACKAGING))
    return module
