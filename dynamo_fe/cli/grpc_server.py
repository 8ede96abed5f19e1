"""KServe's gRPC server in a serving process: made from the parts of that process, started and stopped with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dynamo_fe.appliance.limits import keep_freed_memory
from dynamo_fe.cli.grpc_address import GrpcAddress
from dynamo_fe.config.settings import Settings
from dynamo_fe.grpc.server import KserveServer, Tls
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.http.services import Services
from dynamo_fe.http.validation import check_completion

# a dozen of the largest messages there may be
_KEPT_BYTES: Final = 64 << 20


def kserve_services(services: Services) -> KserveServices:
    """The parts of this process as the methods of KServe know them."""
    return KserveServices(
        settings=services.settings,
        registry=services.registry,
        availability=services.availability,
        preparer=services.preparer,
        dispatcher=services.dispatcher,
        metrics=services.metrics,
        lifetimes=services.lifetimes,
        check=check_completion,
    )


def bound_server(services: Services, address: GrpcAddress) -> KserveServer:
    """A server that is ready to start. Raises OSError when the address cannot be had."""
    keep_freed_memory(_KEPT_BYTES)
    server = KserveServer(kserve_services(services))
    server.bind(address.host, address.port, _tls(services.settings))
    return server


def _tls(settings: Settings) -> Tls | None:
    """The files of the HTTP server; the original's gRPC mode ignores them."""
    if settings.kserve_strict or settings.tls_cert_path is None or settings.tls_key_path is None:
        return None
    authority = settings.tls_client_ca_cert_path
    return Tls(
        Path(settings.tls_cert_path).read_bytes(),
        Path(settings.tls_key_path).read_bytes(),
        Path(authority).read_bytes() if authority else None,
    )
