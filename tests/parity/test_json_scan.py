"""The compiled scan finds in every JSON text what its plain-Python statement finds, and survives any other bytes."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dynamo_fe._cext.json_scan import count_values, scan_json
from tests.reference import json_scan as reference

BLANKS = st.sampled_from(["", " ", "\n\t"])
STRINGS = st.text(st.sampled_from('ab"\\,:{}[]-0é😀'), max_size=6).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
KEYS = st.one_of(st.sampled_from(['"a"', '"b"', '"ab"', '"\\u0061"', '""']), STRINGS)
EDGES = st.builds(
    "{}{}{}e{}".format,
    st.sampled_from(["1", "179", "18446744073709551615", "18446744073709551616", "0"]),
    st.sampled_from(["", ".", ".0"]),
    st.integers(0, 10**22),
    st.integers(280, 320),
)
NUMBERS = st.one_of(
    st.sampled_from(["0", "-0", "-0.0", "-0e1", "-0E1", "10", "-10", "1e-0", "1.5e-05", "1e309", "-1E+400", "1e308"]),
    EDGES,
)
WORDS = st.sampled_from(["true", "false", "null"])


def joined(inner: list[str], blanks: str, opening: str, closing: str) -> str:
    return opening + blanks + f"{blanks},{blanks}".join(inner) + blanks + closing


def containers(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds(lambda key, blank, value: f"{key}{blank}:{blank}{value}", KEYS, BLANKS, children)
    return st.one_of(
        st.builds(joined, st.lists(children, max_size=4), BLANKS, st.just("["), st.just("]")),
        st.builds(joined, st.lists(members, max_size=5), BLANKS, st.just("{"), st.just("}")),
    )


TEXTS = st.recursive(st.one_of(STRINGS, NUMBERS, WORDS), containers, max_leaves=30)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def with_keys(count: int) -> str:
    return "{" + ",".join(f'"{number}":0' for number in range(count)) + "}"


@given(TEXTS)
@example(nested(127))
@example(nested(128))
@example(nested(200))
@example(with_keys(64))
@example(with_keys(65))
@example("1" * 309 + "e-1")
@example("[" + "1" * 320 + ",1e-400,0e400]")
@example("0." + "0" * 400 + "1e709")
@example("0." + "0" * 400 + "1e710")
@example("[0e" + "9" * 30 + ",1e-" + "9" * 30 + ",1e" + "9" * 30 + "]")
@example('{"a":[{"b":{"c":1,"c":2}}]}')
@example('{"a":{"b":{"c":1,"c":2}}}')
def test_texts_equal_the_reference(text: str) -> None:
    assert scan_json(text.encode()) == reference.scan_json(text.encode())
    assert count_values(text.encode()) == reference.count_values(text.encode())


def test_what_is_found() -> None:
    cases: list[tuple[bytes, tuple[Any, ...]]] = [
        (b"1", (0, False, False, 0)),
        (b'{"a":{"a":1}}', (2, False, False, 0)),
        (b'{"a":1, "a" :2}', (1, True, False, 0)),
        (b'[{"a":"\\"a\\":"}, -0]', (2, False, True, 0)),
        (b'["1e999", -1e400, 2e400]', (1, False, False, 16)),
        (b"[0e400]", (1, False, False, 0)),
        (b"1.7976931348623157e308", (0, False, False, 0)),
        (b"1.7976931348623158e308", (0, False, False, 22)),
        (b"0.17976931348623158e309", (0, False, False, 23)),
        (b"1" * 309, (0, False, False, 0)),
        (b"1" * 310, (0, False, False, 310)),
    ]
    assert [scan_json(text) for text, _ in cases] == [found for _, found in cases]


def test_a_text_that_is_scanned_without_the_lock() -> None:
    text = b'"' + b"x" * (1 << 20) + b'\\"{["'
    assert scan_json(text) == reference.scan_json(text)


@given(st.binary(max_size=80))
def test_no_bytes_do_harm(text: bytes) -> None:
    depth, _, _, _ = scan_json(text)
    assert 0 <= depth <= 128
    assert 1 <= count_values(text) <= len(text) + 1


def test_values_are_counted() -> None:
    assert [count_values(text) for text in (b"1", b"[1, 2]", b'{"a,[": [], "b": 1}')] == [1, 3, 4]
