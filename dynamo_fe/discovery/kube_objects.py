"""The parts of Kubernetes objects that discovery looks at, each read on its own: one that cannot be read costs itself.

Field names and what absence means: the public API of Kubernetes, and what Dynamo 1.6.1 made of it.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


class ObjectError(ValueError):
    """An object that cannot be read; the text says why."""


class Owner(msgspec.Struct, frozen=True):
    """Who goes, and this object with it."""

    kind: str = ""
    uid: str = ""


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """Every object has it; that of a bookmark has no name."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    owner_references: list[Owner] | None = None


class Named(msgspec.Struct, frozen=True):
    """An object of which only this is of interest."""

    metadata: Meta


class ListMeta(msgspec.Struct, frozen=True):
    """`resource_version` is where a watch goes on; `more` asks for the next page."""

    resource_version: str = msgspec.field(name="resourceVersion", default="")
    more: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, frozen=True):
    """A page of a list, its objects still unread. `items` must be there; null is an empty list."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None


class WatchEvent(msgspec.Struct, frozen=True):
    """A line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: msgspec.Raw


class Status(msgspec.Struct, frozen=True):
    """What an ERROR event holds."""

    code: int = 0
    reason: str = ""
    message: str = ""


class Conditions(msgspec.Struct, frozen=True):
    """Of an endpoint; `serving` is not looked at."""

    ready: bool | None = None
    terminating: bool | None = None


class TargetRef(msgspec.Struct, frozen=True):
    """The pod of an endpoint; its kind and namespace are not looked at."""

    name: str = ""
    uid: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    """Its addresses and ports are not looked at: the worker's record has them."""

    conditions: Conditions | None = None
    target_ref: TargetRef | None = msgspec.field(name="targetRef", default=None)


class Slice(msgspec.Struct, frozen=True):
    """An EndpointSlice."""

    metadata: Meta
    endpoints: list[msgspec.Raw] | None = None


class ContainerStatus(msgspec.Struct, frozen=True):
    name: str
    ready: bool = False


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    container_statuses: list[ContainerStatus] | None = None


class Pod(msgspec.Struct, frozen=True):
    """For container mode."""

    metadata: Meta
    status: PodStatus | None = None


class Spec(msgspec.Struct, frozen=True):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Record(msgspec.Struct, frozen=True):
    """A DynamoWorkerMetadata, its entries still unread."""

    metadata: Meta
    spec: Spec | None = None


def name_of(raw: msgspec.Raw) -> str:
    """Raises `ObjectError` for an object without a name."""
    name = read(raw, Named).metadata.name
    if not name:
        raise ObjectError("it has no name")
    return name


def read(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Raises `ObjectError`."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ObjectError(str(error)) from None
