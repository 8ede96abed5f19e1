"""Where an API server is and how one is let in, and its connections: TLS and the authorization of each request.

Files are read again whenever a connection is made, so that a rotated token, CA or client certificate is used at once.
"""

from __future__ import annotations

import base64
import os
import ssl
import time
from collections.abc import Mapping
from datetime import datetime

import msgspec

from dynamo_fe.ops.child_process import output_of

# How long a credential program may take, and how long before the end of its credential it is asked again.
_PROGRAM_SECS = 30.0
_EARLY_SECS = 10.0


class AccessError(Exception):
    """A credential cannot be had or used now; the text says why."""


class Pem(msgspec.Struct, frozen=True):
    """Certificates or a key: the text itself, or the file that holds it. Both empty: not given."""

    text: str = ""
    path: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.path)

    def read(self) -> str:
        """The text as it is now. Raises `AccessError`."""
        if self.text or not self.path:
            return self.text
        return _read(self.path)


class Program(msgspec.Struct, frozen=True):
    """A program that prints an ExecCredential (kubeconfig's `exec`)."""

    api_version: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


class KubeAccess(msgspec.Struct, frozen=True, kw_only=True):
    """One API server and one user of it. `origin` says where this was found, `base_path` stands before every path."""

    origin: str
    host: str
    port: int
    use_tls: bool
    base_path: str = ""
    ca: Pem = Pem()
    verify: bool = True
    server_name: str = ""
    client_cert: Pem = Pem()
    client_key: Pem = Pem()
    token: str = ""
    token_path: str = ""
    username: str = ""
    password: str = ""
    program: Program | None = None

    @property
    def address(self) -> str:
        """HOST:PORT, as an operator would write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Issued(msgspec.Struct, frozen=True):
    """What a credential program gave; `until` is Unix time, None without an end."""

    token: str
    client_cert: str
    client_key: str
    until: float | None


class Credentials:
    """What opens the door at this moment."""

    def __init__(self, access: KubeAccess) -> None:
        self._access = access
        self._issued: _Issued | None = None
        self._context: ssl.SSLContext | None = None
        self._context_of: tuple[str, str, str] | None = None

    async def authorization(self) -> str:
        """The `Authorization` header, empty for none. Raises `AccessError`."""
        access = self._access
        issued = await self._issue()
        if issued is not None and issued.token:
            return f"Bearer {issued.token}"
        token = _read(access.token_path).strip() if access.token_path else access.token
        if token:
            return f"Bearer {token}"
        if access.username:
            return "Basic " + base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
        return ""

    async def tls(self) -> ssl.SSLContext | None:
        """For a new connection; None for plain HTTP. Raises `AccessError`."""
        access = self._access
        if not access.use_tls:
            return None
        issued = await self._issue()
        cert, key = access.client_cert.read(), access.client_key.read()
        if issued is not None and issued.client_cert:
            cert, key = issued.client_cert, issued.client_key
        material = (access.ca.read(), cert, key)
        if self._context is None or material != self._context_of:
            self._context, self._context_of = _context(access.verify, *material), material
        return self._context

    def refused(self) -> None:
        """The server took the credential for nobody's: a program is asked for another one."""
        self._issued = None

    async def _issue(self) -> _Issued | None:
        program = self._access.program
        if program is None:
            return None
        issued = self._issued
        if issued is None or (issued.until is not None and issued.until - _EARLY_SECS < time.time()):
            self._issued = issued = await _ask(program)
        return issued


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"{path}: {error}") from None


def _context(verify: bool, ca: str, cert: str, key: str) -> ssl.SSLContext:
    try:
        # Without a CA of its own, the system's are trusted.
        context = ssl.create_default_context(cadata=ca or None)
        if cert:
            _load_client_certificate(context, cert, key)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise AccessError(f"certificates cannot be used: {error}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_client_certificate(context: ssl.SSLContext, cert: str, key: str) -> None:
    """The `ssl` module takes files only: one in memory, which leaves no key on a disk."""
    fd = os.memfd_create("client-certificate")
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(f"{cert}\n{key}\n")
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{fd}")


async def _ask(program: Program) -> _Issued:
    name = program.argv[0]
    info = {"apiVersion": program.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    environment: Mapping[str, str] = os.environ | {"KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}
    try:
        code, output = await output_of(program.argv, {**environment, **dict(program.environment)}, _PROGRAM_SECS)
    except TimeoutError:
        raise AccessError(f"{name} gave no credential within {_PROGRAM_SECS:g} s") from None
    except OSError as error:
        raise AccessError(f"{name}: {error}") from None
    if code:
        raise AccessError(f"{name} ended with {code}")
    return _issued(name, output)


class _ExecStatus(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct):
    status: _ExecStatus


def _issued(name: str, output: bytes) -> _Issued:
    try:
        status = msgspec.json.decode(output, type=_ExecCredential).status
    except msgspec.DecodeError as error:
        raise AccessError(f"{name} printed no ExecCredential: {error}") from None
    until = None if status.expiration_timestamp is None else status.expiration_timestamp.timestamp()
    return _Issued(status.token, status.client_certificate_data, status.client_key_data, until)
