"""The list of what is inside the frozen build: good by CycloneDX's own schema, and complete."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from PyInstaller.archive.readers import CArchiveReader

from tests.support.frontends import ROOT, frozen_binary
from tests.support.packaging_scripts import packaging_module


@pytest.fixture(scope="module")
def text() -> str:
    path = packaging_module("sbom").build()
    assert path == ROOT / "dist" / "dynamo-fe.cdx.json"
    content: str = path.read_text()
    return content


@pytest.fixture
def bill(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_it_is_cyclonedx(text: str, bill: dict[str, Any]) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    assert validator.validate_str(text) is None
    bill["components"][0]["type"] = "engine"
    assert validator.validate_str(json.dumps(bill)) is not None


def test_every_module_inside_belongs_to_a_component(bill: dict[str, Any]) -> None:
    reader = CArchiveReader(str(frozen_binary()))
    names = {name.replace("/", ".").split(".")[0] for name in reader.toc if ".so" in name}
    for name in reader.toc:
        if name.endswith(".pyz"):
            names |= {module.split(".")[0] for module in reader.open_embedded_archive(name).toc}
    owners = metadata.packages_distributions()
    foreign = {name: owners[name] for name in names - sys.stdlib_module_names if name in owners}
    listed = {component["name"] for component in bill["components"]} | {"dynamo-fe"}
    assert len(foreign) > 15
    assert {name: found for name, found in foreign.items() if not listed & set(found)} == {}


def test_every_library_inside_is_laid_to_one_component(bill: dict[str, Any]) -> None:
    dist = ROOT / "dist"
    inside = {
        str(path.relative_to(dist))
        for path in (dist / "dynamo-fe.d").rglob("*")
        if ".so" in path.suffixes and not path.is_symlink()
    }
    components = [bill["metadata"]["component"], *bill["components"]]
    found = [
        (each["location"].removeprefix("dynamo-fe.d/lib/"), component["name"])
        for component in components
        for each in component.get("evidence", {}).get("occurrences", [])
    ]
    assert sorted(f"dynamo-fe.d/lib/{library}" for library, _ in found) == sorted(inside)
    owners = dict(found)
    assert {name for name, owner in owners.items() if owner == "dynamo-fe"} == {
        name for name in owners if name.startswith("dynamo_fe/")
    }
    # a component that is but a library's name is one that no package was found for
    assert not set(owners.values()) & {name.rpartition("/")[2] for name in owners}
    compression = {owner for name, owner in owners.items() if name.startswith(("libz.", "libbz2.", "liblzma."))}
    versions = {component["name"]: component.get("version") for component in components}
    assert all(versions[owner] for owner in compression) and "python" not in compression


def test_it_names_what_is_described_and_has_nothing_twice(bill: dict[str, Any]) -> None:
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(references) == len(set(references))
    (own,) = (each for each in bill["dependencies"] if each["ref"] == bill["metadata"]["component"]["bom-ref"])
    assert own["dependsOn"] == references
    versions = {each["name"]: each["version"] for each in bill["components"]}
    assert versions["granian"] == metadata.version("granian")
