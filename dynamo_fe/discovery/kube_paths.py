"""Where the API server keeps what discovery looks at, always within one Kubernetes namespace."""

from __future__ import annotations

from typing import Final

import msgspec

GROUP: Final = "nvidia.com"
API_VERSION: Final = "nvidia.com/v1alpha1"
KIND: Final = "DynamoWorkerMetadata"
METADATAS: Final = "dynamoworkermetadatas"
# The label that slices (pods in container mode) must carry; the operator's other label is not asked for.
ENABLED: Final = "nvidia.com/dynamo-discovery-enabled=true"
ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# Written as Dynamo's workers write, so that either may take a record over from the other.
FIELD_MANAGER: Final = "dynamo-worker"


class Resource(msgspec.Struct, frozen=True):
    """A kind of object in a namespace, or those that both selectors take; `group` is empty for the core API."""

    group: str
    name: str
    namespace: str
    path: str
    selector: str = ""
    fields: str = ""

    @property
    def full_name(self) -> str:
        """As `kubectl` takes it."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def selectors(self) -> dict[str, str]:
        """The parameters that choose among the objects."""
        both = {"labelSelector": self.selector, "fieldSelector": self.fields}
        return {name: value for name, value in both.items() if value}

    def object_path(self, name: str) -> str:
        """One object of it."""
        return f"{self.path}/{name}"


def slices(namespace: str) -> Resource:
    """EndpointSlices of services that take part in discovery."""
    group = "discovery.k8s.io"
    return Resource(group, "endpointslices", namespace, _path(f"{group}/v1", namespace, "endpointslices"), ENABLED)


def metadatas(namespace: str, name: str = "") -> Resource:
    """DynamoWorkerMetadata: all of them, or the one of that name."""
    fields = f"metadata.name={name}" if name else ""
    return Resource(GROUP, METADATAS, namespace, _path(API_VERSION, namespace, METADATAS), fields=fields)


def pods(namespace: str) -> Resource:
    """Pods that take part in discovery, for container mode."""
    return Resource("", "pods", namespace, f"/api/v1/namespaces/{namespace}/pods", ENABLED)


def _path(version: str, namespace: str, plural: str) -> str:
    return f"/apis/{version}/namespaces/{namespace}/{plural}"
