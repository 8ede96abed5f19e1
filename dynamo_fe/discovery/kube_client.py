"""Requests to a Kubernetes API server: HTTP/1.1 by h11 over asyncio, one connection a request."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final
from urllib.parse import urlencode

import h11
import msgspec

from dynamo_fe.discovery.kube_access import AccessError, Credentials, KubeAccess

_PIECE_BYTES: Final = 1 << 16
# A page of a list, or what an object may weigh: far beyond what an API server sends.
_BODY_LIMIT_BYTES: Final = 64 << 20
_REASON_CHARS: Final = 300


class KubeError(Exception):
    """A request that failed. `code` is the HTTP status, 0 where no answer came."""

    def __init__(self, code: int, reason: str, message: str, retry_after_secs: float | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}" if code else message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_secs = retry_after_secs


class Answer:
    """What the server sends back, read piece by piece. Raises `KubeError` when it is cut or broken."""

    def __init__(self, connection: h11.Connection, reader: asyncio.StreamReader) -> None:
        self._connection = connection
        self._reader = reader

    async def head(self) -> h11.Response:
        """Status and headers; read before anything else."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event

    async def piece(self) -> bytes:
        """The next of the body as it comes; empty at its end."""
        event = await self._event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def body(self) -> bytes:
        """All that is left of it."""
        body = bytearray()
        while piece := await self.piece():
            body += piece
            if len(body) > _BODY_LIMIT_BYTES:
                raise KubeError(0, "TooLarge", f"the answer is larger than {_BODY_LIMIT_BYTES >> 20} MB")
        return bytes(body)

    async def _event(self) -> object:
        try:
            while (event := self._connection.next_event()) is h11.NEED_DATA:
                self._connection.receive_data(await self._reader.read(_PIECE_BYTES))
        except h11.RemoteProtocolError as error:
            raise KubeError(0, "Broken", f"the answer ended early or is not HTTP: {error}") from None
        except (OSError, ssl.SSLError) as error:
            raise KubeError(0, "Broken", f"the connection broke: {error or type(error).__name__}") from None
        return event


class KubeClient:
    """Belongs to one event loop. Every failure comes out as `KubeError`; nothing is retried here."""

    def __init__(self, access: KubeAccess, connect_secs: float = 5.0, answer_secs: float = 30.0) -> None:
        self.access = access
        self._connect_secs = connect_secs
        self._answer_secs = answer_secs
        self._credentials = Credentials(access)

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The body."""
        return await self._call("GET", path, query or {})

    async def post(self, path: str, body: bytes) -> bytes:
        """Creates an object; the body is JSON."""
        return await self._call("POST", path, {}, body, "application/json")

    async def apply(self, path: str, body: bytes, field_manager: str) -> bytes:
        """Server-side apply of a whole object; the body is JSON, which is YAML too."""
        query = {"force": "true", "fieldManager": field_manager}
        return await self._call("PATCH", path, query, body, "application/apply-patch+yaml")

    async def delete(self, path: str, body: bytes = b"") -> bytes:
        """Deletes an object; the body may hold DeleteOptions."""
        return await self._call("DELETE", path, {}, body, "application/json")

    @contextlib.asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Answer]:
        """A long answer to a GET; entered when its head is there."""
        async with self._exchange("GET", path, query, b"", "") as answer:
            yield answer

    async def _call(
        self, method: str, path: str, query: Mapping[str, str], body: bytes = b"", content_type: str = ""
    ) -> bytes:
        try:
            async with asyncio.timeout(self._answer_secs + self._connect_secs):
                async with self._exchange(method, path, query, body, content_type) as answer:
                    return await answer.body()
        except TimeoutError:
            raise KubeError(0, "Timeout", f"no complete answer within {self._answer_secs:g} s") from None

    @contextlib.asynccontextmanager
    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, content_type: str
    ) -> AsyncIterator[Answer]:
        """One request on a connection of its own. Raises `KubeError` also for a status that is not 2xx."""
        authorization = await self._authorization()
        reader, writer = await self._connect()
        try:
            connection = h11.Connection(h11.CLIENT)
            parts = (self._request(method, path, query, body, content_type, authorization), h11.Data(body))
            writer.write(b"".join(connection.send(part) or b"" for part in (*parts, h11.EndOfMessage())))
            answer = Answer(connection, reader)
            try:
                async with asyncio.timeout(self._answer_secs):
                    head = await answer.head()
                    if not 200 <= head.status_code < 300:
                        raise self._refusal(head, await answer.body())
            except TimeoutError:
                raise KubeError(0, "Timeout", f"no answer within {self._answer_secs:g} s") from None
            yield answer
        finally:
            writer.transport.abort()

    async def _authorization(self) -> str:
        try:
            return await self._credentials.authorization()
        except AccessError as error:
            raise KubeError(0, "Credentials", str(error)) from None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        access = self.access
        try:
            context = await self._credentials.tls()
            name = (access.server_name or access.host) if context is not None else None
            async with asyncio.timeout(self._connect_secs):
                return await asyncio.open_connection(access.host, access.port, ssl=context, server_hostname=name)
        except AccessError as error:
            raise KubeError(0, "Credentials", str(error)) from None
        except TimeoutError:
            raise KubeError(0, "Timeout", f"no connection within {self._connect_secs:g} s") from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise KubeError(0, "Unreachable", str(error) or type(error).__name__) from None

    def _request(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, content_type: str, authorization: str
    ) -> h11.Request:
        target = self.access.base_path + path + (f"?{urlencode(query)}" if query else "")
        headers = [
            ("host", self.access.address),
            ("user-agent", "dynamo-fe"),
            ("accept", "application/json"),
            ("connection", "close"),
        ]
        if authorization:
            headers.append(("authorization", authorization))
        if body or method in ("POST", "PATCH"):
            headers += [("content-length", str(len(body))), ("content-type", content_type)]
        try:
            return h11.Request(method=method, target=target, headers=headers)
        except h11.LocalProtocolError as error:
            # A token with a line break in it, for example.
            raise KubeError(0, "Request", str(error)) from None

    def _refusal(self, head: h11.Response, body: bytes) -> KubeError:
        if head.status_code == 401:
            self._credentials.refused()
        reason, message = _said(body)
        headers = dict(head.headers)
        return KubeError(
            head.status_code, reason or head.reason.decode("latin-1"), message, _seconds(headers.get(b"retry-after"))
        )


class _Status(msgspec.Struct):
    reason: str | None = None
    message: str | None = None


def _said(body: bytes) -> tuple[str, str]:
    """Reason and message of a Status; of anything else its beginning."""
    try:
        status = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        return "", body[:_REASON_CHARS].decode("utf-8", "replace").strip()
    return status.reason or "", status.message or ""


def _seconds(value: bytes | None) -> float | None:
    """Retry-After in seconds; dates are not honoured, API servers send none."""
    return float(value) if value is not None and value.isdigit() else None
