"""The objects, their history, and the watches that are told of it."""

from __future__ import annotations

import asyncio
import copy
import uuid
from typing import NamedTuple

from tests.support.fake_kube.objects import RESOURCES, Object, Selector, api_version, failure, key_of, now


class Change(NamedTuple):
    """One step of history; `before` is the object that was there."""

    version: int
    resource: str
    kind: str
    obj: Object
    before: Object | None


class Watch:
    """One open watch: an event, or the name of something to be done to it, in `queue`."""

    def __init__(self, resource: str, namespace: str | None, selector: Selector, number: int) -> None:
        self.resource = resource
        self.namespace = namespace
        self.selector = selector
        self.number = number
        self.queue: asyncio.Queue[Object | str] = asyncio.Queue()

    def offer(self, change: Change) -> None:
        """Queues the change if it is seen through this watch."""
        obj, before, kind = change.obj, change.before, change.kind
        if change.resource != self.resource or (self.namespace and key_of(obj)[0] != self.namespace):
            return
        is_in = self.selector.takes(obj)
        was_in = before is not None and self.selector.takes(before)
        if kind == "MODIFIED" and is_in != was_in:
            kind = "ADDED" if is_in else "DELETED"
        if is_in or was_in:
            self.queue.put_nowait({"type": kind, "object": obj})


class Store:
    """`floor` is the oldest resourceVersion that can still be watched from."""

    def __init__(self) -> None:
        self.version = 1000
        self.floor = 1000
        self.objects: dict[str, dict[tuple[str, str], Object]] = {resource: {} for resource in RESOURCES}
        # by resource, namespace and name: what each field manager applied last
        self.applied: dict[tuple[str, str, str], dict[str, Object]] = {}
        self.history: list[Change] = []
        self.watches: set[Watch] = set()

    def listed(self, resource: str, namespace: str | None, selector: Selector) -> list[Object]:
        found = sorted(self.objects[resource].items())
        return [obj for (place, _), obj in found if namespace in (None, "", place) and selector.takes(obj)]

    def put(self, resource: str, obj: Object) -> Object:
        """Stores it, with a resourceVersion and what else it lacks, and tells the watches."""
        metadata = obj["metadata"]
        key = key_of(obj)
        before = self.objects[resource].get(key)
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now())
        obj["apiVersion"], obj["kind"] = api_version(resource), RESOURCES[resource][2]
        self.objects[resource][key] = obj
        self._tell(resource, "MODIFIED" if before else "ADDED", obj, before)
        return obj

    def delete(self, resource: str, namespace: str, name: str) -> Object | None:
        obj = self.objects[resource].pop((namespace, name), None)
        self.applied.pop((resource, namespace, name), None)
        if obj is not None:
            self.version += 1
            gone = copy.deepcopy(obj)
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._tell(resource, "DELETED", gone, obj)
        return obj

    def compact(self, hard: bool) -> int:
        """Forgets the history; `hard` makes even the newest version too old. Returns the floor."""
        self.history.clear()
        self.floor = self.version + int(hard)
        self.version += int(hard)
        return self.floor

    def since(self, version: int) -> list[Change]:
        return [change for change in self.history if change.version > version]

    def bookmark(self, resource: str, initial_events_end: bool = False) -> Object:
        """The event that says how far a watch has come."""
        metadata: Object = {"resourceVersion": str(self.version), "creationTimestamp": None}
        if initial_events_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj = {"kind": RESOURCES[resource][2], "apiVersion": api_version(resource), "metadata": metadata}
        return {"type": "BOOKMARK", "object": obj}

    def dump(self) -> Object:
        """What `load` takes."""
        objects = {name: list(found.values()) for name, found in self.objects.items()}
        return {"rv": self.version, "objects": objects, "applied": [[*key, each] for key, each in self.applied.items()]}

    def load(self, dumped: Object) -> None:
        self.version = self.floor = dumped["rv"]
        for resource, objects in dumped["objects"].items():
            self.objects[resource] = {key_of(obj): obj for obj in objects}
        self.applied = {(resource, place, name): each for resource, place, name, each in dumped["applied"]}

    def _tell(self, resource: str, kind: str, obj: Object, before: Object | None) -> None:
        change = Change(self.version, resource, kind, copy.deepcopy(obj), copy.deepcopy(before))
        self.history.append(change)
        for watch in list(self.watches):
            watch.offer(change)


def too_old(version: str = "1", floor: int = 2) -> Object:
    """The event that ends a watch from a version that is no longer known."""
    return {"type": "ERROR", "object": failure(410, f"too old resource version: {version} ({floor})")}
