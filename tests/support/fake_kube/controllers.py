"""What a cluster's controllers do: pods appear in the EndpointSlice of their Service, what a gone pod owned goes."""

from __future__ import annotations

import asyncio
import copy
import uuid

from tests.support.fake_kube.objects import DISCOVERY_LABELS, Object, Selector, now
from tests.support.fake_kube.store import Store

_MANAGED_BY = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
_SERVICE = "svc"


class Controllers:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add_pod(self, namespace: str, asked: Object) -> str:
        """Returns its uid."""
        containers = asked.get("containers") or {"main": asked.get("ready", False)}
        uid = asked.get("uid") or str(uuid.uuid4())
        labels = {_SERVICE: asked["service"], **DISCOVERY_LABELS, **asked.get("labels", {})}
        statuses = [
            {"name": name, "ready": bool(ready), "restartCount": 0, "image": "x", "imageID": ""}
            for name, ready in containers.items()
        ]
        pod = {
            "metadata": {"name": asked["name"], "namespace": namespace, "uid": uid, "labels": labels},
            "spec": {"containers": [{"name": name} for name in containers]},
            "status": {"phase": "Running", "podIP": asked.get("ip", "127.0.0.1"), "containerStatuses": statuses},
        }
        self._store.put("pods", pod)
        self._sync(namespace, asked["service"])
        return uid

    def set_ready(self, namespace: str, asked: Object) -> None:
        pod = copy.deepcopy(self._store.objects["pods"][(namespace, asked["name"])])
        for status in pod["status"]["containerStatuses"]:
            if "containers" in asked:
                status["ready"] = asked["containers"].get(status["name"], status["ready"])
            else:
                status["ready"] = asked.get("ready", status["ready"])
        if asked.get("terminating"):
            pod["metadata"]["deletionTimestamp"] = now()
        self._store.put("pods", pod)
        self._sync(namespace, pod["metadata"]["labels"][_SERVICE])

    def delete_pod(self, namespace: str, asked: Object) -> None:
        """Its records go after `gc_delay` seconds, or stay when `gc` is false."""
        pod = self._store.delete("pods", namespace, asked["name"])
        if pod is None:
            raise KeyError(asked["name"])
        self._sync(namespace, pod["metadata"]["labels"][_SERVICE])
        uid = pod["metadata"]["uid"]
        if asked.get("gc_delay"):
            asyncio.get_running_loop().call_later(asked["gc_delay"], self._collect, uid)
        elif asked.get("gc", True):
            self._collect(uid)

    def set_service(self, namespace: str, asked: Object) -> None:
        """The labels of a Service are copied onto its slice."""
        found = self._slice(namespace, asked["name"])
        found["metadata"]["labels"] = {"kubernetes.io/service-name": asked["name"], **asked.get("labels", {})}
        self._store.put("endpointslices", found)

    def _collect(self, uid: str) -> None:
        for (namespace, name), record in list(self._store.objects["dynamoworkermetadatas"].items()):
            owners = record["metadata"].get("ownerReferences") or []
            if any(owner.get("uid") == uid for owner in owners):
                self._store.delete("dynamoworkermetadatas", namespace, name)

    def _slice(self, namespace: str, service: str) -> Object:
        name = f"{service}-abcde"
        found = self._store.objects["endpointslices"].get((namespace, name))
        if found is not None:
            return copy.deepcopy(found)
        labels = {"kubernetes.io/service-name": service, **_MANAGED_BY, **DISCOVERY_LABELS}
        return {
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "generation": 1},
            "addressType": "IPv4",
            "endpoints": [],
            "ports": [{"name": "system", "port": 9090, "protocol": "TCP"}],
        }

    def _sync(self, namespace: str, service: str) -> None:
        found = self._slice(namespace, service)
        pods = self._store.listed("pods", namespace, Selector(f"{_SERVICE}={service}"))
        endpoints = [_endpoint(pod) for pod in pods]
        if found.get("endpoints") == endpoints and "resourceVersion" in found["metadata"]:
            return
        found["endpoints"] = endpoints
        found["metadata"]["generation"] = found["metadata"].get("generation", 0) + 1
        self._store.put("endpointslices", found)


def _endpoint(pod: Object) -> Object:
    metadata, status = pod["metadata"], pod["status"]
    ready = all(container["ready"] for container in status["containerStatuses"])
    terminating = "deletionTimestamp" in metadata
    target = {"kind": "Pod", **{name: metadata[name] for name in ("namespace", "name", "uid")}}
    return {
        "addresses": [status["podIP"]],
        "conditions": {"ready": ready and not terminating, "serving": ready, "terminating": terminating},
        "nodeName": "node-1",
        "targetRef": target,
    }
