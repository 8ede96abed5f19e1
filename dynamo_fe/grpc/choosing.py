"""Which model answers a request, and in which of the two ways."""

from __future__ import annotations

from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.grpc.status import UNAVAILABLE_NOW, Code, Status
from dynamo_fe.models.served import ServedModel
from dynamo_fe.protocol.card import ModelCard

TENSOR, COMPLETIONS = "TensorBased", "Completions"


def kind_of(services: KserveServices, name: str) -> str:
    """`TENSOR` or `COMPLETIONS`, by a model's name or alias. Raises Status (NOT_FOUND) for all other models."""
    types = services.registry.types(name)
    for kind in (TENSOR, COMPLETIONS):
        if kind in types:
            return kind
    raise Status.no_model(name)


def model_for(services: KserveServices, name: str, kind: str) -> ServedModel:
    """The model that a request for that name is prepared for. Raises Status while no worker can be asked.

    `strict`: workers set aside after a failure are not asked, as in the original, where nobody else is left.
    """
    model = services.registry.choose(name, kind, None)
    if model is None or (services.strict and not services.availability.is_servable(name)):
        raise Status(Code.UNAVAILABLE, UNAVAILABLE_NOW)
    return model


def described(services: KserveServices, name: str) -> tuple[str, ModelCard]:
    """What metadata and configuration are made from: the way, and the card. Raises Status for models that have none.

    Aliases have none, as in the original.
    """
    for kind in (TENSOR, COMPLETIONS):
        model = services.registry.choose(name, kind, None)
        if model is not None and model.name == name:
            return kind, model.card
    raise Status.no_model(name)
