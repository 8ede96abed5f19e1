"""Cutting a watch into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe.discovery.kube_lines import Lines, LineTooLong

LINE = st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"x"))


@given(st.lists(LINE), st.lists(st.integers(0, 400)))
def test_lines_come_out_whole_however_they_were_cut(texts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(text + b"\n" for text in texts)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    lines = Lines()
    found = [line for start, end in zip(edges, edges[1:], strict=False) for line in lines.take(data[start:end])]
    assert found == [text for text in texts if text.strip()]
    assert not lines.pending


def test_a_line_without_its_end_is_pending() -> None:
    lines = Lines()
    assert lines.take(b'{"a": 1}\n{"b"') == [b'{"a": 1}']
    assert lines.pending


def test_a_line_that_never_ends_is_given_up() -> None:
    lines = Lines(limit_bytes=100)
    lines.take(b"x" * 100)
    with pytest.raises(LineTooLong):
        lines.take(b"x")
