"""Instance records: the value under `v1/instances/NS/COMPONENT/ENDPOINT/HEX_ID`, type `Endpoint`."""

from __future__ import annotations

from typing import Literal

import msgspec

INSTANCES_PREFIX = "v1/instances/"
MAX_INSTANCE_ID = (1 << 64) - 1

Codec = Literal["msgpack", "json"]


class RecordError(ValueError):
    """A discovery record that cannot be used; the text says why."""


class Transport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the worker is reached: exactly one of the two is set.

    `tcp` is `HOST:PORT/PATH` (IPv6 in brackets), `nats_tcp` a NATS subject.
    """

    tcp: str | None = None
    nats_tcp: str | None = None


class InstanceRecord(msgspec.Struct, frozen=True, tag="Endpoint", tag_field="type", omit_defaults=True):
    """The record as it lies in the store. `request_plane_codec` absent means `json`."""

    component: str
    endpoint: str
    namespace: str
    instance_id: int
    transport: Transport
    device_type: str | None = None
    request_plane_codec: Codec | None = None


class Instance(msgspec.Struct, frozen=True):
    """One reachable worker endpoint. `(namespace, component, endpoint, instance_id)` is its identity; `host:port` is
    not, since one process may serve several instances. `path` goes into the request frame as it is.
    """

    key: str
    namespace: str
    component: str
    endpoint: str
    instance_id: int
    host: str
    port: int
    path: str
    codec: Codec
    transport: Literal["tcp", "nats"]
    nats_subject: str
    device_type: str | None = None


_decoder = msgspec.json.Decoder(InstanceRecord)


def instance_key(namespace: str, component: str, endpoint: str, instance_id: int) -> str:
    """The key of an instance record: the id in lower-case hexadecimal without padding."""
    return f"{INSTANCES_PREFIX}{namespace}/{component}/{endpoint}/{instance_id:x}"


def parse_instance(key: str, value: bytes) -> Instance:
    """Reads a record and holds it against its key. Raises `RecordError`."""
    try:
        record = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{key}: {error}") from None
    _check_identity(key, record)
    host, port, path = "", 0, ""
    subject = record.transport.nats_tcp or ""
    if record.transport.tcp is not None:
        host, port, path = _split_tcp(key, record.transport.tcp)
    elif not subject:
        raise RecordError(f"{key}: transport is neither tcp nor nats_tcp")
    return Instance(
        key=key,
        namespace=record.namespace,
        component=record.component,
        endpoint=record.endpoint,
        instance_id=record.instance_id,
        host=host,
        port=port,
        path=path,
        codec=record.request_plane_codec or "json",
        transport="tcp" if host else "nats",
        nats_subject="" if host else subject,
        device_type=record.device_type,
    )


def _check_identity(key: str, record: InstanceRecord) -> None:
    if not 0 < record.instance_id <= MAX_INSTANCE_ID:
        raise RecordError(f"{key}: instance_id {record.instance_id} is not a 64-bit number above 0")
    own_key = instance_key(record.namespace, record.component, record.endpoint, record.instance_id)
    if key != own_key:
        raise RecordError(f"{key}: the value belongs to {own_key}")


def _split_tcp(key: str, text: str) -> tuple[str, int, str]:
    address, slash, path = text.partition("/")
    host, colon, port_text = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    port = int(port_text) if port_text.isascii() and port_text.isdigit() else 0
    if not (slash and colon and host and path) or not 0 < port < 65536:
        raise RecordError(f"{key}: transport.tcp {text!r} is not HOST:PORT/PATH")
    return host, port, path
