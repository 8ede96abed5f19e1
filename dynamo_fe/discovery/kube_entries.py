"""What a worker's DynamoWorkerMetadata says, entry by entry, as the records that etcd would hold. No I/O.

The map keys are not looked at: an entry's own text says what it is. One that cannot be read stays as it was, and costs
nothing but itself (1.6.1 gives up the whole record).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from dynamo_fe.discovery.kube_objects import ObjectError, Record, read
from dynamo_fe.protocol.event_records import (
    CHANNELS_PREFIX,
    SOURCES_PREFIX,
    EventChannel,
    EventSource,
    publisher_key,
)
from dynamo_fe.protocol.instance import InstanceRecord, instance_key

MODELS_PREFIX: Final = "v1/mdc/"
# Unknown maps are left to newer versions.
_MAPS: Final = ("endpoints", "model_cards", "event_channels", "event_sources")

_Place: TypeAlias = tuple[str, str]


class Entry(msgspec.Struct, frozen=True):
    """`key` in etcd's spelling, `value` as the worker wrote it."""

    key: str
    value: bytes


class WorkerRecord(msgspec.Struct, frozen=True):
    """`pod_uid` is the first owner's of kind Pod, None without one. `faults` says what could not be read."""

    name: str
    uid: str
    pod_uid: str | None
    places: dict[_Place, Entry]
    faults: tuple[str, ...] = ()

    def entries(self) -> dict[str, bytes]:
        """By key; of two entries for one key the later counts."""
        return {entry.key: entry.value for entry in self.places.values()}


class _Data(msgspec.Struct, frozen=True):
    """Null is an empty map."""

    endpoints: dict[str, msgspec.Raw] | None = None
    model_cards: dict[str, msgspec.Raw] | None = None
    event_channels: dict[str, msgspec.Raw] | None = None
    event_sources: dict[str, msgspec.Raw] | None = None


class _Model(msgspec.Struct, frozen=True, tag="Model"):
    namespace: str
    component: str
    endpoint: str
    instance_id: int
    card_json: msgspec.Raw
    model_suffix: str | None = None


_decoder = msgspec.json.Decoder(InstanceRecord | _Model | EventChannel | EventSource)


def read_record(record: Record, before: WorkerRecord | None) -> WorkerRecord:
    """`before` is what was read of the record of that name last: the same object's entries stand in for those that
    cannot be read now."""
    meta = record.metadata
    owners = meta.owner_references or []
    pod_uid = next((owner.uid for owner in owners if owner.kind == "Pod"), None)
    if before is not None and (before.uid, before.pod_uid) != (meta.uid, pod_uid):
        before = None
    known = {} if before is None else before.places
    try:
        unread = _maps(record)
    except ObjectError as error:
        return WorkerRecord(meta.name, meta.uid, pod_uid, known, (str(error),))
    places: dict[_Place, Entry] = {}
    faults: list[str] = []
    for place, raw in unread.items():
        try:
            places[place] = _entry(bytes(raw))
        except ObjectError as error:
            faults.append(f"{' '.join(place)}: {error}")
            if place in known:
                places[place] = known[place]
    return WorkerRecord(meta.name, meta.uid, pod_uid, places, tuple(faults))


def _maps(record: Record) -> dict[_Place, msgspec.Raw]:
    """The unread entries. Raises `ObjectError` for data that are no maps: of these nothing is taken."""
    if record.spec is None or isinstance(record.spec.data, msgspec.UnsetType) or bytes(record.spec.data) == b"null":
        raise ObjectError("spec.data is not there")
    data = read(record.spec.data, _Data)
    found: dict[_Place, msgspec.Raw] = {}
    for name in _MAPS:
        entries: dict[str, msgspec.Raw] | None = getattr(data, name)
        found |= {(name, map_key): raw for map_key, raw in (entries or {}).items()}
    return found


def _entry(raw: bytes) -> Entry:
    try:
        value = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ObjectError(str(error)) from None
    if isinstance(value, InstanceRecord):
        if value.transport.tcp is None and value.transport.nats_tcp is None:
            raise ObjectError("its transport is of no known kind")
        return Entry(instance_key(value.namespace, value.component, value.endpoint, value.instance_id), raw)
    if isinstance(value, EventChannel):
        return Entry(publisher_key(CHANNELS_PREFIX, value.scope, value.topic, value.instance_id), raw)
    if isinstance(value, EventSource):
        return Entry(publisher_key(SOURCES_PREFIX, value.scope, value.topic, value.publisher_id), raw)
    return Entry(_model_key(value), raw)


def _model_key(model: _Model) -> str:
    key = f"{MODELS_PREFIX}{model.namespace}/{model.component}/{model.endpoint}/{model.instance_id:x}"
    return f"{key}/{model.model_suffix}" if model.model_suffix else key
