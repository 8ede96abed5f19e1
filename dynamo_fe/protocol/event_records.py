"""Discovery records of the event plane: who publishes a topic and where, and whose cache a KV publisher speaks of."""

from __future__ import annotations

from typing import Annotated as _With
from typing import Any, Final
from urllib.parse import quote

import msgspec

from dynamo_fe.protocol.events import EventTransport
from dynamo_fe.protocol.instance import Instance, InstanceRecord, RecordError, instance_key, parse_instance

CHANNELS_PREFIX: Final = "v1/event_channels/"
SOURCES_PREFIX: Final = "v1/event_sources/"

_ID = _With[int, msgspec.Meta(ge=0)]


class EndpointName(msgspec.Struct, frozen=True):
    """The three parts of `namespace.component.endpoint`."""

    namespace: str
    component: str
    name: str


class Scope(msgspec.Struct, frozen=True, tag="endpoint", tag_field="kind"):
    """What a topic is about: the workers of one endpoint. The wire knows wider scopes; nobody was seen to use them."""

    endpoint: EndpointName


class ZmqConfig(msgspec.Struct, frozen=True):
    """`endpoint` is `tcp://HOST:PORT`, the publisher's bound socket."""

    endpoint: str


class ZmqTransport(msgspec.Struct, frozen=True, tag="Zmq", tag_field="kind"):
    config: ZmqConfig


class NatsConfig(msgspec.Struct, frozen=True):
    """The subject is `subject_prefix` + `.` + topic."""

    subject_prefix: str


class NatsTransport(msgspec.Struct, frozen=True, tag="Nats", tag_field="kind"):
    config: NatsConfig


class EventChannel(msgspec.Struct, frozen=True, tag="EventChannel", tag_field="type"):
    """`instance_id` is the publisher's id, which has nothing to do with the worker's."""

    scope: Scope
    topic: str
    instance_id: _ID
    transport: ZmqTransport | NatsTransport

    @property
    def plane(self) -> EventTransport:
        """The event plane that it is on."""
        return "zmq" if isinstance(self.transport, ZmqTransport) else "nats"


class SourceWorker(msgspec.Struct, frozen=True):
    worker_id: _ID
    dp_rank: _With[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]


class SourceMetadata(msgspec.Struct, frozen=True):
    """`recovery_target` is an instance record without its `type`."""

    kv_state_endpoint: EndpointName
    worker: SourceWorker
    publisher_id: _ID
    recovery_target: dict[str, Any]


class EventSource(msgspec.Struct, frozen=True, tag="EventSource", tag_field="type"):
    """Ties a KV-event publisher to the (worker, rank) that it speaks of."""

    scope: Scope
    topic: str
    publisher_id: _ID
    metadata: SourceMetadata


_channel = msgspec.json.Decoder(EventChannel)
_source = msgspec.json.Decoder(EventSource)


def endpoint_scope(namespace: str, component: str, endpoint: str) -> Scope:
    """The scope of an endpoint's workers."""
    return Scope(EndpointName(namespace, component, endpoint))


def subject_prefix(scope: Scope) -> str:
    """How NATS subjects of the scope begin."""
    name = scope.endpoint
    return f"namespace.{name.namespace}.component.{name.component}.endpoint.{name.name}"


def topic_key(bucket: str, scope: Scope, topic: str) -> str:
    """What the keys of a topic's publishers begin with, in `CHANNELS_PREFIX` or `SOURCES_PREFIX`."""
    name = scope.endpoint
    place = f"namespace/{_quoted(name.namespace)}/component/{_quoted(name.component)}/endpoint/{_quoted(name.name)}"
    return f"{bucket}{place}/topic/{_quoted(topic)}/"


def publisher_key(bucket: str, scope: Scope, topic: str, publisher_id: int) -> str:
    """The key of one publisher's record."""
    return f"{topic_key(bucket, scope, topic)}{publisher_id:x}"


def parse_channel(key: str, value: bytes) -> EventChannel:
    """Reads a channel's record and holds it against its key. Raises `RecordError`."""
    channel: EventChannel = _read(_channel, key, value)
    _check_key(key, publisher_key(CHANNELS_PREFIX, channel.scope, channel.topic, channel.instance_id))
    return channel


def parse_source(key: str, value: bytes) -> EventSource:
    """The same for a source's record. Raises `RecordError`."""
    source: EventSource = _read(_source, key, value)
    _check_key(key, publisher_key(SOURCES_PREFIX, source.scope, source.topic, source.publisher_id))
    if source.metadata.publisher_id != source.publisher_id:
        raise RecordError(f"{key}: the metadata belong to publisher {source.metadata.publisher_id:x}")
    return source


def recovery_instance(source: EventSource) -> Instance:
    """Where to ask for events that were missed. Raises `RecordError`."""
    try:
        record = msgspec.convert({"type": "Endpoint"} | source.metadata.recovery_target, InstanceRecord)
    except msgspec.ValidationError as error:
        raise RecordError(f"recovery target of publisher {source.publisher_id:x}: {error}") from None
    key = instance_key(record.namespace, record.component, record.endpoint, record.instance_id)
    return parse_instance(key, msgspec.json.encode(record))


def _read(decoder: msgspec.json.Decoder[Any], key: str, value: bytes) -> Any:
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{key}: {error}") from None


def _check_key(key: str, own_key: str) -> None:
    if key != own_key:
        raise RecordError(f"{key}: the value belongs to {own_key}")


def _quoted(segment: str) -> str:
    """Everything but ASCII letters, digits, `-` and `_` as %XX. `quote` spares two more."""
    return quote(segment, safe="").replace(".", "%2E").replace("~", "%7E")
