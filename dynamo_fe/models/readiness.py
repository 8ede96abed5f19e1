"""Whether the stages of a model's deployment are all there, in the words of `/v1/models/{id}/ready`. No I/O.

Source of the shape: Dynamo 1.6.1, answers of its frontend to deployments with and without their prefill workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Needs = Sequence[Sequence[str]]  # outer list = or, inner = and; empty = nobody

NOBODY_READY = "no namespace has all required worker types live"


class Stage(NamedTuple):
    """The workers of one type in one namespace: how many are live, and whom they need beside them."""

    workers: int
    needs: Needs


def missing_types(stages: Mapping[str, Stage]) -> list[str]:
    """The worker types that are registered without a live worker, or needed and not there; sorted.

    Where none of several alternatives holds, all types of all of them that are not there are named.
    """
    present = {name for name, stage in stages.items() if stage.workers}
    missing = set(stages) - present
    for stage in stages.values():
        if stage.needs and not any(present.issuperset(alternative) for alternative in stage.needs):
            missing |= {name for alternative in stage.needs for name in alternative} - present
    return sorted(missing)


def namespace_readiness(stages: Mapping[str, Stage], obstacle: str | None) -> dict[str, Any]:
    """One namespace's part. `obstacle` is why it would not be served although all types are live, None if it would."""
    missing = missing_types(stages)
    reason = f"missing worker types: {', '.join(missing)}" if missing else obstacle
    return {
        "ready": reason is None,
        **({} if reason is None else {"reason": reason}),
        "worker_types": {
            name: {"workers": stages[name].workers, "needs": [list(every) for every in stages[name].needs]}
            for name in sorted(stages)
        },
        "present": sorted(name for name, stage in stages.items() if stage.workers),
        "missing_worker_types": missing,
    }


def model_readiness(name: str, namespaces: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The whole answer; one namespace that is ready is enough."""
    ready = any(part["ready"] for part in namespaces.values())
    return {
        "model": name,
        "ready": ready,
        **({} if ready else {"reason": NOBODY_READY}),
        "namespaces": dict(namespaces),
    }


def gather(workers: Iterable[tuple[str, Needs, bool]]) -> dict[str, Stage]:
    """Stages from single workers: type, needs, live or not. The first worker of a type speaks for its needs."""
    stages: dict[str, Stage] = {}
    for name, needs, live in workers:
        before = stages.get(name, Stage(0, needs))
        stages[name] = Stage(before.workers + live, before.needs)
    return stages
