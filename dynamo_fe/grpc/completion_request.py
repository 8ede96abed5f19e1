"""What a completions model is asked: the inputs of a `ModelInferRequest`. Sans I/O."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from dynamo_fe.grpc.status import Status

_TEXT: Final = "text_input"
_FLAGS: Final = ("streaming", "stream")
RAW_FOR_ALL: Final = "`raw_input_contents` must be used for all inputs"


class CompletionCall(NamedTuple):
    """The prompt, and whether its answer is to come chunk by chunk."""

    prompt: str
    streaming: bool


def read_completion(request: Any) -> CompletionCall:
    """Reads a `ModelInferRequest`. Raises Status."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Status.bad_request(RAW_FOR_ALL)
    prompt: str | None = None
    streaming = False
    for index, tensor in enumerate(request.inputs):
        packed = raw[index] if raw else None
        if tensor.name == _TEXT:
            prompt = _text(tensor, packed)
        elif tensor.name in _FLAGS:
            streaming = _flag(tensor, packed)
        else:
            raise Status.bad_request(f"Invalid input name: {tensor.name}, supported inputs are 'text_input', 'stream'")
    if prompt is None:
        raise Status.bad_request("Missing required input: 'text_input'")
    return CompletionCall(prompt, streaming)


def _text(tensor: Any, packed: bytes | None) -> str:
    if tensor.datatype != "BYTES":
        text = f"Expected 'text_input' to be of type BYTES for string input, got \"{tensor.datatype}\""
        raise Status.bad_request(text)
    if list(tensor.shape) not in ([1], [1, 1]):
        raise Status.bad_request(f"Expected 'text_input' to have shape [1], got {list(tensor.shape)}")
    if tensor.HasField("contents"):
        if not tensor.contents.bytes_contents:
            raise Status.bad_request("'text_input' must contain exactly one element")
        given: bytes = tensor.contents.bytes_contents[0]
    elif packed is None:
        raise Status.bad_request("Missing raw input for 'text_input'")
    elif len(packed) < 4:
        raise Status.bad_request("'text_input' raw input must be length-prefixed (>= 4 bytes)")
    else:
        # the length is compared with nothing: all that follows it is the prompt
        given = packed[4:]
    return given.decode("utf-8", "replace")


def _flag(tensor: Any, packed: bytes | None) -> bool:
    if tensor.datatype != "BOOL":
        raise Status.bad_request(f"Expected '{tensor.name}' to be of type BOOL, got \"{tensor.datatype}\"")
    if list(tensor.shape) != [1]:
        raise Status.bad_request(f"Expected 'stream' to have shape [1], got {list(tensor.shape)}")
    if tensor.HasField("contents"):
        if not tensor.contents.bool_contents:
            raise Status.bad_request("'stream' must contain exactly one element")
        return bool(tensor.contents.bool_contents[0])
    if packed is None:
        raise Status.bad_request("Missing raw input for 'stream'")
    if not packed:
        raise Status.bad_request("'stream' raw input must contain at least one byte")
    return packed[0] != 0
