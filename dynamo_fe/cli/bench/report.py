"""What was measured, in JSON and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dynamo_fe.cli.bench.options import BenchOptions
from dynamo_fe.cli.bench.own_cost import OwnCost
from dynamo_fe.cli.bench.serving_cpu import ServingCpu
from dynamo_fe.cli.bench.spread import Spread
from dynamo_fe.cli.bench.tally import Tally


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. `cpu` is a text where it cannot be known: the reason."""

    url: str
    model: str
    options: BenchOptions
    tally: Tally
    own: OwnCost
    cpu: ServingCpu | str
    interrupted: bool


def as_json(run: Measured) -> dict[str, Any]:
    tally, secs = run.tally, max(run.own.secs, 1e-9)
    return {
        "url": run.url,
        "model": run.model,
        "stream": run.options.stream,
        "concurrency": run.options.concurrency,
        "rate": run.options.rate,
        "secs": round(run.own.secs, 3),
        "interrupted": run.interrupted,
        "requests": {
            "complete": tally.complete,
            "failed": tally.failed,
            "unfinished": tally.unfinished,
            "started_late": tally.late,
        },
        "errors": {kind: {"count": each.count, "example": each.example} for kind, each in tally.by_count()},
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "requests_per_sec": round(tally.complete / secs, 3),
        "completion_tokens_per_sec": round(tally.completion_tokens / secs, 3),
        "ttft_ms": tally.ttft.in_ms(),
        "itl_ms": tally.itl.in_ms(),
        "e2e_ms": tally.e2e.in_ms(),
        "cpu": _cpu(run),
        "cpu_unknown": run.cpu if isinstance(run.cpu, str) else None,
        "bench": run.own.as_json(),
    }


def _cpu(run: Measured) -> dict[str, Any] | None:
    """Of the serving processes. All of it is counted on requests, and all of it on tokens."""
    if isinstance(run.cpu, str):
        return None
    secs, tally = run.cpu.secs, run.tally
    return {
        "processes": run.cpu.processes,
        "secs": round(secs, 3),
        "us_per_request": round(secs * 1e6 / tally.complete, 1) if tally.complete else None,
        "us_per_token": round(secs * 1e6 / tally.completion_tokens, 1) if tally.completion_tokens else None,
    }


def as_text(run: Measured) -> str:
    return "\n".join(_lines(run, as_json(run)))


def _lines(run: Measured, found: dict[str, Any]) -> Iterator[str]:
    tally, requests = run.tally, found["requests"]
    yield f"{run.model} at {run.url}, {'streamed' if run.options.stream else 'whole answers'}, {_how(run.options)}"
    ended = " (interrupted)" if run.interrupted else ""
    counts = f"{requests['complete']} complete, {requests['failed']} failed, {requests['unfinished']} unfinished"
    yield f"requests    {counts} in {found['secs']:.1f} s{ended}"
    for kind, each in tally.by_count():
        yield f"            {each.count} x {kind}: {each.example}"
    if requests["started_late"]:
        yield f"            {requests['started_late']} began late: --concurrency is too low for --rate"
    if tally.complete:
        read, written = tally.prompt_tokens / tally.complete, tally.completion_tokens / tally.complete
        rates = f"{found['requests_per_sec']:.1f} requests/s, {found['completion_tokens_per_sec']:.0f} tokens/s"
        yield f"throughput  {rates} ({read:.0f} tokens in, {written:.0f} out on average)"
    yield from _times((("TTFT", tally.ttft), ("ITL", tally.itl), ("end to end", tally.e2e)))
    yield _cpu_line(found)
    if run.own.limits:
        late = f"its loop was up to {run.own.lag_secs * 1000:.0f} ms late, it took {run.own.cores:.0%} of a core"
        yield f"warning     bench itself did not keep up ({late}): the times are too long, the rates too low"


def _how(options: BenchOptions) -> str:
    if options.rate is None:
        return f"{options.concurrency} at a time"
    return f"{options.rate:g} a second, at most {options.concurrency} at a time"


def _times(rows: tuple[tuple[str, Spread], ...]) -> Iterator[str]:
    shown = [(name, spread.in_ms()) for name, spread in rows]
    names = next((list(found) for _, found in shown if found), None)
    if names is None:
        return
    yield f"{'ms':<10}" + "".join(f"{name:>10}" for name in names)
    for name, found in shown:
        if found:
            yield f"{name:<10}" + "".join(f"{value:>10.1f}" for value in found.values())


def _cpu_line(found: dict[str, Any]) -> str:
    cpu = found["cpu"]
    if cpu is None:
        return f"CPU         unknown: {found['cpu_unknown']}"
    words = [f"{cpu['secs']:.2f} s"]
    words += [f"{cpu[f'us_per_{what}']:.0f} us a {what}" for what in ("request", "token") if cpu[f"us_per_{what}"]]
    return f"CPU         {', '.join(words)}; serving processes: {cpu['processes']}"
