"""What Kubernetes discovery makes of the objects that are there, by the same join that serving uses. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from dynamo_fe.cli.doctor.finding import Finding, Verdict
from dynamo_fe.discovery.kube_identity import Identity
from dynamo_fe.discovery.kube_join import USED, Join, Judged
from dynamo_fe.discovery.kube_objects import ObjectError, read
from dynamo_fe.discovery.kube_paths import ENABLED
from dynamo_fe.discovery.kube_readiness import PodReadiness, Readiness, SliceReadiness

_MAX_NAMES: Final = 10
_MAX_LEFT_OUT: Final = 50
_SERVICE_LABEL: Final = "kubernetes.io/service-name"
_WORKER_HEALTH: Final = """DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS='["generate"]'"""
# By state: how bad it is, and what to do. A pod that is not ready, or not registered yet, may just be starting.
_LEFT_OUT: Final[dict[str, tuple[Verdict, str]]] = {
    "no_endpoint": ("fail", f"see whether a Service with the label {ENABLED} selects its pod"),
    "not_ready": ("warn", f"see its readiness probe; {_WORKER_HEALTH} makes Dynamo's workers answer it"),
    "conflict": ("fail", "see which of the Services has old endpoints; it ends when they go"),
    "no_owner": ("fail", "whatever wrote it must make its pod the owner of the record"),
    "uid_mismatch": ("warn", "the pod was made anew and its worker has not registered since: see its log"),
    "invalid": ("fail", "it is of another version, or not a worker"),
}


class _Labels(msgspec.Struct, frozen=True):
    name: str
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct, frozen=True):
    metadata: _Labels


class _Hidden(msgspec.Struct, frozen=True):
    """An object that would count for a worker if it had the label."""

    text: str
    remedy: str


def make_join(identity: Identity, assume_ready: bool) -> Join:
    """As serving has it."""
    return Join(PodReadiness() if identity.container is not None else SliceReadiness(assume_ready))


def explain_view(
    join: Join, records: Sequence[msgspec.Raw], labelled: Sequence[msgspec.Raw], every: Sequence[msgspec.Raw]
) -> list[Finding]:
    """Findings about labels and about each worker. `labelled` are the slices (or pods) that carry the label, `every`
    those with and without."""
    findings = []
    for raw in labelled:
        try:
            join.settle(join.readiness.put(raw))
        except ObjectError as error:
            findings.append(Finding("warn", "labels", f"an object cannot be read: {error}", "it names no worker"))
    for raw in records:
        try:
            join.put_record(raw)
        except ObjectError as error:
            findings.append(Finding("warn", "records", f"a record cannot be read: {error}", "it is left out"))
    hidden = _hidden(every, join.readiness)
    judged = join.judged()
    findings.append(_labels(len(labelled), hidden, judged))
    findings += _counting([each for each in judged if each.verdict.state == USED])
    left_out = [each for each in judged if each.verdict.state != USED]
    findings += [_left_out(each, hidden.get(each.name)) for each in left_out[:_MAX_LEFT_OUT]]
    if len(left_out) > _MAX_LEFT_OUT:
        text = f"{len(left_out) - _MAX_LEFT_OUT} more workers are left out"
        findings.append(Finding("warn", "workers", text, "mend those above first"))
    return findings


def _labels(labelled: int, hidden: dict[str, _Hidden], judged: Sequence[Judged]) -> Finding:
    if labelled:
        return Finding("ok", "labels", f"{labelled} objects that tell of readiness carry {ENABLED}")
    remedy = "put it on the Service of the workers, which hands it on"
    verdict: Verdict = "fail" if any(each.name in hidden for each in judged) else "warn"
    return Finding(verdict, "labels", f"no object that tells of readiness carries {ENABLED}", remedy)


def _counting(judged: Sequence[Judged]) -> list[Finding]:
    """One line for all that count, and one for each of them that says something nobody can read."""
    if not judged:
        return [Finding("warn", "workers", "none counts", "start one, or mend what is said of those below")]
    names = ", ".join(each.name for each in judged[:_MAX_NAMES])
    more = f" and {len(judged) - _MAX_NAMES} more" if len(judged) > _MAX_NAMES else ""
    findings = [Finding("ok", "workers", f"{len(judged)} count: {names}{more}")]
    remedy = "the rest of its record counts; it may be of another version"
    return findings + [Finding("warn", "workers", each.remark, remedy) for each in judged if each.faults]


def _left_out(judged: Judged, hidden: _Hidden | None) -> Finding:
    verdict, remedy = _LEFT_OUT[judged.verdict.state]
    text = judged.remark
    if judged.verdict.state == "no_endpoint" and hidden is not None:
        text, remedy = f"{text}; {hidden.text}", hidden.remedy
    return Finding(verdict, "workers", text, remedy)


def _hidden(every: Iterable[msgspec.Raw], readiness: Readiness) -> dict[str, _Hidden]:
    """By record name, what names its pod without being asked for."""
    found: dict[str, _Hidden] = {}
    by_pods = isinstance(readiness, PodReadiness)
    for raw in every:
        try:
            meta = read(raw, _Labelled).metadata
            names = (PodReadiness() if by_pods else SliceReadiness()).put(raw)
        except ObjectError:
            # It could not be read with the label either.
            continue
        if meta.name not in readiness.names():
            hidden = _pod(meta.name) if by_pods else _slice(meta.name, (meta.labels or {}).get(_SERVICE_LABEL))
            found |= dict.fromkeys(names, hidden)
    return found


def _slice(name: str, service: str | None) -> _Hidden:
    labelled = f"service {service}" if service else f"endpointslice {name}"
    text = f"EndpointSlice {name} names it, but has no label {ENABLED}"
    return _Hidden(text, f"kubectl label {labelled} {ENABLED}")


def _pod(name: str) -> _Hidden:
    return _Hidden(f"pod {name} runs it, but has no label {ENABLED}", "put the label on the pods of its Deployment")
