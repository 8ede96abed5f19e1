"""Objects as they lie on an API server: a worker's record, and the slice that calls its pod ready."""

from __future__ import annotations

from typing import Any

from tests.support.kube_server import NAMESPACE

LABELS = {"nvidia.com/dynamo-discovery-enabled": "true"}


def endpoint_entry(instance_id: int, port: int = 21700, **changes: Any) -> dict[str, Any]:
    """An entry of `endpoints`."""
    place = {"namespace": "llmspec", "component": "backend", "endpoint": "generate", "instance_id": instance_id}
    transport = {"tcp": f"127.0.0.1:{port}/{instance_id:x}/llmspec/backend/generate"}
    return {"type": "Endpoint", **place, "transport": transport, "request_plane_codec": "msgpack"} | changes


def card_entry(instance_id: int, card: dict[str, Any]) -> dict[str, Any]:
    """An entry of `model_cards`."""
    place = {"namespace": "llmspec", "component": "backend", "endpoint": "generate", "instance_id": instance_id}
    return {"type": "Model", **place, "card_json": card}


def record(name: str, data: Any, pod_uid: str | None = None) -> dict[str, Any]:
    """A DynamoWorkerMetadata of the pod of that name."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod_uid or f"uid-{name}"}
    meta = {"name": name, "namespace": NAMESPACE, "uid": f"object-{name}", "ownerReferences": [owner]}
    return {"metadata": meta, "spec": {"data": data}}


def ready_slice(*pods: str, name: str = "workers-1") -> dict[str, Any]:
    """An EndpointSlice in which all these pods are ready."""
    endpoints = [
        {
            "addresses": ["127.0.0.1"],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": pod, "uid": f"uid-{pod}"},
        }
        for pod in pods
    ]
    meta = {"name": name, "namespace": NAMESPACE, "labels": LABELS}
    return {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints}
