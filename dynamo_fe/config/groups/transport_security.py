"""TLS on the way to workers and to NATS."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.setting import optional_text, switch


@dataclass(frozen=True)
class TransportSecuritySettings:
    group: ClassVar[str] = "TLS towards workers"

    tcp_tls_cert_path: str | None = optional_text(
        "--tcp-tls-cert-path",
        env="DYN_TCP_TLS_CERT_PATH",
        status="refused",
        help="Certificate of the call-back port, PEM.",
    )
    tcp_tls_key_path: str | None = optional_text(
        "--tcp-tls-key-path", env="DYN_TCP_TLS_KEY_PATH", status="refused", help="Key of that certificate, PEM."
    )
    tcp_tls_ca_cert_path: str | None = optional_text(
        "--tcp-tls-ca-cert-path",
        env="DYN_TCP_TLS_CA_CERT_PATH",
        status="refused",
        help="CA that must have signed the workers' certificates, PEM.",
    )
    tcp_tls_client_cert_path: str | None = optional_text(
        "--tcp-tls-client-cert-path",
        env="DYN_TCP_TLS_CLIENT_CERT_PATH",
        status="refused",
        help="Certificate shown to workers, PEM.",
    )
    tcp_tls_client_key_path: str | None = optional_text(
        "--tcp-tls-client-key-path",
        env="DYN_TCP_TLS_CLIENT_KEY_PATH",
        status="refused",
        help="Key of that certificate, PEM.",
    )
    tcp_tls_client_ca_cert_path: str | None = optional_text(
        "--tcp-tls-client-ca-cert-path",
        env="DYN_TCP_TLS_CLIENT_CA_CERT_PATH",
        status="refused",
        help="CA that must have signed the certificates of workers that call back, PEM.",
    )
    tcp_tls_insecure: bool = switch(
        False, env="DYN_TCP_TLS_INSECURE", status="refused", help="Speak TLS to workers without verifying them."
    )
    nats_tls_ca_cert_path: str | None = optional_text(
        "--nats-tls-ca-cert-path",
        env="NATS_TLS_CA_CERT_PATH",
        status="pending",
        help="CA that must have signed the NATS server's certificate, PEM.",
    )
    nats_tls_client_cert_path: str | None = optional_text(
        "--nats-tls-client-cert-path",
        env="NATS_TLS_CLIENT_CERT_PATH",
        status="pending",
        help="Certificate shown to the NATS server, PEM.",
    )
    nats_tls_client_key_path: str | None = optional_text(
        "--nats-tls-client-key-path",
        env="NATS_TLS_CLIENT_KEY_PATH",
        status="pending",
        help="Key of that certificate, PEM.",
    )
    nats_tls_insecure: bool = switch(
        False, "--nats-tls-insecure", env="NATS_TLS_INSECURE", status="pending", help="Do not verify the NATS server."
    )
