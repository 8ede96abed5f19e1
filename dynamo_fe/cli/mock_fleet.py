"""`--mock-workers N`: engine workers without a GPU, so that the frontend can be tried as it is."""

from collections.abc import Mapping
from dataclasses import replace

from dynamo_fe.cli.kv_shared import in_kv_mode
from dynamo_fe.cli.temporary import HeldFolder
from dynamo_fe.config import Settings
from dynamo_fe.config.errors import SettingFault
from dynamo_fe.config.origin import DEFAULT_ORIGIN

_DEFAULT_MODEL = "mock"
# small, so that short prompts show that they are found again
_BLOCK_TOKENS = 16


def check_fleet(settings: Settings) -> None:
    """Raises SettingFault when mock workers are asked for that the frontend could not find or speak to."""
    if not settings.mock_workers:
        return
    if settings.discovery_backend == "mem":
        raise _fault("mem discovery ends at the process; use file or etcd, or leave it out", "discovery_backend")
    if settings.discovery_backend == "kubernetes":
        raise _fault("on Kubernetes a worker is a pod of its own; see packaging/kubernetes", "discovery_backend")
    if settings.request_plane != "tcp":
        raise _fault("they take requests by tcp only; leave out --request-plane", "request_plane")
    if settings.tcp_tls_cert_path or settings.tcp_tls_ca_cert_path or settings.tcp_tls_insecure:
        names = "tcp_tls_cert_path", "tcp_tls_ca_cert_path", "tcp_tls_insecure"
        raise _fault("they speak no TLS; leave out the settings of TLS towards workers", *names)


def _fault(text: str, *names: str) -> SettingFault:
    return SettingFault(f"--mock-workers: {text}", "mock_workers", *names)


class MockFleet:
    """The mock workers of one frontend and the place where they register.

    Unless the user chose a discovery, that is a temporary folder of file discovery, removed by `close`, or by the next
    one's start where a kill came first.
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str]) -> None:
        """Raises ConfigError where there is no place for a temporary folder."""
        self._folder: HeldFolder | None = None
        self.settings = settings
        self.model = settings.model_name or _DEFAULT_MODEL
        if not settings.mock_workers:
            return
        if origins["discovery_backend"] == DEFAULT_ORIGIN and origins["file_kv"] == DEFAULT_ORIGIN:
            self._folder = HeldFolder("dynamo-fe-")
            self.settings = replace(settings, discovery_backend="file", file_kv=self._folder.path)
        elif origins["discovery_backend"] == DEFAULT_ORIGIN:
            self.settings = replace(settings, discovery_backend="file")

    def run_worker(self) -> int:
        """What each mock worker's process runs."""
        from dynamo_fe.workers.command import run

        return run(self._argv())

    def example(self, host: str, port: int) -> str:
        """A command that shows the frontend at work."""
        reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        body = f'{{"model":"{self.model}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'
        scheme = "http" if self.settings.tls_cert_path is None else "https"
        url = f"{scheme}://{reachable}:{port}/v1/chat/completions"
        return f"curl -N {url} -H 'content-type: application/json' -d '{body}'"

    def close(self) -> None:
        if self._folder is not None:
            self._folder.remove()

    def _argv(self) -> list[str]:
        settings = self.settings
        argv = ["--discovery-backend", settings.discovery_backend, "--model-name", self.model]
        if settings.file_kv is not None:
            argv += ["--file-kv", settings.file_kv]
        namespace = settings.namespace_prefix or settings.namespace
        if namespace:
            argv += ["--namespace", namespace]
        if not in_kv_mode(settings):
            return [*argv, "--no-kv-events"]
        argv += ["--event-plane", settings.event_plane or "zmq", "--nats-server", settings.nats_server]
        return [*argv, "--kv-block-size", str(settings.kv_cache_block_size or _BLOCK_TOKENS)]
