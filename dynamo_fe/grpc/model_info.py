"""`ModelMetadata` and `ModelConfig`, made from a model card."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dynamo_fe.grpc.choosing import COMPLETIONS
from dynamo_fe.grpc.completion_answer import VERSION
from dynamo_fe.grpc.messages import (
    DATA_TYPES,
    DecodeError,
    ModelConfig,
    ModelConfigResponse,
    ModelMetadataResponse,
)
from dynamo_fe.grpc.status import Code, Status
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.protocol.tensor import BY_CONFIG, BY_WIRE, TensorModelConfig, TensorSpec, read_config

_PLATFORM: Final = "dynamo"
_COMPLETION_INPUTS: Final = [TensorSpec("text_input", "Bytes", [1]), TensorSpec("streaming", "Bool", [1])]
_COMPLETION_OUTPUTS: Final = [TensorSpec("text_output", "Bytes", [-1]), TensorSpec("finish_reason", "Bytes", [-1])]
_OPTIONAL: Final = "streaming"


def metadata_of(name: str, kind: str, card: ModelCard) -> Any:
    """A `ModelMetadataResponse`. Raises Status for a tensor model whose card says nothing that can be used."""
    config = _config(name, kind, card)
    if config.triton_model_config is not None:
        return _triton_metadata(_triton(name, config.triton_model_config))
    response = ModelMetadataResponse(name=config.name, versions=[VERSION], platform=_PLATFORM)
    for target, specs in ((response.inputs, config.inputs), (response.outputs, config.outputs)):
        for spec in specs:
            target.add(name=spec.name, datatype=_known(name, spec).kserve, shape=spec.shape)
    return response


def config_of(name: str, kind: str, card: ModelCard) -> Any:
    """A `ModelConfigResponse`; a Triton configuration is handed through as it is. Raises Status like `metadata_of`."""
    config = _config(name, kind, card)
    if config.triton_model_config is not None:
        return ModelConfigResponse(config=_triton(name, config.triton_model_config))
    response = ModelConfigResponse()
    target = response.config
    target.name, target.platform, target.backend = config.name, _PLATFORM, _PLATFORM
    for tensors, specs in ((target.input, config.inputs), (target.output, config.outputs)):
        for spec in specs:
            tensors.add(name=spec.name, data_type=_known(name, spec).config, dims=spec.shape)
    if kind == COMPLETIONS:
        for tensor in target.input:
            tensor.optional = tensor.name == _OPTIONAL
    return response


def _config(name: str, kind: str, card: ModelCard) -> TensorModelConfig:
    if kind == COMPLETIONS:
        return TensorModelConfig(name, _COMPLETION_INPUTS, _COMPLETION_OUTPUTS)
    if card.tensor_model_config is None:
        raise _unusable(name, "no model config is provided")
    try:
        return read_config(card.tensor_model_config)
    except msgspec.ValidationError as error:
        raise _unusable(name, f"failed to read the model config: {error}") from error


def _triton(name: str, given: list[int]) -> Any:
    try:
        return ModelConfig.FromString(bytes(given))
    except (DecodeError, ValueError) as error:
        raise _unusable(name, f"failed to decode Protobuf message: {error}") from error


def _triton_metadata(config: Any) -> Any:
    response = ModelMetadataResponse(name=config.name, versions=[VERSION], platform=config.platform)
    # the dimension of the batch is not among a configuration's own
    batch = [-1] if config.max_batch_size > 0 else []
    for target, tensors in ((response.inputs, config.input), (response.outputs, config.output)):
        for tensor in tensors:
            target.add(name=tensor.name, datatype=_datatype(tensor.data_type), shape=[*batch, *tensor.dims])
    return response


def _datatype(number: int) -> str:
    value = DATA_TYPES.values_by_number.get(number)
    name = "TYPE_INVALID" if value is None else str(value.name)
    return BY_CONFIG[name].kserve if name in BY_CONFIG else name


def _known(name: str, spec: TensorSpec) -> Any:
    found = BY_WIRE.get(spec.data_type)
    if found is None:
        raise _unusable(name, f"unknown datatype {spec.data_type}")
    return found


def _unusable(name: str, why: str) -> Status:
    return Status(Code.INVALID_ARGUMENT, f"Model '{name}' has type Tensor but: {why}")
