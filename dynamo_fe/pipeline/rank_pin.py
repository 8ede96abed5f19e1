"""The rank of a worker that a request names: what it must be, whichever mode routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dynamo_fe.models.worker_sets import WorkerSet
from dynamo_fe.pipeline.refusal import Refusal

_FIELD = "nvext.dp_rank"


class RankHeader(NamedTuple):
    """A header that is there to name a rank, and the rank that it names: None where it cannot be read."""

    name: str
    value: str
    dp_rank: int | None


def pinned(routing: Mapping[str, Any]) -> int | None:
    """The worker that a request names: of two ids the one for decode counts, as in the original."""
    number: int | None = routing.get("decode_worker_id", routing.get("backend_instance_id"))
    return number


def check_rank(
    sets: Iterable[WorkerSet], routing: Mapping[str, Any], header: RankHeader | None, must_name: bool
) -> None:
    """Raises Refusal for a rank without its worker, for one that the worker lacks, and with `must_name` where a worker
    of several ranks is named without one. A worker that nobody knows is not judged here.
    """
    worker_id, dp_rank = pinned(routing), routing.get("dp_rank")
    if worker_id is None:
        if dp_rank is not None:
            # the original's text names nothing
            detail = f"{_source(header, dp_rank)[0]} names a rank without its worker"
            raise Refusal.invalid_argument(param=_source(header, dp_rank)[1], detail=detail)
        return
    card = next((entry.cards[worker_id] for entry in sets if worker_id in entry.cards), None)
    if card is None:
        return
    start, size = card.runtime_config.data_parallel_start_rank, max(card.runtime_config.data_parallel_size, 1)
    if dp_rank is None and size > 1 and must_name:
        wanted = f"Worker {worker_id} has {size} ranks: a request that names it requires an explicit dp_rank"
        if header is None:
            raise Refusal.invalid_argument(wanted, param=_FIELD)
        raise Refusal.invalid_argument(f"{_said(header)} is no rank. {wanted}", param=header.name)
    if dp_rank is not None and not start <= dp_rank < start + size:
        source, param = _source(header, dp_rank)
        ranks = f"{start} to {start + size - 1}" if size > 1 else f"only {start}"
        raise Refusal.invalid_argument(f"{source} is not one of worker {worker_id}: it has {ranks}", param=param)


def _source(header: RankHeader | None, dp_rank: int) -> tuple[str, str]:
    """Where the rank stands, and the parameter to blame: a header that can be read beats the body."""
    if header is None or header.dp_rank is None:
        return f"dp_rank {dp_rank}", _FIELD
    return _said(header), header.name


def _said(header: RankHeader) -> str:
    return f"{header.name} {header.value!r}"
