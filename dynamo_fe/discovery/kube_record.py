"""The DynamoWorkerMetadata that a worker writes of itself: entries under etcd's keys in, the whole object out. No I/O.

Shape and field order: as Dynamo 1.6.1's workers were seen to write it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dynamo_fe.discovery.kube_entries import MODELS_PREFIX
from dynamo_fe.discovery.kube_identity import Identity
from dynamo_fe.discovery.kube_paths import API_VERSION, KIND
from dynamo_fe.protocol.event_records import CHANNELS_PREFIX, SOURCES_PREFIX
from dynamo_fe.protocol.instance import INSTANCES_PREFIX

_CHANNELS: Final = "event_channels"
# what an entry's key begins with in etcd: the map that has it here
_MAPS: Final = {
    INSTANCES_PREFIX: "endpoints",
    MODELS_PREFIX: "model_cards",
    CHANNELS_PREFIX: _CHANNELS,
    SOURCES_PREFIX: "event_sources",
}


class OwnRecord:
    """Everything that one process says of itself."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._maps: dict[str, dict[str, Any]] = {name: {} for name in _MAPS.values()}

    def put(self, key: str, value: bytes) -> None:
        """Raises `ValueError` for a key that no map takes, or a value that is not JSON."""
        name, rest = _place(key)
        self._maps[name][rest] = _with_scope(value) if name == _CHANNELS else msgspec.Raw(value)

    def remove(self, key: str) -> bool:
        """Whether it was there."""
        name, rest = _place(key)
        return self._maps[name].pop(rest, None) is not None

    def clear(self) -> None:
        """Nothing is said any more."""
        for entries in self._maps.values():
            entries.clear()

    def __contains__(self, key: str) -> bool:
        name, rest = _place(key)
        return rest in self._maps[name]

    def body(self) -> bytes:
        """For a server-side apply. The pod owns the object, so that it goes with the pod."""
        identity = self._identity
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": identity.pod_name,
            "uid": identity.pod_uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
        record = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": identity.record_name, "ownerReferences": [owner]},
            "spec": {"data": self._maps},
        }
        return msgspec.json.encode(record)


def _place(key: str) -> tuple[str, str]:
    for prefix, name in _MAPS.items():
        if key.startswith(prefix):
            return name, key.removeprefix(prefix)
    raise ValueError(f"no place for {key!r} in a {KIND}")


def _with_scope(value: bytes) -> dict[str, Any]:
    """A channel's record names its namespace and component once more here."""
    channel: dict[str, Any] = msgspec.json.decode(value)
    endpoint = channel["scope"]["endpoint"]
    return channel | {"namespace": endpoint["namespace"], "component": endpoint["component"]}
