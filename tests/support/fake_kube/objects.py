"""What a Kubernetes API server knows of its objects: kinds, Status bodies, merges, label selectors."""

from __future__ import annotations

import copy
import datetime
from typing import Any, NamedTuple

Object = dict[str, Any]

# resource: (group, version, kind)
RESOURCES = {
    "pods": ("", "v1", "Pod"),
    "endpointslices": ("discovery.k8s.io", "v1", "EndpointSlice"),
    "dynamoworkermetadatas": ("nvidia.com", "v1alpha1", "DynamoWorkerMetadata"),
    "services": ("", "v1", "Service"),
}
DISCOVERY_LABELS = {
    "nvidia.com/dynamo-discovery-backend": "kubernetes",
    "nvidia.com/dynamo-discovery-enabled": "true",
}
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def now() -> str:
    """As timestamps in objects are written."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def api_version(resource: str) -> str:
    group, version, _ = RESOURCES[resource]
    return f"{group}/{version}" if group else version


def key_of(obj: Object) -> tuple[str, str]:
    """(namespace, name)"""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def failure(code: int, message: str, reason: str | None = None, details: Object | None = None) -> Object:
    """The Status of a request that failed."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    status["reason"] = reason or _REASONS.get(code, "Unknown")
    if details:
        status["details"] = details
    return status | {"code": code}


def merged(base: Any, patch: Any) -> Any:
    """RFC 7386; near enough to server side apply for objects owned by one manager."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Selector(NamedTuple):
    """Of labels, and of the one field that is known: `metadata.name`."""

    labels: str = ""
    fields: str = ""

    def takes(self, obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        named = {"metadata.name": obj["metadata"]["name"]}
        return _all_hold(labels, self.labels) and _all_hold(named, self.fields)


def _all_hold(values: dict[str, str], selector: str) -> bool:
    return all(_term_holds(values, term) for term in selector.split(",") if term)


def _term_holds(values: dict[str, str], term: str) -> bool:
    if "!=" in term:
        key, value = term.split("!=")
        return values.get(key) != value
    if "=" in term:
        key, value = term.replace("==", "=").split("=", 1)
        return values.get(key) == value
    if term.startswith("!"):
        return term[1:] not in values
    return term in values
