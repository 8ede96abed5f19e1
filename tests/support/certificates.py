"""A certificate authority of one test, and certificates by it, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
PASSPHRASE = "secret"


class Pair(NamedTuple):
    """Paths of PEM files."""

    certificate: Path
    key: Path


class Authority:
    """`certificate` is what its clients trust."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.certificate = directory / f"{name}.crt"
        self._name = name
        files = ["-keyout", f"{name}.key", "-out", self.certificate.name]
        self._openssl("req", "-x509", *_KEY, "-nodes", *files, "-days", "2", "-subj", f"/CN=test-{name}")

    def issue(
        self, name: str, *, subject: str = "IP:127.0.0.1", days: int = 2, encrypted: bool = False, server: bool = True
    ) -> Pair:
        """A certificate for `subject`; already expired with `days` -1, for a client only without `server`."""
        pair = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        extensions = self.directory / f"{name}.ext"
        usage = "serverAuth,clientAuth" if server else "clientAuth"
        extensions.write_text(f"subjectAltName={subject}\nextendedKeyUsage={usage}\n")
        secrecy = ["-passout", f"pass:{PASSPHRASE}"] if encrypted else ["-nodes"]
        files = ["-keyout", pair.key.name, "-out", f"{name}.csr"]
        self._openssl("req", *_KEY, *secrecy, *files, "-subj", f"/CN={name}")
        signing = ["-CA", self.certificate.name, "-CAkey", f"{self._name}.key", "-CAcreateserial"]
        signing += ["-days", str(days), "-extfile", extensions.name]
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-out", pair.certificate.name, *signing)
        return pair

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)
