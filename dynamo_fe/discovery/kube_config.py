"""Finding the API server: a kubeconfig, else the service account of the pod, as Dynamo 1.6.1 looks for them."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dynamo_fe.config.reading import read_file
from dynamo_fe.discovery.kube_access import KubeAccess, Pem, Program

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_PORTS = {"http": 80, "https": 443}


def load_access(environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> KubeAccess:
    """`KUBECONFIG` (or ~/.kube/config), then the in-cluster configuration. Raises `ValueError` with both reasons."""
    try:
        return _from_kubeconfig(environment)
    except ValueError as error:
        kubeconfig = str(error)
    try:
        return _in_cluster(environment, service_account)
    except ValueError as error:
        raise ValueError(f"no Kubernetes API server is configured: {kubeconfig}; in-cluster: {error}") from None


def _in_cluster(environment: Mapping[str, str], service_account: Path) -> KubeAccess:
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "") or "443"
    if not host:
        raise ValueError("KUBERNETES_SERVICE_HOST is not set")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"KUBERNETES_SERVICE_PORT is {port!r}")
    token, ca = service_account / "token", service_account / "ca.crt"
    for path in (token, ca):
        if not path.is_file():
            raise ValueError(f"{path} does not exist")
    return KubeAccess(
        origin=str(service_account),
        host=host,
        port=int(port),
        use_tls=True,
        ca=Pem(path=str(ca)),
        token_path=str(token),
    )


def _from_kubeconfig(environment: Mapping[str, str]) -> KubeAccess:
    paths = [Path(part) for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    if not paths:
        home = environment.get("HOME", "")
        paths = [Path(home) / ".kube" / "config"] if home else []
    origin = os.pathsep.join(map(str, paths)) or "kubeconfig"
    found = [(path, _document(path)) for path in paths if path.is_file()]
    if not found:
        raise ValueError(f"{origin} does not exist")
    try:
        return _chosen(origin, found)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None


def _document(path: Path) -> dict[str, Any]:
    # Only a kubeconfig needs it; in a cluster there is none.
    import yaml

    try:
        document = yaml.safe_load(read_file(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} is not a kubeconfig")
    return document


def _chosen(origin: str, found: list[tuple[Path, dict[str, Any]]]) -> KubeAccess:
    """The current context; as with kubectl, the first file that says a thing counts."""
    current = next((document["current-context"] for _, document in found if document.get("current-context")), None)
    if not current:
        raise ValueError("it has no current-context")
    _, context = _named(found, "contexts", "context", current)
    cluster_folder, cluster = _named(found, "clusters", "cluster", context.get("cluster"))
    user_folder, user = _named(found, "users", "user", context.get("user")) if context.get("user") else (Path(), {})
    if cluster.get("proxy-url"):
        raise ValueError("proxy-url is not supported")
    url = urlsplit(str(cluster.get("server", "")))
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(f"server {cluster.get('server')!r} is not an http or https address")
    return KubeAccess(
        origin=origin,
        host=url.hostname,
        port=url.port or _PORTS[url.scheme],
        use_tls=url.scheme == "https",
        base_path=url.path.rstrip("/"),
        ca=_pem(cluster, "certificate-authority", cluster_folder),
        verify=cluster.get("insecure-skip-tls-verify") is not True,
        server_name=str(cluster.get("tls-server-name") or ""),
        client_cert=_pem(user, "client-certificate", user_folder),
        client_key=_pem(user, "client-key", user_folder),
        token=str(user.get("token") or ""),
        token_path=_path(user.get("tokenFile"), user_folder),
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        program=_program(user.get("exec"), user_folder),
    )


def _named(
    found: list[tuple[Path, dict[str, Any]]], plural: str, singular: str, name: object
) -> tuple[Path, dict[str, Any]]:
    """The entry of that name and the folder that its relative paths mean."""
    for path, document in found:
        entries = document.get(plural)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(singular), dict):
                return path.parent, entry[singular]
    raise ValueError(f"it has no {singular} {name!r}")


def _path(value: object, folder: Path) -> str:
    return str(folder / str(value)) if value else ""


def _pem(entry: dict[str, Any], field: str, folder: Path) -> Pem:
    data = entry.get(f"{field}-data")
    if not data:
        return Pem(path=_path(entry.get(field), folder))
    try:
        return Pem(text=base64.b64decode(str(data), validate=True).decode())
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{field}-data: {error}") from None


def _program(entry: object, folder: Path) -> Program | None:
    if not isinstance(entry, dict):
        return None
    command = str(entry.get("command") or "")
    if not command:
        raise ValueError("exec names no command")
    # A path with a slash is relative to the kubeconfig, a bare name is looked up.
    arguments, given = entry.get("args") or [], entry.get("env") or []
    if not isinstance(arguments, list) or not isinstance(given, list):
        raise ValueError("args and env of exec must be lists")
    argv = (str(folder / command) if "/" in command else command, *map(str, arguments))
    if not all(isinstance(one, dict) and {"name", "value"} <= one.keys() for one in given):
        raise ValueError("env of exec must hold names and values")
    variables = tuple((str(one["name"]), str(one["value"])) for one in given)
    return Program(str(entry.get("apiVersion") or "client.authentication.k8s.io/v1"), argv, variables)
