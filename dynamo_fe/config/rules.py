"""What single settings cannot say of themselves: combinations, and features that are not there yet."""

from collections.abc import Mapping
from dataclasses import replace

from dynamo_fe.config.errors import SettingFault
from dynamo_fe.config.origin import place_of
from dynamo_fe.config.settings import TABLE, Settings

# what variables begin with that the original does not have
_OURS = "DYN_FE_"
_LABELS = {setting.name: setting.label for setting in TABLE}
_CERTIFICATES = (
    ("tls_cert_path", "tls_key_path"),
    ("tcp_tls_cert_path", "tcp_tls_key_path"),
    ("tcp_tls_client_cert_path", "tcp_tls_client_key_path"),
    ("nats_tls_client_cert_path", "nats_tls_client_key_path"),
)
# who lets in only clients with a certificate is a TLS server
_CLIENT_AUTHORITIES = (
    ("tls_client_ca_cert_path", "tls_cert_path", "tls_key_path"),
    ("tcp_tls_client_ca_cert_path", "tcp_tls_cert_path", "tcp_tls_key_path"),
)


def check(settings: Settings) -> None:
    """Raises SettingFault for combinations the original refuses, and for what cannot be served truthfully."""
    for certificate, key in _CERTIFICATES:
        if (getattr(settings, certificate) is None) != (getattr(settings, key) is None):
            text = f"{_LABELS[certificate]} and {_LABELS[key]} must be provided together"
            raise SettingFault(text, certificate, key)
    for authority, certificate, key in _CLIENT_AUTHORITIES:
        if getattr(settings, authority) is not None and getattr(settings, certificate) is None:
            raise SettingFault(f"{_LABELS[authority]} requires {_LABELS[certificate]} and {_LABELS[key]}", authority)
    if settings.kserve_grpc_server and settings.frontend_route_extensions:
        names = "frontend_route_extensions", "kserve_grpc_server"
        raise SettingFault(f"{_LABELS[names[0]]} cannot be used together with {_LABELS[names[1]]}", *names)
    both = ("http_port", "grpc_metrics_port") if settings.grpc_only else ("http_port", "grpc_port")
    if settings.kserve_grpc_server or settings.grpc_port is not None:
        first, second = (getattr(settings, name) for name in both)
        if first == second != 0:
            raise SettingFault(f"{_LABELS[both[0]]} and {_LABELS[both[1]]} must not be one port, got {first}", *both)
    for setting in TABLE:
        value = getattr(settings, setting.name)
        if value in setting.refused_choices:
            served = " or ".join(choice for choice in setting.choices if choice not in setting.refused_choices)
            raise SettingFault(f"{value} is not available in this version: use {served}", setting.name)


def adopt_stand_ins(settings: Settings, origins: Mapping[str, str], warnings: list[str]) -> Settings:
    """Replaces every choice whose feature is not there yet by what is served instead, and says so in `warnings`."""
    changes: dict[str, str] = {}
    for setting in TABLE:
        value = getattr(settings, setting.name)
        if setting.stand_ins and value in setting.stand_ins:
            changes[setting.name] = setting.stand_ins[value]
            place, instead = place_of(setting.name, origins), changes[setting.name]
            warnings.append(f"{place} {value} is not available in this version: using {instead}")
    if not changes:
        return settings
    return replace(settings, **changes)  # type: ignore[arg-type]


def warn_of_the_ineffective(settings: Settings, origins: Mapping[str, str], warnings: list[str]) -> None:
    """Names, in one line each, the settings without effect in this version and those the original ignores as well."""
    set_away = [s for s in TABLE if getattr(settings, s.name) != s.default]
    pending = [place_of(s.name, origins) for s in set_away if s.status == "pending"]
    if pending:
        warnings.append(f"accepted, but without effect in this version: {', '.join(pending)}")
    ignored = [place_of(s.name, origins) for s in set_away if s.status == "ignored-deprecated"]
    if ignored:
        warnings.append(f"deprecated and ignored: {', '.join(ignored)}")


def warn_of_unknown_variables(environ: Mapping[str, str], warnings: list[str]) -> None:
    """Names, in one line, those that only we could have meant. Others may be a worker's."""
    known = {setting.variable for setting in TABLE}
    unknown = sorted(name for name in environ if name.startswith(_OURS) and name not in known)
    if unknown:
        warnings.append(f"no setting, and without effect: {', '.join(map(_with_nearest, unknown))}")


def _with_nearest(variable: str) -> str:
    import difflib

    name = variable.removeprefix(_OURS).lower()
    by_name = [setting.variable or setting.label for setting in TABLE if setting.name == name]
    variables = [setting.variable for setting in TABLE if setting.variable]
    close = by_name or difflib.get_close_matches(variable, variables, n=1, cutoff=0.75)
    return f"{variable} (did you mean {close[0]}?)" if close else variable


def warn_of_half_tls(settings: Settings, warnings: list[str]) -> None:
    """As in the original, TLS of the one direction between frontend and workers says nothing of the other."""
    if settings.request_plane != "tcp":
        return
    listens = settings.tcp_tls_cert_path is not None
    connects = settings.tcp_tls_ca_cert_path is not None or settings.tcp_tls_insecure
    if not connects and (listens or settings.tcp_tls_client_cert_path is not None):
        warnings.append("requests go to workers in plain text: neither --tcp-tls-ca-cert-path nor DYN_TCP_TLS_INSECURE")
    elif connects and not listens:
        warnings.append("workers answer in plain text: no --tcp-tls-cert-path and --tcp-tls-key-path")
