"""Checks of Kubernetes discovery: the API server, what may be done there, and what is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.cli.doctor.kubernetes_view import explain_view, make_join
from dynamo_fe.config import Settings
from dynamo_fe.discovery.kube_client import KubeClient, KubeError
from dynamo_fe.discovery.kube_config import load_access
from dynamo_fe.discovery.kube_identity import Identity, read_identity
from dynamo_fe.discovery.kube_list import list_all
from dynamo_fe.discovery.kube_objects import ObjectError, read
from dynamo_fe.discovery.kube_paths import ACCESS_REVIEWS, METADATAS, Resource, metadatas, pods, slices

_READS: Final = ("list", "watch")
# A server-side apply is a patch, and one that makes the object a create.
_WRITES: Final = ("create", "patch")
_REMEDY: Final = {
    0: "see whether the API server is up, and what stands between",
    401: "see whether the token is one of this cluster and still valid",
    403: "bind the Role of packaging/kubernetes/base/access.yaml to the service account of the pod",
}


class _Allowed(msgspec.Struct, frozen=True):
    allowed: bool


class _Review(msgspec.Struct, frozen=True):
    """What comes back of a SelfSubjectAccessReview."""

    status: _Allowed


class _Unanswered(Exception):
    """Nothing more can be asked; the finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


async def check_kubernetes(settings: Settings) -> list[Finding]:
    """Rights, the kind of the records, labels, and of each worker whether it counts and else why not."""
    if settings.discovery_backend != "kubernetes":
        return []
    try:
        identity = read_identity(os.environ)
    except ValueError as error:
        remedy = "set them: in a pod by the downward API, elsewhere to anything, since nothing is written by looking"
        return [Finding("fail", "kubernetes", str(error), remedy)]
    try:
        access = load_access(os.environ)
    except ValueError as error:
        remedy = "mend the kubeconfig, name another by KUBECONFIG, or run in a pod that has a service account"
        return [Finding("fail", "kubernetes", str(error), remedy)]
    client = KubeClient(access)
    where = f"{access.address} ({access.origin}), namespace {identity.namespace}, as pod {identity.pod_name}"
    findings = [Finding("ok", "kubernetes", where)]
    try:
        findings += await _rights(client, identity, settings)
        findings += await _view(client, identity, settings)
    except _Unanswered as unanswered:
        findings.append(unanswered.finding)
    return findings


async def _rights(client: KubeClient, identity: Identity, settings: Settings) -> list[Finding]:
    tells_others = settings.router_replica_sync or settings.router_session_affinity_ttl_secs is not None
    writes = _WRITES if settings.router_mode == "kv" and tells_others else ()
    wanted = [(_ready_by(identity), _READS), (metadatas(identity.namespace), (*_READS, *writes))]
    findings = []
    for resource, verbs in wanted:
        try:
            refused = [verb for verb in verbs if not await _allowed(client, resource, verb)]
        except (KubeError, ObjectError) as error:
            if isinstance(error, KubeError) and error.code in (0, 401):
                raise _Unanswered(_failed("kubernetes", error)) from None
            text = f"whether they suffice cannot be asked: {error}"
            return [Finding("warn", "rights", text, "what is listed below shows some of them")]
        findings.append(_right(resource, verbs, refused))
    return findings


async def _allowed(client: KubeClient, resource: Resource, verb: str) -> bool:
    """Asks the API server about whoever it takes us for. Raises KubeError, and ObjectError for what is no answer."""
    asked = {"namespace": resource.namespace, "verb": verb, "group": resource.group, "resource": resource.name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = await client.post(ACCESS_REVIEWS, msgspec.json.encode(review))
    return read(answer, _Review).status.allowed


def _right(resource: Resource, verbs: Sequence[str], refused: Sequence[str]) -> Finding:
    place = f"{resource.full_name} in namespace {resource.namespace}"
    if refused:
        rule = f'{{apiGroups: ["{resource.group}"], resources: [{resource.name}], verbs: [{", ".join(verbs)}]}}'
        return Finding("fail", "rights", f"may not {' nor '.join(refused)} {place}", f"give the Role the rule {rule}")
    return Finding("ok", "rights", f"may {', '.join(verbs)} {place}")


async def _view(client: KubeClient, identity: Identity, settings: Settings) -> list[Finding]:
    ready_by = _ready_by(identity)
    lists, findings = [], []
    for resource in (metadatas(identity.namespace), ready_by):
        listed = await _list(client, resource)
        if isinstance(listed, Finding):
            findings.append(listed)
        else:
            lists.append(listed)
    if findings:
        return findings
    records, labelled = lists
    # Also without the label, to tell whose is missing.
    every = await _list(client, msgspec.structs.replace(ready_by, selector=""))
    join = make_join(identity, settings.kube_assume_ready)
    return explain_view(join, records, labelled, labelled if isinstance(every, Finding) else every)


async def _list(client: KubeClient, resource: Resource) -> list[msgspec.Raw] | Finding:
    try:
        items, _ = await list_all(client, resource)
    except KubeError as error:
        return _unlisted(resource, error)
    except ObjectError as error:
        text = f"{resource.full_name} cannot be read: {error}"
        return Finding("fail", "kubernetes", text, "see whether this is an API server")
    return items


def _unlisted(resource: Resource, error: KubeError) -> Finding:
    if error.code == 404 and resource.name == METADATAS:
        remedy = "install Dynamo's operator, or apply packaging/kubernetes/mock-workers/records.yaml"
        return Finding("fail", "records", f"the kind {resource.full_name} is not installed", remedy)
    return _failed(f"list of {resource.full_name}", error)


def _failed(what: str, error: KubeError) -> Finding:
    return Finding("fail", what, str(error), _REMEDY.get(error.code, "see the log of the API server"))


def _ready_by(identity: Identity) -> Resource:
    """What tells which workers are ready."""
    return slices(identity.namespace) if identity.container is None else pods(identity.namespace)
