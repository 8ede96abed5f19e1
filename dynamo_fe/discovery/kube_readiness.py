"""Which pods are ready, by the EndpointSlices that name them, or in container mode by their own status. No I/O.

Both keep per record name what is known of the pod behind it, and say which names a change concerns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from dynamo_fe.discovery.kube_identity import record_name
from dynamo_fe.discovery.kube_objects import Endpoint, ObjectError, Pod, Slice, read


class PodState(msgspec.Struct, frozen=True):
    """What the cluster says of the pod behind a record. `uids`: of the pods that are ready under that name; one, unless
    none is ready or slices contradict each other. `terminating`: it is being deleted, ready or not."""

    uids: frozenset[str]
    terminating: bool


class Readiness(Protocol):
    """The two ways to know."""

    def put(self, raw: msgspec.Raw) -> set[str]:
        """Takes an object in. Returns the record names concerned. Raises `ObjectError`."""

    def remove(self, name: str) -> set[str]:
        """The object of that name is gone."""

    def names(self) -> set[str]:
        """Of the objects that are known."""

    def state(self, name: str) -> PodState | None:
        """Of a record's pod; None: the cluster does not name it."""


class SliceReadiness:
    """By EndpointSlices. A pod stays ready until the last slice that says so drops it.

    `assume_ready`: an endpoint that says nothing of its readiness counts as ready, as the Kubernetes API means it;
    Dynamo 1.6.1 leaves it out.
    """

    def __init__(self, assume_ready: bool = False) -> None:
        self._assume_ready = assume_ready
        self._slices: dict[str, dict[str, list[Endpoint]]] = {}
        self._naming: dict[str, set[str]] = {}

    def put(self, raw: msgspec.Raw) -> set[str]:
        parsed = read(raw, Slice)
        name = parsed.metadata.name
        pods: dict[str, list[Endpoint]] = {}
        for endpoint in _readable(parsed.endpoints or []):
            if endpoint.target_ref is not None and endpoint.target_ref.name and endpoint.target_ref.uid:
                pods.setdefault(endpoint.target_ref.name, []).append(endpoint)
        before = self._slices.get(name, {})
        changed = {pod for pod in before.keys() | pods.keys() if before.get(pod) != pods.get(pod)}
        self._slices[name] = pods
        self._note(name, before.keys() - pods.keys(), pods.keys() - before.keys())
        return changed

    def remove(self, name: str) -> set[str]:
        pods = set(self._slices.pop(name, ()))
        self._note(name, pods, ())
        return pods

    def names(self) -> set[str]:
        return set(self._slices)

    def state(self, name: str) -> PodState | None:
        slices = self._naming.get(name)
        if not slices:
            return None
        endpoints = [endpoint for each in slices for endpoint in self._slices[each][name]]
        uids = frozenset(one.target_ref.uid for one in endpoints if one.target_ref is not None and self._ready(one))
        return PodState(uids, any(one.conditions is not None and one.conditions.terminating for one in endpoints))

    def _ready(self, endpoint: Endpoint) -> bool:
        ready = None if endpoint.conditions is None else endpoint.conditions.ready
        return self._assume_ready if ready is None else ready

    def _note(self, name: str, gone: Iterable[str], new: Iterable[str]) -> None:
        for pod in gone:
            slices = self._naming[pod]
            slices.discard(name)
            if not slices:
                del self._naming[pod]
        for pod in new:
            self._naming.setdefault(pod, set()).add(name)


class PodReadiness:
    """By the pods' own status, for container mode: every container that is ready, also in a pod that is being
    deleted."""

    def __init__(self) -> None:
        self._pods: dict[str, dict[str, PodState]] = {}
        self._states: dict[str, PodState] = {}

    def put(self, raw: msgspec.Raw) -> set[str]:
        pod = read(raw, Pod)
        statuses = (pod.status.container_statuses if pod.status is not None else None) or []
        terminating = pod.metadata.deletion_timestamp is not None
        ready, unready = frozenset((pod.metadata.uid,)), frozenset[str]()
        return self._replace(
            pod.metadata.name,
            {
                record_name(pod.metadata.name, one.name): PodState(ready if one.ready else unready, terminating)
                for one in statuses
            },
        )

    def remove(self, name: str) -> set[str]:
        changed = self._replace(name, {})
        self._pods.pop(name, None)
        return changed

    def names(self) -> set[str]:
        return set(self._pods)

    def state(self, name: str) -> PodState | None:
        return self._states.get(name)

    def _replace(self, pod: str, states: dict[str, PodState]) -> set[str]:
        before = self._pods.get(pod, {})
        changed = {name for name in before.keys() | states.keys() if before.get(name) != states.get(name)}
        for name in before.keys() - states.keys():
            self._states.pop(name, None)
        self._states |= states
        self._pods[pod] = states
        return changed


def _readable(raws: list[msgspec.Raw]) -> Iterable[Endpoint]:
    for raw in raws:
        try:
            yield read(raw, Endpoint)
        except ObjectError:
            # An endpoint of a shape that there is not names no pod that could be ready.
            continue
