"""Build step: lifts etcd's message definitions out of the etcd3 package.

etcd3 0.12.0 carries generated modules of 2018 that today's protobuf refuses to import, but the serialized descriptors
in them are sound. They are read from the source text (nothing of etcd3 is executed or needed at run time) and written
as a small Python module, which also works in a frozen program.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from google.protobuf import descriptor_pb2

_SOURCES = ("kv_pb2.py", "auth_pb2.py", "rpc_pb2.py")

# Fields of etcd 3.4 that the package's definitions of 3.3 lack: (message, field, number).
_LATER_FIELDS = (("WatchCreateRequest", "fragment", 8), ("WatchResponse", "fragment", 7))


def generate(out_path: str | Path) -> None:
    """Writes the module to `out_path`. Raises `RuntimeError` when the etcd3 package is not installed or is not the
    one that this was written for."""
    spec = importlib.util.find_spec("etcd3")
    if spec is None or spec.origin is None:
        raise RuntimeError("the build needs the package etcd3==0.12.0 for its message definitions")
    folder = Path(spec.origin).parent / "etcdrpc"
    lines = [
        '"""Generated from the message definitions of the etcd3 package. Not to be edited."""',
        "# ruff: noqa: E501",
    ]
    lines += ["", "FILES = ("]
    lines += [f"    {_self_contained(_serialized(folder / name))!r}," for name in _SOURCES]
    Path(out_path).write_text("\n".join([*lines, ")", ""]), encoding="utf-8")


def _serialized(path: Path) -> bytes:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "FileDescriptor":
            for keyword in node.keywords:
                if keyword.arg == "serialized_pb":
                    return _bytes_in(keyword.value)
    raise RuntimeError(f"no serialized descriptor in {path}")


def _bytes_in(value: ast.expr) -> bytes:
    """`b'…'`, or `_b('…')`, the spelling that old generators used for both Pythons."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            return node.value
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value.encode("latin-1")
    raise RuntimeError("the serialized descriptor is not a literal")


def _self_contained(serialized: bytes) -> bytes:
    file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    kept = [name for name in file.dependency if name in ("kv.proto", "auth.proto")]
    del file.dependency[:]
    file.dependency.extend(kept)
    messages = {message.name: message for message in file.message_type}
    for message, field, number in _LATER_FIELDS:
        if message in messages and field not in {known.name for known in messages[message].field}:
            messages[message].field.add(
                name=field,
                number=number,
                type=descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
                label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            )
    return file.SerializeToString()


if __name__ == "__main__":
    generate(Path(__file__).parent.parent / "dynamo_fe" / "discovery" / "_etcd_descriptors.py")
