"""etcd's JSON gateway: what a test does to the store behind the back of the client under test."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

from tests.support.stores import EtcdServer


class EtcdGateway:
    """Blocking calls; each answers with etcd's JSON."""

    def __init__(self, server: EtcdServer) -> None:
        self._server = server
        self.token = ""

    def put(self, key: str, value: bytes) -> int:
        """Writes; returns the revision."""
        answer = self.call("kv/put", key=_b64(key.encode()), value=_b64(value))
        return int(answer["header"]["revision"])

    def delete(self, key: str) -> None:
        self.call("kv/deleterange", key=_b64(key.encode()))

    def compact(self, revision: int) -> None:
        self.call("kv/compaction", revision=revision, physical=True)

    def lease_of(self, key: str) -> int:
        """The lease that a key hangs on."""
        (entry,) = self.call("kv/range", key=_b64(key.encode()))["kvs"]
        return int(entry.get("lease", 0))

    def enable_users(self, username: str, password: str, root_password: str) -> None:
        """A root, and a user who may read and write below v1/."""
        for name, secret in (("root", root_password), (username, password)):
            self.call("auth/user/add", name=name, password=secret)
        self.call("auth/role/add", name="root")
        self.call("auth/role/add", name="frontend")
        everything = {"permType": 2, "key": _b64(b"v1/"), "range_end": _b64(b"v10")}
        self.call("auth/role/grant", name="frontend", perm=everything)
        self.call("auth/user/grant", user="root", role="root")
        self.call("auth/user/grant", user=username, role="frontend")
        self.call("auth/enable")
        self.login("root", root_password)

    def login(self, username: str, password: str) -> None:
        """Further calls are made as that user."""
        self.token = ""
        self.token = self.call("auth/authenticate", name=username, password=password)["token"]

    def call(self, path: str, **body: Any) -> Any:
        headers = {"Authorization": self.token} if self.token else {}
        request = urllib.request.Request(f"{self._server.endpoint}/v3/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
