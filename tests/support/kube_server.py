"""The fake API server as a process of its own, and the pods on it: each a store for what runs in that pod."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.certificates import Pair
from tests.support.fake_kube.objects import Object
from tests.support.processes import Process, free_port

_ROOT = Path(__file__).parent.parent.parent
# map of a record: what its keys begin with in etcd
_PREFIXES = {
    "endpoints": "v1/instances/",
    "model_cards": "v1/mdc/",
    "event_channels": "v1/event_channels/",
    "event_sources": "v1/event_sources/",
}
NAMESPACE = "serving"


class Right(NamedTuple):
    """A verb on a resource of a group, as Roles have it."""

    group: str
    resource: str
    verb: str


class KubeServer:
    """A fake API server on a free port. Its objects outlive `stop()` and `start()`; `tls` makes it speak TLS, with
    `authority` as what clients trust."""

    def __init__(self, directory: Path, *, tls: Pair | None = None, authority: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self._tls = tls
        self._authority = authority
        self._control_port = free_port() if tls else self.port
        self._log = directory / "requests.jsonl"
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it (again) and waits until it answers."""
        argv: list[str | Path] = [sys.executable, "-m", "tests.support.fake_kube", "--port", str(self.port)]
        argv += ["--log", self._log, "--state", self.directory / "state.json"]
        if self._tls is not None:
            argv += ["--tls-cert", self._tls.certificate, "--tls-key", self._tls.key]
            argv += ["--plain-port", str(self._control_port)]
        log = self.directory / "server.log"
        log.unlink(missing_ok=True)
        self._process = Process(argv, log=log, cwd=_ROOT)
        self._process.wait_for_output("fake kube on")

    def stop(self) -> None:
        """Nothing answers any more, until `start`."""
        if self._process is not None:
            self._process.stop()

    def kubeconfig(self, token: str | None = None) -> Path:
        """A configuration file for clients that come with that bearer token."""
        cluster: dict[str, Any] = {"server": self.url}
        if self._authority is not None:
            cluster["certificate-authority"] = str(self._authority)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path = self.directory / f"kubeconfig-{token or 'anybody'}.json"
        path.write_text(json.dumps(config))
        return path

    def forget(self, resource: str) -> None:
        """What it had of a kind is gone, in a history that is too old to be told; only while it is down."""
        path = self.directory / "state.json"
        state = json.loads(path.read_text())
        state["objects"][resource] = []
        state["applied"] = [each for each in state["applied"] if each[0] != resource]
        state["rv"] += 1
        path.write_text(json.dumps(state))

    def pod(
        self,
        name: str,
        *,
        service: str = "worker",
        ready: bool = True,
        token: str | None = None,
        container: str | None = None,
        **more: Any,
    ) -> KubePod:
        """A running pod in the EndpointSlice of its service; `uid`, `containers`, `labels` as the door has them. What
        runs in it is in container mode if `container` names its container."""
        asked = {"name": name, "namespace": NAMESPACE, "service": service, "ready": ready, **more}
        return KubePod(self, name, self.control("POST", "pod", asked)["uid"], token, container)

    def pod_ready(self, name: str, **asked: Any) -> None:
        """`ready` true or false, `terminating`, or `containers`."""
        self.control("POST", "ready", {"name": name, "namespace": NAMESPACE, **asked})

    def delete_pod(self, name: str, **asked: Any) -> None:
        """`gc_delay` seconds until its records go, `gc` false: they stay."""
        self.control("DELETE", "pod", {"name": name, "namespace": NAMESPACE, **asked})

    def put(self, resource: str, obj: Mapping[str, Any]) -> None:
        """Stores an object as it is."""
        self.control("PUT", "object", {"resource": resource, "object": obj})

    def delete(self, resource: str, name: str) -> None:
        self.control("DELETE", "object", {"resource": resource, "name": name, "namespace": NAMESPACE})

    def fault(self, action: Mapping[str, Any], *, times: int | None = None, **match: str) -> None:
        """What is done to requests of that `verb`, `resource`, `path`, `query` (a parameter's name), `token`
        (tests.support.fake_kube has the actions); `times` None: until `no_faults`."""
        self.control("POST", "fault", {"match": match, "action": action, "times": times})

    def no_faults(self) -> None:
        self.control("DELETE", "fault")

    def grant(self, token: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """The token may do what these rules of Roles allow and nothing else."""
        self.control("POST", "rights", {"token": token, "rules": rules})

    def accept_tokens(self, *tokens: str) -> None:
        """None: anybody is let in."""
        self.control("POST", "tokens", {"accept": list(tokens) or None})

    def watches(self, how: str, **which: str) -> int:
        """Does eof, reset, error410, stall or bookmark to the open watches (of a `resource`); how many are open."""
        count: int = self.control("POST", "watches", {"how": how, **which})["watches"]
        return count

    def bookmarks(self, every_secs: float) -> None:
        """For the watches that are opened from now on; 0: none."""
        self.control("POST", "bookmarks", {"every": every_secs})

    def compact(self, hard: bool = False) -> None:
        """Older resourceVersions get 410 from now on; `hard`: the newest as well."""
        self.control("POST", "compact", {"hard": hard})

    def install_crd(self, installed: bool) -> None:
        self.control("POST", "crd", {"installed": installed})

    def objects(self, resource: str) -> list[Object]:
        found: list[Object] = self.control("GET", "state")["objects"][resource]
        return found

    def record(self, name: str) -> Object | None:
        """The DynamoWorkerMetadata of that name."""
        found = (each for each in self.objects("dynamoworkermetadatas") if each["metadata"]["name"] == name)
        return next(found, None)

    def requests(self, **wanted: Any) -> list[Object]:
        """The requests so far with these values, as verb="patch", resource="pods"; control requests are none."""
        return [each for each in self._logged("request") if wanted.items() <= each.items()]

    def rights_used(self, token: str) -> set[Right]:
        """What who comes with that token had to be allowed to so far."""
        used = (each for each in self._logged("right") if each["token"] == token)
        return {Right(each["group"], each["resource"], each["verb"]) for each in used}

    def _logged(self, what: str) -> list[Object]:
        # The last line may be half written.
        lines = self._log.read_text().split("\n")[:-1] if self._log.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["ev"] == what]

    def keys(self) -> list[str]:
        """All entries of all records, in the spelling that etcd has."""
        records = [each.get("spec", {}).get("data") or {} for each in self.objects("dynamoworkermetadatas")]
        return [prefix + key for data in records for name, prefix in _PREFIXES.items() for key in data.get(name) or {}]

    def control(self, method: str, door: str, body: Mapping[str, Any] | None = None) -> Object:
        """One of the server's doors for tests. Raises HTTPError when it refuses."""
        url = f"http://127.0.0.1:{self._control_port}/_ctl/{door}"
        request = urllib.request.Request(url, data=json.dumps(body or {}).encode(), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            result: Object = json.load(answer)
            return result


class KubePod:
    """A pod on the fake API server, as the store of the process that runs in it."""

    backend = "kubernetes"

    def __init__(self, server: KubeServer, name: str, uid: str, token: str | None, container: str | None) -> None:
        self.server = server
        self.name = name
        self.uid = uid
        self._token = token
        self._container = container
        self.keys = server.keys

    @property
    def environment(self) -> dict[str, str]:
        identity = {"POD_NAME": self.name, "POD_UID": self.uid, "POD_NAMESPACE": NAMESPACE}
        planes = {"DYN_REQUEST_PLANE": "tcp", "DYN_EVENT_PLANE": "zmq", "DYN_DISCOVERY_BACKEND": self.backend}
        if self._container is not None:
            identity |= {"DYN_KUBE_DISCOVERY_MODE": "container", "CONTAINER_NAME": self._container}
        return planes | identity | {"KUBECONFIG": str(self.server.kubeconfig(self._token))}
