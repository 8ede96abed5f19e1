"""TLS on the way to workers, and the NATS server that requests may travel by."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.setting import optional_text, real, switch, text


@dataclass(frozen=True)
class TransportSecuritySettings:
    group: ClassVar[str] = "TLS towards workers"

    tcp_tls_cert_path: str | None = optional_text(
        "--tcp-tls-cert-path",
        env="DYN_TCP_TLS_CERT_PATH",
        help="Certificate of the call-back port, PEM.",
    )
    tcp_tls_key_path: str | None = optional_text(
        "--tcp-tls-key-path", env="DYN_TCP_TLS_KEY_PATH", help="Key of that certificate, PEM."
    )
    tcp_tls_ca_cert_path: str | None = optional_text(
        "--tcp-tls-ca-cert-path",
        env="DYN_TCP_TLS_CA_CERT_PATH",
        help="CA that must have signed the workers' certificates, PEM.",
    )
    tcp_tls_client_cert_path: str | None = optional_text(
        "--tcp-tls-client-cert-path",
        env="DYN_TCP_TLS_CLIENT_CERT_PATH",
        help="Certificate shown to workers, PEM.",
    )
    tcp_tls_client_key_path: str | None = optional_text(
        "--tcp-tls-client-key-path",
        env="DYN_TCP_TLS_CLIENT_KEY_PATH",
        help="Key of that certificate, PEM.",
    )
    tcp_tls_client_ca_cert_path: str | None = optional_text(
        "--tcp-tls-client-ca-cert-path",
        env="DYN_TCP_TLS_CLIENT_CA_CERT_PATH",
        help="CA that must have signed the certificates of workers that call back, PEM.",
    )
    tcp_tls_insecure: bool = switch(
        False, env="DYN_TCP_TLS_INSECURE", help="Speak TLS to workers without verifying them."
    )
    tcp_tls_server_name: str | None = optional_text(
        env="DYN_TCP_TLS_SERVER_NAME", help="Name that workers' certificates must bear, instead of their address."
    )
    tcp_tls_handshake_timeout_secs: float = real(
        3.0, env="DYN_TCP_TLS_HANDSHAKE_TIMEOUT_SECS", low=0.001, help="For the TLS handshake with a worker."
    )


@dataclass(frozen=True)
class NatsSettings:
    group: ClassVar[str] = "NATS"

    nats_server: str = text(
        "nats://localhost:4222", env="NATS_SERVER", help="URL of the NATS server; several with commas between them."
    )
    nats_request_timeout_secs: float = real(
        10.0, env="DYN_NATS_REQUEST_TIMEOUT_SECS", help="Until a worker acknowledges a request sent by NATS."
    )
    nats_auth_username: str | None = optional_text(env="NATS_AUTH_USERNAME", help="User of NATS.")
    nats_auth_password: str | None = optional_text(env="NATS_AUTH_PASSWORD", secret=True, help="Password of NATS.")
    nats_auth_token: str | None = optional_text(env="NATS_AUTH_TOKEN", secret=True, help="Token of NATS.")
    nats_auth_nkey: str | None = optional_text(env="NATS_AUTH_NKEY", secret=True, help="Seed of an NKey of NATS.")
    nats_auth_credentials_file: str | None = optional_text(
        env="NATS_AUTH_CREDENTIALS_FILE", help="Credentials file (JWT and NKey) of NATS."
    )
    nats_tls_ca_cert_path: str | None = optional_text(
        "--nats-tls-ca-cert-path",
        env="NATS_TLS_CA_CERT_PATH",
        help="CA that must have signed the NATS server's certificate, PEM.",
    )
    nats_tls_client_cert_path: str | None = optional_text(
        "--nats-tls-client-cert-path",
        env="NATS_TLS_CLIENT_CERT_PATH",
        help="Certificate shown to the NATS server, PEM.",
    )
    nats_tls_client_key_path: str | None = optional_text(
        "--nats-tls-client-key-path",
        env="NATS_TLS_CLIENT_KEY_PATH",
        help="Key of that certificate, PEM.",
    )
    nats_tls_insecure: bool = switch(
        False, "--nats-tls-insecure", env="NATS_TLS_INSECURE", help="Do not verify the NATS server."
    )
