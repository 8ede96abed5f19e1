"""Stop strings across pieces cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe.pipeline.stops import StopMatcher

LETTERS = st.text("abS", min_size=0, max_size=40)
STOPS = st.lists(st.text("abS", min_size=1, max_size=4), min_size=1, max_size=3)


def played(pieces: list[str], stops: list[str], include: bool) -> tuple[str, bool]:
    matcher = StopMatcher(stops, include)
    shown = ""
    for piece in pieces:
        text, hit = matcher.push(piece)
        shown += text
        if hit:
            return shown, True
    return shown + matcher.flush(), False


def expected(text: str, stops: list[str], include: bool) -> tuple[str, bool]:
    """The text up to the stop string that is complete first."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return (text[:end] if include else text[: end - max(map(len, ended))]), True
    return text, False


@given(LETTERS, STOPS, st.booleans(), st.lists(st.integers(1, 5), max_size=40))
def test_single_characters_give_the_text_up_to_the_first_complete_stop(
    text: str, stops: list[str], include: bool, cuts: list[int]
) -> None:
    assert played(list(text), stops, include) == expected(text, stops, include)


@given(LETTERS, st.text("abS", min_size=1, max_size=4), st.booleans(), st.lists(st.integers(1, 5), max_size=40))
def test_any_cut_gives_the_same_for_one_stop(text: str, stop: str, include: bool, cuts: list[int]) -> None:
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert played([*pieces, rest], [stop], include) == expected(text, [stop], include)


@pytest.mark.parametrize("held", ["S", "ST", "STO"])
def test_what_may_begin_a_stop_is_withheld_until_decided(held: str) -> None:
    matcher = StopMatcher(["STOP"], include=False)
    assert matcher.push("a" + held) == ("a", False)
    assert matcher.push("x") == (held + "x", False)


def test_with_include_nothing_is_withheld() -> None:
    matcher = StopMatcher(["STOP"], include=True)
    assert [matcher.push(piece) for piece in "aSTOPb"[:5]] == [
        ("a", False), ("S", False), ("T", False), ("O", False), ("P", True),
    ]  # fmt: skip
