"""The parts of KServe's conversion that no recorded case shows whole: ids, settings, frames, back-pressure."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe.grpc.asked import Asked, Shape
from dynamo_fe.grpc.choosing import COMPLETIONS
from dynamo_fe.grpc.completion_answer import Choice, Chunk
from dynamo_fe.grpc.context import context_id, context_metadata
from dynamo_fe.grpc.messages import ModelInferRequest, ModelStreamInferResponse
from dynamo_fe.grpc.outbox import Outbox
from dynamo_fe.grpc.piece_frame import PieceFrame
from dynamo_fe.grpc.sampling import completion_request, read_sampling
from dynamo_fe.grpc.server import sent
from dynamo_fe.grpc.status import Code, Status
from dynamo_fe.pipeline.delta import Delta

SOME = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")


@pytest.mark.parametrize(
    "text",
    [
        str(SOME),
        str(SOME).upper(),
        SOME.hex,
        SOME.hex.upper(),
        f"{{{SOME}}}",
        SOME.urn,
        f"urn:uuid:{str(SOME).upper()}",
    ],
)
def test_every_spelling_of_a_uuid_becomes_the_context_id(text: str) -> None:
    assert context_id(text) == str(SOME)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f" {SOME}",
        f"{SOME} ",
        f"{SOME}\n",
        f"{{{SOME.hex}}}",
        f"urn:{SOME}",
        str(SOME)[:-1],
        SOME.hex + "0",
        f"{{{SOME}",
    ],
)
def test_what_is_no_uuid_does_not(text: str) -> None:
    assert context_id(text) is None


def test_context_metadata_are_trimmed_and_credentials_left_out() -> None:
    given_entries = [
        ("x-dynamo-meta-a", "  one  "),
        ("x-dynamo-meta-a", "two"),
        ("x-dynamo-meta-", "empty key"),
        ("x-dynamo-meta-b-bin", b"\x00"),
        ("x-dynamo-meta-authorization", "secret"),
        ("x-dynamo-meta-token", " BEARER abc"),
        ("x-request-id", "no"),
    ]
    assert context_metadata(given_entries, "X-Dynamo-Meta-") == {"a": "one", "": "empty key"}
    assert context_metadata([], "x-dynamo-meta-") is None


def test_context_metadata_have_a_limit_of_bytes() -> None:
    with pytest.raises(Status, match="65536 bytes") as refusal:
        context_metadata([("x-dynamo-meta-k", "v" * 65536)], "x-dynamo-meta-")
    assert refusal.value.code is Code.INVALID_ARGUMENT


def test_settings_are_read_from_any_kind_of_parameter_and_others_left_alone() -> None:
    request = ModelInferRequest()
    request.parameters["max_tokens"].uint64_param = 5
    request.parameters["temperature"].int64_param = 1
    request.parameters["stop"].string_param = '["a", "b"]'
    request.parameters["sequence_id"].int64_param = 9
    sampling = read_sampling(request.parameters)
    assert sampling == {"max_tokens": 5, "temperature": 1, "stop": ["a", "b"]}
    made = completion_request("m", "p", "", sampling)
    assert (made.max_tokens, made.temperature, made.user, made.stream) == (5, 1, None, True)


@pytest.mark.parametrize(("older", "limit"), [(None, 7), (5, 5)])
def test_the_newer_name_of_the_token_limit_is_known(older: int | None, limit: int) -> None:
    request = ModelInferRequest()
    request.parameters["max_completion_tokens"].int64_param = 7
    if older is not None:
        request.parameters["max_tokens"].int64_param = older
    assert read_sampling(request.parameters) == {"max_tokens": limit}


@pytest.mark.parametrize("text", ["END", '["a"', "[1]", ""])
def test_a_stop_that_is_no_list_of_texts_is_one_text(text: str) -> None:
    request = ModelInferRequest()
    request.parameters["stop"].string_param = text
    assert read_sampling(request.parameters) == {"stop": text}


@given(st.text(max_size=300), st.text(max_size=40), st.text(max_size=200), st.sampled_from(["", "stop", "length"]))
def test_the_quick_frame_is_the_message_that_the_library_makes(
    model: str, request_id: str, text: str, end: str
) -> None:
    chunk = Chunk(model, [Choice(0, text, end)])
    whole = Shape(request_id, on_stream=True, raw=False).chunk(chunk)
    assert PieceFrame(model, request_id).frame(text, end) == whole


def test_the_quick_way_and_the_general_one_show_the_same_pieces() -> None:
    pieces = ["a", Delta(0, "b", "stop", 2, [])]
    for plain in (True, False):
        shape = Shape("r", on_stream=True, raw=False, marked=not plain)
        asked = Asked(COMPLETIONS, "m", True, "prompt", {}, shape)
        answers = [ModelStreamInferResponse.FromString(answer).infer_response for answer in asked.messages(pieces)]
        shown = [[bytes(output.contents.bytes_contents[0]) for output in answer.outputs] for answer in answers]
        assert shown == [[b"a", b""], [b"b", b"stop"]]
        assert all(("triton_final_response" in answer.parameters) is not plain for answer in answers)


async def test_a_reader_that_is_slow_stops_the_worker_until_half_is_gone() -> None:
    told: list[str] = []
    written: list[tuple[int, int]] = []
    may_write = asyncio.Event()

    async def write(message: bytes) -> None:
        await may_write.wait()
        written.append((len(message), len(told)))

    outbox = Outbox(100, write, lambda: told.append("pause"), lambda: told.append("resume"))
    outbox.put([b"x" * 60])
    assert told == []
    outbox.put([b"x" * 30, b"x" * 30])
    assert (told, outbox.held_bytes, written) == (["pause"], 120, [])
    may_write.set()
    while len(written) < 3:
        await asyncio.sleep(0)
    outbox.put([b"last"])
    outbox.close()
    await outbox.emptied()
    assert written == [(60, 1), (30, 1), (30, 2), (4, 2)]
    assert (told, outbox.held_bytes) == (["pause", "resume"], 0)


async def test_a_write_that_fails_ends_the_stream_of_answers() -> None:
    async def write(message: bytes) -> None:
        await asyncio.sleep(0)
        raise ConnectionResetError("gone")

    outbox = Outbox(100, write, lambda: None, lambda: None)
    outbox.put([b"a", b"b"])
    with pytest.raises(ConnectionResetError):
        await outbox.emptied()


async def test_a_write_that_finds_the_call_over_is_a_cancellation() -> None:
    blocked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def write(message: bytes) -> None:
        await blocked

    outbox = Outbox(100, lambda message: sent(write(message)), lambda: None, lambda: None)
    outbox.put([b"a", b"b"])
    # what the library raises for a write under way when the client cancels
    blocked.set_exception(grpc.aio.InternalError('Failed "execute_batch"'))
    with pytest.raises(asyncio.CancelledError):
        await outbox.emptied()


async def test_a_stream_that_is_given_up_leaves_no_write_behind() -> None:
    ended: list[str] = []

    async def write(message: bytes) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    outbox = Outbox(100, write, lambda: None, lambda: None)
    outbox.put([b"a"])
    waiting = asyncio.ensure_future(outbox.emptied())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["closed"]


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    async def write(message: bytes) -> None:
        await asyncio.Event().wait()

    outbox = Outbox(100, write, lambda: None, lambda: None, stalled_secs=0.05)
    outbox.put([b"a"])
    with pytest.raises(Status) as end:
        await outbox.emptied()
    assert end.value.code is Code.UNAVAILABLE
