"""An etcd that takes only clients with a certificate, and the certificates for it."""

from __future__ import annotations

import shutil
import ssl
import urllib.request
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.processes import Process, ProcessFailed, free_port


class TlsEtcd:
    """A real etcd with TLS in both directions. The `*_pem` are PEM texts for its clients."""

    def __init__(self, directory: Path, ask_for_certificate: bool = True) -> None:
        self._directory = directory
        self._ask_for_certificate = ask_for_certificate
        self._port = free_port()
        self._process: Process | None = None
        directory.mkdir(parents=True)
        authority = Authority(directory)
        authority.issue("server")
        authority.issue("client", server=False)
        self.ca_pem = (directory / "ca.crt").read_text()
        self.client_cert_pem = (directory / "client.crt").read_text()
        self.client_key_pem = (directory / "client.key").read_text()

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = shutil.which("etcd")
        if program is None:
            raise ProcessFailed("etcd is not installed: packaging/prepare.sh tools")
        files = self._directory
        argv: list[str | Path] = [program, "--data-dir", files / "data", "--listen-client-urls", self.endpoint]
        argv += ["--advertise-client-urls", self.endpoint, "--listen-peer-urls", f"http://127.0.0.1:{free_port()}"]
        argv += ["--cert-file", files / "server.crt", "--key-file", files / "server.key"]
        if self._ask_for_certificate:
            argv += ["--client-cert-auth", "--trusted-ca-file", files / "ca.crt"]
        self._process = Process(argv, log=files / "etcd.log")
        self._process.wait_until(self._healthy, "healthy etcd")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _healthy(self) -> bool:
        context = ssl.create_default_context(cadata=self.ca_pem)
        context.load_cert_chain(self._directory / "client.crt", self._directory / "client.key")
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=1, context=context) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
