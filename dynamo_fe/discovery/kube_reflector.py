"""One list and its watch, kept up for ever: the asyncio shell around `kube_resume`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Final

from dynamo_fe.discovery.kube_client import Answer, KubeClient, KubeError
from dynamo_fe.discovery.kube_lines import Lines, LineTooLong
from dynamo_fe.discovery.kube_list import list_all
from dynamo_fe.discovery.kube_objects import Named, ObjectError, Status, WatchEvent, name_of, read
from dynamo_fe.discovery.kube_paths import METADATAS, Resource
from dynamo_fe.discovery.kube_resume import Fault, Resume
from dynamo_fe.discovery.kube_view import STRIDE, Sink

log = logging.getLogger("dynamo_fe.discovery")

_WATCH_SECS: Final = 290
# Different faults logged in one outage.
_MAX_SAID: Final = 8
_PUTS: Final = ("ADDED", "MODIFIED")


class _Ended(Exception):
    """A watch that ended otherwise than in order."""

    def __init__(self, fault: Fault, why: str) -> None:
        super().__init__(fault.text)
        self.fault = fault
        self.why = why


class Reflector:
    """Keeps `sink` equal to a resource of the API server. What it holds stays whatever the server does."""

    def __init__(
        self, client: KubeClient, resource: Resource, sink: Sink, silence_secs: float, resume: Resume | None = None
    ) -> None:
        self.resource = resource
        self.sink = sink
        self.fault = "not listed yet"
        self.since = time.monotonic()
        self.heard_at: float | None = None
        self.restarts: Counter[str] = Counter()
        self.list_errors: Counter[str] = Counter()
        self._client = client
        self._silence_secs = silence_secs
        self._resume = resume or Resume()
        self._said: set[str] = set()

    async def run(self) -> None:
        """Never ends and never raises because of the server."""
        while True:
            step = self._resume.next()
            await asyncio.sleep(step.wait_secs)
            try:
                if step.version:
                    await self._watch_once(step.version)
                else:
                    await self._list_once()
            except Exception as error:
                # Without it the view would grow old unnoticed.
                log.exception("%s could not be followed", self.resource.name)
                self._failed("list or watch", Fault(0, f"{type(error).__name__}: {error}", broken=True))

    async def _list_once(self) -> None:
        try:
            items, version = await list_all(self._client, self.resource)
        except KubeError as error:
            self.list_errors[str(error.code or error.reason.lower())] += 1
            self._failed("list", _fault(error))
        except ObjectError as error:
            self.list_errors["unreadable"] += 1
            self._failed("list", Fault(0, f"the list cannot be read: {error}"))
        else:
            await self.sink.replace(items)
            self._resume.listed(version)
            self._well()

    async def _watch_once(self, version: str) -> None:
        query = {
            "watch": "true",
            "timeoutSeconds": str(_WATCH_SECS),
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
        }
        try:
            async with self._client.stream(self.resource.path, query | self.resource.selectors) as answer:
                self._resume.opened(time.monotonic())
                self._well()
                await self._follow(answer)
        except KubeError as error:
            self.restarts[str(error.code or error.reason.lower())] += 1
            self._failed("watch", _fault(error))
        except _Ended as ended:
            self.restarts[ended.why] += 1
            self._failed("watch", ended.fault)
        else:
            self.restarts["ended"] += 1
            self._resume.ended(time.monotonic())

    async def _follow(self, answer: Answer) -> None:
        """Takes the events of an open watch in, to its end in order. Raises `KubeError`, `_Ended`."""
        lines = Lines()
        while True:
            try:
                async with asyncio.timeout(self._silence_secs):
                    piece = await answer.piece()
            except TimeoutError:
                silent = Fault(0, f"the watch was silent for {self._silence_secs:g} s")
                raise _Ended(silent, "silent") from None
            if not piece:
                if lines.pending:
                    raise _Ended(Fault(0, "the watch ended within a line", broken=True), "unreadable")
                return
            try:
                for number, line in enumerate(lines.take(piece), 1):
                    self._take(line)
                    if number % STRIDE == 0:
                        await asyncio.sleep(0)
            except (LineTooLong, ObjectError) as error:
                raise _Ended(Fault(0, f"a line cannot be read: {error}", broken=True), "unreadable") from None
            self._well()

    def _take(self, line: bytes) -> None:
        event = read(line, WatchEvent)
        if event.type == "ERROR":
            status = read(event.object, Status)
            text = f"{status.code} {status.reason}: {status.message}"
            raise _Ended(Fault(status.code, text), str(status.code or "error"))
        if event.type in _PUTS:
            name = name_of(event.object)
            try:
                self.sink.put(event.object)
            except ObjectError as error:
                log.warning("%s %s stays as it was known: %s", self.resource.name, name, error)
        elif event.type == "DELETED":
            self.sink.remove(name_of(event.object))
        elif event.type != "BOOKMARK":
            raise ObjectError(f"an event of unknown type {event.type!r}")
        version = read(event.object, Named).metadata.resource_version
        if version:
            self._resume.seen(version)

    def _well(self) -> None:
        self.heard_at = time.monotonic()
        if self.fault:
            log.info("%s in namespace %s: followed", self.resource.name, self.resource.namespace)
            self.fault, self.since = "", self.heard_at
            self._said.clear()

    def _failed(self, verb: str, fault: Fault) -> None:
        now = time.monotonic()
        self._resume.failed(fault, now)
        text = self._spoken(verb, fault)
        if text not in self._said and len(self._said) < _MAX_SAID:
            self._said.add(text)
            log.warning("%s", text)
        if not self.fault:
            self.since = now
        self.fault = text

    def _spoken(self, verb: str, fault: Fault) -> str:
        """What failed and what to do about it."""
        resource = self.resource
        text = f"{verb} of {resource.full_name} in namespace {resource.namespace}: {fault.text}"
        if fault.code == 403:
            return f"{text} (the Role lacks the verb {verb} on {resource.name})"
        if fault.code == 404 and resource.name == METADATAS:
            return f"{text} (the CRD {resource.full_name} is not installed)"
        return text


def _fault(error: KubeError) -> Fault:
    return Fault(error.code, str(error), error.retry_after_secs)
