"""TLS contexts from the files that the settings name. Whatever is wrong with a file is one line, at start."""

from __future__ import annotations

import ssl

from dynamo_fe.config.reading import read_file


class TlsFileError(ValueError):
    """A certificate, key or CA file that cannot be used, at `path`; the text names it."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


def server_context(certificate: str, key: str, client_authority: str | None) -> ssl.SSLContext:
    """For a listener; with `client_authority` only clients with a certificate by it are let in. Raises TlsFileError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, certificate, key)
    if client_authority is not None:
        _load_authority(context, client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    authority: str | None, certificate: str | None, key: str | None, *, insecure: bool
) -> ssl.SSLContext:
    """For connections; without `authority` the system's CAs count. Raises TlsFileError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority is not None:
        _load_authority(context, authority)
    else:
        context.load_default_certs()
    if certificate is not None and key is not None:
        _load_pair(context, certificate, key)
    return context


def reason_of(error: Exception) -> str:
    """What went wrong in a handshake, in words: OpenSSL's own without its place in the source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    if b"-----BEGIN CERTIFICATE-----" not in _read(certificate, "certificate"):
        raise TlsFileError(certificate, f"certificate {certificate} is not PEM")
    key_text = _read(key, "key")
    if b"PRIVATE KEY-----" not in key_text:
        pem = b"-----BEGIN " in key_text
        raise TlsFileError(key, f"key {key} " + ("holds no private key" if pem else "is not PEM"))
    if b"ENCRYPTED" in key_text:
        raise TlsFileError(key, f"key {key} is encrypted: give it without a passphrase")
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(key, f"key {key} does not belong to certificate {certificate}") from None
        raise TlsFileError(certificate, f"certificate {certificate} with key {key}: {reason_of(error)}") from None


def _load_authority(context: ssl.SSLContext, path: str) -> None:
    if b"-----BEGIN CERTIFICATE-----" not in _read(path, "CA certificate"):
        raise TlsFileError(path, f"CA certificate {path} is not PEM")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsFileError(path, f"CA certificate {path}: {reason_of(error)}") from None


def _read(path: str, what: str) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise TlsFileError(path, f"{what} {path}: {error.strerror}") from None
