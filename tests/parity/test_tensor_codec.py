"""The compiled tensor codec packs and unpacks as its plain-Python statement does."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext import tensor_codec
from tests.reference import tensor_codec as reference

CODES = st.sampled_from(sorted({*reference.SIZES, "S"}))
NUMBERS = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1), st.integers(-200, 300), st.floats(), st.floats(width=32), st.booleans()
)
ELEMENTS = st.one_of(NUMBERS, st.none(), st.text(max_size=3), st.binary(max_size=5), st.lists(st.integers(-1, 256)))
LISTS = st.one_of(
    st.lists(ELEMENTS, max_size=20),
    st.lists(st.integers(0, 1), max_size=70),
    st.lists(st.booleans(), max_size=40),
    st.lists(st.floats(), max_size=20),
    st.lists(st.lists(st.integers(0, 255), max_size=40), max_size=20),
    st.lists(st.binary(max_size=300), max_size=20),
)


def outcome(unpack: Any, code: str, packed: bytes) -> Any:
    try:
        return unpack(code, packed)
    except ValueError as error:
        return type(error).__name__, getattr(error, "index", None)


@given(CODES, st.binary(max_size=400))
def test_raw_forms_pack_as_the_reference_packs_them(code: str, raw: bytes) -> None:
    try:
        expected = reference.pack_values(code, raw)
    except ValueError:
        with pytest.raises(ValueError):
            tensor_codec.pack_values(code, raw)
        return
    assert tensor_codec.pack_values(code, raw) == expected


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_byte_strings_pack_as_the_reference_packs_them(parts: list[bytes]) -> None:
    raw = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    packed = tensor_codec.pack_values("S", raw)
    assert packed == reference.pack_values("S", raw)
    assert tensor_codec.unpack_values("S", packed) == (len(parts), raw)


@given(CODES, LISTS)
def test_lists_unpack_as_the_reference_unpacks_them(code: str, values: list[Any]) -> None:
    packed = msgspec.msgpack.encode(values)
    assert outcome(tensor_codec.unpack_values, code, packed) == outcome(reference.unpack_values, code, packed)


@given(CODES, LISTS, st.data())
def test_a_cut_list_is_refused(code: str, values: list[Any], data: st.DataObject) -> None:
    packed = msgspec.msgpack.encode(values)
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    with pytest.raises(tensor_codec.BadElement):
        tensor_codec.unpack_values(code, cut)


@given(CODES, st.binary(max_size=60))
def test_any_bytes_are_survived(code: str, packed: bytes) -> None:
    outcome(tensor_codec.unpack_values, code, packed)


@pytest.mark.parametrize("code", sorted({*reference.SIZES, "S"}))
def test_what_was_packed_unpacks_to_itself(code: str) -> None:
    raw = {"?": b"\x01\x00\x00" * 3, "S": b"\0\0\0\0" * 70_000}.get(code, bytes(range(256)) * 8)
    count = len(raw) // (reference.SIZES.get(code) or 4)
    assert tensor_codec.unpack_values(code, tensor_codec.pack_values(code, raw)) == (count, raw)


KEYS = st.sampled_from(["values", "data", "tensors", "v", "values2"])
SCALARS = st.one_of(NUMBERS, st.none(), st.text(), st.binary())
TREES = st.recursive(
    st.one_of(SCALARS, st.just("values")),
    lambda inner: st.one_of(st.lists(inner, max_size=20), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=40,
)


@given(TREES)
def test_lists_are_lifted_as_the_reference_lifts_them(tree: Any) -> None:
    packed = msgspec.msgpack.encode(tree)
    lifted: list[Any] = []
    expected = reference.lift_lists(tree, lifted)
    skeleton, places = tensor_codec.lift_lists(packed)
    # compared as bytes, since no NaN equals itself
    assert skeleton == msgspec.msgpack.encode(expected)
    assert [packed[at : at + size] for at, size in places] == [msgspec.msgpack.encode(value) for value in lifted]


@given(TREES, st.data())
def test_a_cut_tree_is_refused(tree: Any, data: st.DataObject) -> None:
    packed = msgspec.msgpack.encode(tree)
    with pytest.raises(ValueError):
        tensor_codec.lift_lists(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(ValueError):
        tensor_codec.lift_lists(packed + b"\xc0")


@given(st.binary(max_size=80))
def test_lifting_survives_any_bytes(packed: bytes) -> None:
    try:
        tensor_codec.lift_lists(packed)
    except ValueError:
        pass


def test_a_tree_that_is_too_deep_is_refused() -> None:
    tensor_codec.lift_lists(b"\x91" * 31 + b"\xc0")
    with pytest.raises(ValueError):
        tensor_codec.lift_lists(b"\x91" * 32 + b"\xc0")


def test_many_empty_lists_fit() -> None:
    tree = [{"values": []}] * 70_000
    skeleton, places = tensor_codec.lift_lists(msgspec.msgpack.encode(tree))
    numbers = [int.from_bytes(entry["values"].data, "big") for entry in msgspec.msgpack.decode(skeleton)]
    assert numbers == list(range(len(places))) == list(range(70_000))
