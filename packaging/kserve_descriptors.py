"""Build step: compiles the .proto files of the gRPC server into descriptors.

They are written as a small Python module, like those of etcd: no generated code that asks for a certain protobuf, and
nothing to find on the disk in a frozen program.
"""

from __future__ import annotations

import importlib.resources
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

SOURCES = Path(__file__).resolve().parent.parent / "dynamo_fe" / "grpc" / "proto"


def generate(out_path: str | Path) -> None:
    """Writes the module to `out_path`. Raises RuntimeError when a file does not compile."""
    names = sorted(path.name for path in SOURCES.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "descriptors"
        common = str(importlib.resources.files("grpc_tools") / "_proto")
        arguments = [f"-I{SOURCES}", f"-I{common}", f"--descriptor_set_out={compiled}", *names]
        if protoc.main(["protoc", *arguments]) != 0:
            raise RuntimeError(f"{', '.join(names)} do not compile")
        found = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    lines = ['"""Generated from the files in proto/. Not to be edited."""', "# ruff: noqa: E501", "", "FILES = ("]
    lines += [f"    {file.SerializeToString()!r}," for file in found.file]
    Path(out_path).write_text("\n".join([*lines, ")", ""]), encoding="utf-8")


if __name__ == "__main__":
    generate(SOURCES.parent / "_descriptors.py")
