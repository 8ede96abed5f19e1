"""Makes dist/dynamo-fe.cdx.json: what is really inside the frozen build, as CycloneDX 1.5: python packaging/sbom.py"""

from __future__ import annotations

import json
import subprocess
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from library_owners import OWN, PYTHON

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "dist" / "dynamo-fe.d"
INFO: Final = FOLDER / "lib" / "dynamo_fe" / "build_info.json"
TARGET: Final = ROOT / "dist" / "dynamo-fe.cdx.json"


Component = dict[str, Any]


def component(kind: str, name: str, version: str, purl: str, licence: str = "") -> Component:
    found: Component = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if licence:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


def python_component(name: str, version: str) -> Component:
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
    return component("library", name, version, purl, _licence(name))


def system_component(name: str, version: str, distribution: str) -> Component:
    purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?distro={distribution}"
    return component("library", name, version, purl)


def stray_component(name: str) -> Component:
    """A library that came with no package: what it is called is all that is known."""
    reference = f"pkg:generic/{name}"
    return {"type": "library", "bom-ref": reference, "name": name, "purl": reference}


def say_where(parts: list[Component], libraries: dict[str, str]) -> list[Component]:
    """Adds to each component the libraries of the directory form that it brings. Returns those of no component."""
    by_name = {part["name"]: part for part in parts}
    strays = [stray_component(name) for name in dict.fromkeys(libraries.values()) if name not in by_name]
    by_name |= {part["name"]: part for part in strays}
    for library, owner in libraries.items():
        evidence = by_name[owner].setdefault("evidence", {"occurrences": []})
        evidence["occurrences"].append({"location": f"{FOLDER.name}/lib/{library}"})
    return strays


def _licence(name: str) -> str:
    facts = metadata.metadata(name)
    given = facts.get("License-Expression") or facts.get("License") or ""
    if given and "\n" not in given:
        return str(given)
    kinds = [entry.rpartition(" :: ")[2] for entry in facts.get_all("Classifier") or () if entry.startswith("License")]
    return ", ".join(kinds)


def _distribution() -> str:
    lines = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return f"{lines.get('ID', 'debian')}-{lines.get('VERSION_ID', '')}".replace('"', "")


def build() -> Path:
    """Returns the path of the list."""
    info = json.loads(INFO.read_text(encoding="utf-8"))
    program = subprocess.run([FOLDER / "dynamo-fe", "version", "--json"], check=True, capture_output=True, text=True)
    version = json.loads(program.stdout)["version"]
    own = component("application", OWN, version, f"pkg:generic/dynamo-fe@{version}", "Apache-2.0")
    packages = {name: given for name, given in info["packages"].items() if name != OWN}
    python = info["python"]
    parts = [component("framework", PYTHON, python, f"pkg:generic/python@{python}", "PSF-2.0")]
    parts += [python_component(name, given) for name, given in packages.items()]
    parts += [system_component(name, given, _distribution()) for name, given in info["system_packages"].items()]
    parts += say_where([own, *parts], info["libraries"])
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(info, sort_keys=True))}",
        "version": 1,
        "metadata": {"component": own},
        "components": parts,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    TARGET.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    return TARGET


if __name__ == "__main__":
    print(build())
