"""Requests to KServe that break a rule, each with the status that it must get: code, and a part of its text.

Models are those of kserve_workers.py. Messages are in the JSON mapping with the names of the .proto.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple


class Bad(NamedTuple):
    """`raw_message` stands for a request that is no message at all."""

    name: str
    code: str
    says: str
    request: dict[str, Any] | None = None
    raw_message: bytes | None = None
    metadata: tuple[tuple[str, str], ...] = ()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def text(**changes: Any) -> dict[str, Any]:
    return {
        "name": "text_input",
        "datatype": "BYTES",
        "shape": ["1"],
        "contents": {"bytes_contents": ["aGk="]},
    } | changes


def flag(**changes: Any) -> dict[str, Any]:
    return {"name": "streaming", "datatype": "BOOL", "shape": ["1"], "contents": {"bool_contents": [False]}} | changes


def llm(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model_name": "kp-llm", "inputs": list(inputs), **more}


def without(part: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in names}


def tensor(datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> dict[str, Any]:
    """A request of one tensor, raw or typed."""
    given: dict[str, Any] = {"name": "t", "datatype": datatype, "shape": [str(part) for part in shape]}
    if raw is None:
        return {"model_name": "kp-tensor", "inputs": [given | {"contents": contents}]}
    return {"model_name": "kp-tensor", "inputs": [given], "raw_input_contents": [b64(raw)]}


def sampling(**parameters: Any) -> dict[str, Any]:
    return llm(text(), parameters=parameters)


NO_FIELD = "has no typed field for half-precision"
COUNT = "shape implies"
RAW_COUNT = "does not match expected size"
INVALID, INTERNAL, NOT_FOUND = "INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND"

MODELS = [
    Bad("no-model", NOT_FOUND, "Model '' not found", {}),
    Bad("unknown-model", NOT_FOUND, "Model 'nobody' not found", {"model_name": "nobody", "inputs": [text()]}),
    Bad("wrong-case", NOT_FOUND, "Model 'KP-LLM' not found", {"model_name": "KP-LLM", "inputs": [text()]}),
    Bad("chat-model", NOT_FOUND, "Model 'kp-chat' not found", {"model_name": "kp-chat", "inputs": [text()]}),
    Bad("inner-name", NOT_FOUND, "Model 'kp-inner' not found", {"model_name": "kp-inner"}),
    Bad("huge-name", NOT_FOUND, "not found", {"model_name": "x" * 5000}),
]
COMPLETIONS = [
    Bad("no-inputs", INVALID, "Missing required input: 'text_input'", llm()),
    Bad("flag-alone", INVALID, "Missing required input: 'text_input'", llm(flag())),
    Bad("unknown-input", INVALID, "Invalid input name: temperature", llm(text(), text(name="temperature"))),
    Bad("empty-input-name", INVALID, "Invalid input name: ,", llm(text(name=""))),
    Bad("text-datatype", INVALID, 'got \\"STRING\\"', llm(text(datatype="STRING"))),
    Bad("text-no-datatype", INVALID, 'got \\"\\"', llm(without(text(), "datatype"))),
    Bad("text-shape-2", INVALID, "got [2]", llm(text(shape=["2"]))),
    Bad("text-shape-none", INVALID, "got []", llm(without(text(), "shape"))),
    Bad("text-shape-negative", INVALID, "got [-1]", llm(text(shape=["-1"]))),
    Bad("text-shape-deep", INVALID, "got [1, 1, 1]", llm(text(shape=["1", "1", "1"]))),
    Bad("text-empty-contents", INVALID, "'text_input' must contain exactly one element", llm(text(contents={}))),
    Bad("text-wrong-contents", INVALID, "exactly one element", llm(text(contents={"int_contents": [1]}))),
    Bad("text-nowhere", INVALID, "Missing raw input for 'text_input'", llm(without(text(), "contents"))),
    Bad("text-raw-short", INVALID, ">= 4 bytes", llm(without(text(), "contents"), raw_input_contents=[b64(b"abc")])),
    Bad("text-raw-empty", INVALID, ">= 4 bytes", llm(without(text(), "contents"), raw_input_contents=[""])),
    Bad(
        "raw-fewer", INVALID, "must be used for all inputs", llm(text(), flag(), raw_input_contents=[b64(b"\0\0\0\0a")])
    ),
    Bad("raw-more", INVALID, "must be used for all inputs", llm(text(), raw_input_contents=["AAAAAA==", "AA=="])),
    Bad("flag-datatype", INVALID, "to be of type BOOL", llm(text(), flag(datatype="INT8"))),
    Bad("flag-shape", INVALID, "Expected 'stream' to have shape [1], got [1, 1]", llm(text(), flag(shape=["1", "1"]))),
    Bad("flag-empty", INVALID, "'stream' must contain exactly one element", llm(text(), flag(contents={}))),
    Bad("flag-nowhere", INVALID, "Missing raw input for 'stream'", llm(text(), without(flag(), "contents"))),
    Bad("streaming-unary", INVALID, "not supported", llm(text(), flag(contents={"bool_contents": [True]}))),
]
SAMPLING = [
    Bad("temperature-high", INVALID, "Temperature", sampling(temperature={"double_param": 2.5})),
    Bad("temperature-nan", INVALID, "emperature", sampling(temperature={"double_param": "NaN"})),
    Bad("temperature-text", INVALID, "temperature", sampling(temperature={"string_param": "hot"})),
    Bad("max-tokens-negative", INVALID, "max_tokens", sampling(max_tokens={"int64_param": "-1"})),
    Bad("max-tokens-fraction", INVALID, "max_tokens", sampling(max_tokens={"double_param": 1.5})),
    Bad("max-tokens-huge", INVALID, "max_tokens", sampling(max_tokens={"uint64_param": str((1 << 64) - 1)})),
    Bad("top-p-high", INVALID, "Top_p", sampling(top_p={"double_param": 1.5})),
    Bad("n-zero", INVALID, "n", sampling(n={"int64_param": "0"})),
    Bad("stop-number", INVALID, "stop", sampling(stop={"int64_param": "5"})),
    Bad("penalty-low", INVALID, "penalty", sampling(frequency_penalty={"double_param": -3.0})),
    Bad("ignore-eos-number", INVALID, "ignore_eos", sampling(ignore_eos={"int64_param": "1"})),
]
TENSORS = [
    Bad("datatype-unknown", INVALID, "Invalid data type", tensor("FLOAT", [1], b"\0\0\0\0")),
    Bad("datatype-lower", INVALID, "Invalid data type", tensor("int32", [1], int_contents=[1])),
    Bad("datatype-empty", INVALID, "Invalid data type", tensor("", [1], b"\0")),
    Bad("typed-fewer", INVALID, COUNT, tensor("INT32", [3], int_contents=[1, 2])),
    Bad("typed-more", INVALID, COUNT, tensor("INT32", [1], int_contents=[1, 2])),
    Bad("typed-wrong-field", INVALID, COUNT, tensor("INT32", [1], fp32_contents=[1.0])),
    Bad("typed-negative", INVALID, "only -1 is allowed", tensor("INT32", [-2], int_contents=[1])),
    Bad("typed-scalar-empty", INVALID, COUNT, tensor("FP64", [])),
    Bad("typed-overflow", INVALID, COUNT, tensor("UINT8", [1 << 62, 1 << 62], uint_contents=[1])),
    Bad("typed-fp16", INVALID, NO_FIELD, tensor("FP16", [1], fp32_contents=[1.0])),
    Bad("typed-bf16", INVALID, NO_FIELD, tensor("BF16", [1], uint_contents=[1])),
    Bad("raw-negative", INVALID, "Shape contains negative dimension: -1", tensor("INT32", [-1], b"\0\0\0\0")),
    Bad("raw-overflow", INVALID, "Overflow occurred", tensor("INT8", [1 << 62, 8], b"\0")),
    Bad("raw-overflow-many", INVALID, "Overflow occurred", tensor("INT8", [1 << 32, 1 << 32, 1 << 32], b"\0")),
    Bad("raw-cut", INVALID, "must be a multiple of 8", tensor("INT64", [1], b"\0" * 7)),
    Bad("raw-cut-half", INVALID, "must be a multiple of 2", tensor("FP16", [2], b"\0" * 3)),
    Bad("raw-fewer-elements", INVALID, RAW_COUNT, tensor("FP32", [4], b"\0" * 12)),
    Bad("raw-empty", INVALID, RAW_COUNT, tensor("BOOL", [1], b"")),
    Bad("raw-for-nothing", INVALID, RAW_COUNT, tensor("UINT16", [0], b"\0\0")),
    Bad("bytes-cut-length", INVALID, "extra bytes at the end", tensor("BYTES", [1], b"\1\0")),
    Bad("bytes-overrun", INVALID, "length exceeds raw input size", tensor("BYTES", [1], b"\xff\xff\xff\xffx")),
    Bad("bytes-trailing", INVALID, "extra bytes at the end", tensor("BYTES", [1], b"\1\0\0\0ab")),
    Bad("bytes-more", INVALID, RAW_COUNT, tensor("BYTES", [1], b"\0\0\0\0" * 2)),
    Bad("no-data", INVALID, "neither contents nor raw", tensor("INT32", [1], b"") | {"raw_input_contents": []}),
    Bad(
        "shared-memory",
        INVALID,
        "neither contents nor raw",
        {
            "model_name": "kp-tensor",
            "inputs": [
                {
                    "name": "t",
                    "datatype": "INT32",
                    "shape": ["4"],
                    "parameters": {
                        "shared_memory_region": {"string_param": "region"},
                        "shared_memory_byte_size": {"int64_param": "16"},
                    },
                }
            ],
        },
    ),
    Bad("parameter-empty", INVALID, "Parameter 'k' has no value", tensor("INT8", [0]) | {"parameters": {"k": {}}}),
    Bad(
        "output-parameter-empty",
        INVALID,
        "Parameter 'k' has no value",
        tensor("INT8", [0]) | {"outputs": [{"name": "y", "parameters": {"k": {}}}]},
    ),
    Bad(
        "raw-fewer-entries",
        INVALID,
        "must be used for all",
        tensor("INT8", [1], b"") | {"raw_input_contents": ["", ""]},
    ),
]
MESSAGES = [
    Bad("cut-field", INTERNAL, "failed to decode Protobuf message", raw_message=b"\x0a\xff"),
    Bad(
        "bad-tag",
        INTERNAL,
        "failed to decode Protobuf message",
        raw_message=b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ),
    Bad("bad-utf8", INTERNAL, "failed to decode Protobuf message", raw_message=b"\x0a\x02\xff\xfe"),
    Bad("wrong-wire-type", INTERNAL, "failed to decode Protobuf message", raw_message=b"\x0f\x01"),
    Bad("group-open", INTERNAL, "failed to decode Protobuf message", raw_message=b"\x0b"),
    Bad("empty-message", NOT_FOUND, "Model '' not found", raw_message=b""),
    Bad("unknown-fields", NOT_FOUND, "Model '' not found", raw_message=b"\xfa\x3f\x03abc"),
    Bad(
        "many-entries",
        INVALID,
        "metadata headers exceed the limit of 64 entries",
        llm(text()),
        metadata=tuple((f"x-dynamo-meta-k{number}", "v") for number in range(65)),
    ),
]
BAD = [*MODELS, *COMPLETIONS, *SAMPLING, *TENSORS, *MESSAGES]
