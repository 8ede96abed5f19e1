"""Whatever is wrong with a KServe request: the status that the rules name, and nobody else notices."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tritonclient.grpc import service_pb2

from tests.support.kserve import WORKERS, KserveFrontend, connected
from tests.support.kserve_bad_requests import BAD, Bad, llm, text
from tests.support.peer import peer_python
from tests.support.processes import Process
from tests.support.stores import FileStore

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
LIMIT_BYTES = 4 << 20


class Bystander:
    """A stream that runs all the time: every test looks whether it still does."""

    def __init__(self, stub: Any) -> None:
        request = json_format.ParseDict(llm(text(contents={"bytes_contents": ["IXNsb3cgMTAwMDA="]})), infer())
        flag = request.inputs.add(name="streaming", datatype="BOOL", shape=[1])
        flag.contents.bool_contents.append(True)
        self._call = stub.ModelStreamInfer(iter([request]))

    def check(self) -> None:
        answer = next(self._call)
        assert not answer.error_message
        assert answer.infer_response.outputs

    def close(self) -> None:
        self._call.cancel()


def infer() -> Any:
    return service_pb2.ModelInferRequest()


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KserveFrontend]:
    home = tmp_path_factory.mktemp("kserve-bad")
    store = FileStore(home / "store")
    with Process([peer_python(), WORKERS], log=home / "workers.log", environment=store.environment):
        started = KserveFrontend(store, home / "frontend.log")
        try:
            started.wait_ready("kp-llm", "kp-tensor", "kp-chat")
            yield started
            assert "Traceback" not in started.process.output()
        finally:
            started.stop()


@pytest.fixture(scope="module")
def channel(frontend: KserveFrontend) -> Iterator[Any]:
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 20)]
    with grpc.insecure_channel(frontend.address, options=unlimited) as opened:
        yield opened


@pytest.fixture(scope="module")
def bystander(frontend: KserveFrontend) -> Iterator[Bystander]:
    with connected(frontend) as stub:
        waiting = Bystander(stub)
        yield waiting
        waiting.close()


def serialized(bad: Bad) -> bytes:
    if bad.raw_message is not None:
        return bad.raw_message
    message: bytes = json_format.ParseDict(bad.request, infer()).SerializeToString()
    return message


def unary(channel: Any, message: bytes, metadata: Any = (), path: str = INFER) -> tuple[str, str]:
    """Code and text of a call that must fail."""
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary(path)(message, timeout=30, metadata=metadata)
    return failure.value.code().name, failure.value.details()


def stream(channel: Any, messages: list[bytes], metadata: Any = ()) -> tuple[str, str, list[bytes]]:
    """Code, text and answers of a stream."""
    call = channel.stream_stream(STREAM)(iter(messages), timeout=30, metadata=metadata)
    answers = []
    try:
        answers.extend(call)
    except grpc.RpcError:
        pass
    return call.code().name, call.details(), answers


def test_there_are_enough_of_them() -> None:
    assert len({bad.name for bad in BAD}) == len(BAD) >= 60


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: str(bad.name))
def test_a_unary_call_gets_the_status(channel: Any, bystander: Bystander, bad: Bad) -> None:
    code, said = unary(channel, serialized(bad), bad.metadata)
    assert (code, bad.says in said) == (bad.code, True), said
    bystander.check()


ON_STREAM = [bad for bad in BAD if bad.name != "streaming-unary"]


@pytest.mark.parametrize("bad", ON_STREAM, ids=lambda bad: str(bad.name))
def test_a_stream_ends_with_the_status_and_what_was_answered_before(
    channel: Any, bystander: Bystander, bad: Bad
) -> None:
    good = serialized(Bad("good", "", "", llm(text(), id="before")))
    code, said, answers = stream(channel, [good, serialized(bad), good], bad.metadata)
    assert (code, bad.says in said) == (bad.code, True), said
    # the metadata of a call are those of all its requests
    assert len(answers) == (0 if bad.metadata else 1)
    bystander.check()


def test_a_message_over_the_limit_is_refused_on_calls_and_streams(channel: Any, bystander: Bystander) -> None:
    request = infer()
    request.model_name = "kp-tensor"
    request.raw_input_contents.append(bytes(LIMIT_BYTES))
    message = request.SerializeToString()
    allowed = {"OUT_OF_RANGE", "RESOURCE_EXHAUSTED"}
    assert unary(channel, message)[0] in allowed
    code, _, answers = stream(channel, [message, message])
    assert (code in allowed, answers) == (True, [])
    bystander.check()


def test_a_message_of_exactly_the_limit_is_read(channel: Any, bystander: Bystander) -> None:
    request = infer()
    request.model_name = "kp-tensor"
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    request.parameters["op"].string_param = "none"
    request.raw_input_contents.append(b"")
    size = LIMIT_BYTES - 64
    for _ in range(4):
        request.raw_input_contents[0] = struct.pack("<I", size) + bytes(size)
        size += LIMIT_BYTES - request.ByteSize()
    assert request.ByteSize() == LIMIT_BYTES
    assert unary(channel, request.SerializeToString()) == (
        "INTERNAL",
        "Failed to fold completions stream: No response received",
    )
    bystander.check()


@pytest.mark.parametrize(
    "path",
    [
        "/inference.GRPCInferenceService/Nope",
        "/inference.GRPCInferenceService/SystemSharedMemoryRegister",
        "/inference.GRPCInferenceService/",
        "/inference.grpcinferenceservice/ModelInfer",
        "/nobody.Service/ModelInfer",
        "/",
    ],
)
def test_an_unknown_method_is_unimplemented(channel: Any, bystander: Bystander, path: str) -> None:
    assert unary(channel, b"", path=path) == ("UNIMPLEMENTED", "")
    bystander.check()


def test_a_stream_that_says_nothing_is_over_when_it_is_half_closed(channel: Any, bystander: Bystander) -> None:
    assert stream(channel, []) == ("OK", "", [])
    bystander.check()


def test_a_unary_call_without_a_message_is_told_so(channel: Any, bystander: Bystander) -> None:
    call = channel.stream_stream(INFER)(iter([]), timeout=30)
    with pytest.raises(grpc.RpcError):
        list(call)
    assert (call.code().name, call.details()) == ("INTERNAL", "Missing request message.")
    bystander.check()


def test_a_call_whose_client_leaves_at_once_harms_nobody(channel: Any, bystander: Bystander) -> None:
    for _ in range(50):
        call = channel.unary_unary(INFER).future(serialized(Bad("good", "", "", llm(text()))), timeout=30)
        call.cancel()
    bystander.check()


def test_the_worker_fails_and_the_stream_goes_on(channel: Any, bystander: Bystander) -> None:
    request = infer()
    request.model_name = "kp-tensor"
    request.parameters["op"].string_param = "raise"
    good = serialized(Bad("good", "", "", llm(text())))
    code, _, answers = stream(channel, [request.SerializeToString(), good])
    first, second = (service_pb2.ModelStreamInferResponse.FromString(answer) for answer in answers)
    assert (code, first.error_message) == ("OK", "InvalidRequest: ValueError: boom")
    assert second.infer_response.outputs
    bystander.check()
