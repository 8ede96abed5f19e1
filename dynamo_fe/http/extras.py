"""`nvext` of answers and the annotations in front of streams, as `nvext.extra_fields` and `.annotations` ask for them.

Source: Dynamo 1.6.1. Names that nobody knows are ignored.
"""

from __future__ import annotations

import time
from typing import Any, Final

import orjson

from dynamo_fe.pipeline.delta import Delta
from dynamo_fe.pipeline.job import Job
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.protocol.openai import NvExt

_KNOWN: Final = frozenset(
    ("worker_id", "timing", "completion_token_ids", "prompt_token_ids", "engine_data", "stop_reason")
)
_ASKS_INSTANCE: Final = "query_instance_id:"


class Extras:
    """What one worker request's part of an answer has in `nvext`. `job` is set when the request is on its way."""

    def __init__(self, names: frozenset[str], prompt_token_ids: list[int], received: float) -> None:
        """`received`: when the HTTP request came, in seconds of `time.perf_counter`."""
        self._names = names
        self._prompt_token_ids = prompt_token_ids
        self._received = received
        self._received_ms = int((time.time() - time.perf_counter() + received) * 1000)
        self._prepared = time.perf_counter()
        self._whole: dict[str, Any] = {}
        self._token_ids: list[int] = []
        self._said = False
        self.job: Job | None = None

    def chunk(self, delta: Delta) -> bytes:
        """The member of one chunk, with the comma before it; empty when the chunk has none."""
        found = self._of(delta)
        if "completion_token_ids" in self._names:
            found["completion_token_ids"] = delta.token_ids
        return b',"nvext":' + orjson.dumps(found) if found else b""

    def add(self, delta: Delta) -> None:
        """Takes one piece of an answer that is given whole: the last word on a thing counts."""
        self._said = True
        self._whole |= self._of(delta)
        self._token_ids += delta.token_ids

    def whole(self) -> dict[str, Any]:
        """The object of an answer that is given whole."""
        if "completion_token_ids" in self._names and self._said:
            return self._whole | {"completion_token_ids": self._token_ids}
        return self._whole

    def _of(self, delta: Delta) -> dict[str, Any]:
        names = self._names
        found: dict[str, Any] = {}
        if "worker_id" in names and self.job is not None:
            found["worker_id"] = _worker_id(self.job)
            if self.job.only_named:
                found["token_ids"] = self._prompt_token_ids
        if "engine_data" in names and delta.engine_data is not None:
            found["engine_data"] = delta.engine_data
        if "stop_reason" in names and delta.stop_reason is not None:
            found["stop_reason"] = delta.stop_reason
        if delta.finish_reason is not None:
            if "timing" in names:
                found["timing"] = self._timing()
            if "prompt_token_ids" in names and self._prompt_token_ids:
                found["prompt_token_ids"] = self._prompt_token_ids
        return found

    def _timing(self) -> dict[str, Any]:
        """Milliseconds since the request came, but for `request_received_ms`, which is Unix time."""
        now = time.perf_counter()
        first = self.job.delivery.first_token_at if self.job is not None else 0.0
        found = {
            "request_received_ms": self._received_ms,
            "prefill_wait_time_ms": (self._prepared - self._received) * 1000,
            "total_time_ms": (now - self._received) * 1000,
        }
        if first:
            found["prefill_time_ms"] = (first - self._prepared) * 1000
            found["ttft_ms"] = (first - self._received) * 1000
        return found


def _worker_id(job: Job) -> dict[str, int]:
    """Without separate prefill both legs name the same worker; ranks are known where the router has chosen one."""
    instance, dp_rank = job.instance_id, job.dp_rank
    if dp_rank is None:
        return {"prefill_worker_id": instance, "decode_worker_id": instance}
    return {
        "prefill_worker_id": instance,
        "prefill_dp_rank": dp_rank,
        "decode_worker_id": instance,
        "decode_dp_rank": dp_rank,
    }


def extras_of(nvext: NvExt | None, prepared: list[Prepared], received: float) -> list[Extras] | None:
    """One for each worker request; None when the client asked for nothing that is known."""
    if nvext is None:
        return None
    names = _KNOWN & set(nvext.extra_fields or ())
    if any(name.startswith(_ASKS_INSTANCE) for name in nvext.annotations or ()):
        names |= {"worker_id"}
    if not names:
        return None
    return [Extras(names, part.body.token_ids, received) for part in prepared]


def nvext_of(extras: list[Extras] | None) -> dict[str, Any]:
    """The member of an answer that is given whole, under its name; nothing when it has none."""
    found: dict[str, Any] = {}
    for part in extras or ():
        found |= part.whole()
    return {"nvext": found} if found else {}


def annotation_frames(nvext: NvExt | None, prepared: list[Prepared], request_id: str, chat: bool) -> list[bytes]:
    """The events in front of a stream: each a comment line that holds a JSON text. Only chat formats its prompt."""
    if nvext is None or not nvext.annotations:
        return []
    wanted = nvext.annotations
    frames = [_event("request_id", request_id) for name in wanted if name == "request_id"]
    for part in prepared:
        if "token_ids" in wanted and nvext.token_data is None:
            frames.append(_event("token_ids", orjson.dumps(part.body.token_ids).decode()))
        if chat and "formatted_prompt" in wanted and part.formatted_prompt is not None:
            frames.append(_event("formatted_prompt", part.formatted_prompt))
    return frames


def _event(name: str, value: str) -> bytes:
    return b"event: %b\n: %b\n\n" % (name.encode(), orjson.dumps(value))
