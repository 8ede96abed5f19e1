"""Looks into every TLS file before anything is started, so that a wrong one is a line and not a dead process."""

from dynamo_fe.cli.places import uses_nats
from dynamo_fe.config import TABLE, Settings
from dynamo_fe.config.errors import SettingFault
from dynamo_fe.planes.nats_settings import nats_access
from dynamo_fe.planes.request.factory import plane_options
from dynamo_fe.planes.tls import TlsFileError, server_context


def check_certificates(settings: Settings) -> None:
    """Raises SettingFault for a file that cannot be used. Granian would abort on some, as on an encrypted key."""
    try:
        if settings.tls_cert_path is not None and settings.tls_key_path is not None:
            server_context(settings.tls_cert_path, settings.tls_key_path, settings.tls_client_ca_cert_path)
        plane_options(settings)
        if uses_nats(settings):
            nats_access(settings)
    except TlsFileError as error:
        names = (row.name for row in TABLE if "tls" in row.name and getattr(settings, row.name) == error.path)
        raise SettingFault(str(error), *names) from None
