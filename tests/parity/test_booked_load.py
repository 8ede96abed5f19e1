"""`booked_load` against the plain reference, over whole lives of requests."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext.booked_load import BookedLoad
from dynamo_fe._cext.routing_score import Candidates
from tests.reference import booked_load as reference

TOKENS = st.integers(0, 1 << 40)
BLOCKS = st.floats(0, 1e6).map(lambda blocks: round(blocks, 3))


@dataclass
class Request:
    private_blocks: float
    prefill_tokens: int
    own: bool


@given(st.data())
def test_every_step_shows_what_the_reference_says(data: st.DataObject) -> None:
    words = memoryview(bytearray(24)).cast("Q")
    load, plain = BookedLoad(words), reference.BookedLoad()
    columns = Candidates(3)
    load.show_in(columns, 1)
    running: list[Request] = []
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(("book", "prefill_done", "grow", "release", "tree") if running else ("book",)))
        request = data.draw(st.sampled_from(running)) if running else None
        if step == "book":
            request = Request(data.draw(BLOCKS), data.draw(TOKENS), data.draw(st.booleans()))
            running.append(request)
            arguments: tuple[float, int, bool] = (request.private_blocks, request.prefill_tokens, request.own)
            for each in (load, plain):
                each.book(*arguments)
        assert request is not None
        if step == "prefill_done":
            for each in (load, plain):
                each.prefill_done(request.prefill_tokens, request.own)
            request.prefill_tokens = 0
        if step == "grow":
            blocks = data.draw(BLOCKS)
            request.private_blocks += blocks
            for each in (load, plain):
                each.grow(blocks, request.own)
        if step == "release":
            running.remove(request)
            for each in (load, plain):
                each.release(request.private_blocks, request.prefill_tokens, request.own)
        if step == "tree":
            load.all = plain.all = data.draw(BLOCKS)
            load.own = plain.own = data.draw(BLOCKS)
            load.refresh()
        for name in ("all", "own", "extra", "extra_own", "prefill_tokens", "prefill_own", "requests", "requests_own"):
            assert getattr(load, name) == getattr(plain, name)
        assert load.active_blocks == plain.active_blocks
        assert words.tolist() == plain.words
        assert list(columns.prefill_tokens) == [0, plain.prefill_tokens, 0]
        assert list(columns.active_blocks) == [0, plain.active_blocks, 0]
        assert list(columns.active_requests) == [0, plain.requests, 0]


def test_after_the_last_request_no_fraction_is_left() -> None:
    load = BookedLoad()
    for blocks in (0.1, 0.2, 0.3):
        load.book(blocks, 7, True)
    for blocks in (0.3, 0.2, 0.1):
        load.release(blocks, 7, True)
    assert (load.extra, load.extra_own, load.prefill_tokens, load.requests_own) == (0.0, 0.0, 0, 0)


def test_a_row_of_another_size_or_read_only_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of 3 words"):
        BookedLoad(memoryview(bytearray(32)).cast("Q"))
    with pytest.raises((BufferError, TypeError)):
        BookedLoad(memoryview(bytes(24)).cast("Q"))
    with pytest.raises(IndexError, match="no row 2"):
        BookedLoad().show_in(Candidates(2), 2)


def test_a_view_of_a_row_may_be_garbage_together_with_its_load() -> None:
    words = memoryview(bytearray(24)).cast("Q")
    held: list[object] = [BookedLoad(words), words]
    held.append(held)
    del words, held
    gc.collect()
