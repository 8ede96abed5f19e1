"""What single settings cannot say of themselves: combinations, and features that are not there yet."""

from collections.abc import Mapping
from dataclasses import replace

from dynamo_fe.config.errors import ConfigError
from dynamo_fe.config.setting import Setting
from dynamo_fe.config.settings import TABLE, Settings


def check(settings: Settings, origins: Mapping[str, str]) -> None:
    """Raises ConfigError for combinations the original refuses, and for what cannot be served truthfully."""
    if (settings.tls_cert_path is None) != (settings.tls_key_path is None):
        raise ConfigError("--tls-cert-path and --tls-key-path must be provided together")
    if settings.tls_client_ca_cert_path is not None and settings.tls_cert_path is None:
        raise ConfigError("--tls-client-ca-cert-path requires --tls-cert-path and --tls-key-path")
    for setting in TABLE:
        value = getattr(settings, setting.name)
        if setting.status == "refused" and value != setting.default:
            reason = "TLS is not available in this version, and plain text in its place would be unsafe"
            raise ConfigError(f"{_said(setting, origins)}: {reason}")
        if value in setting.refused_choices:
            raise ConfigError(f"{_said(setting, origins)} {value} is not available in this version")


def adopt_stand_ins(settings: Settings, origins: Mapping[str, str], warnings: list[str]) -> Settings:
    """Replaces every choice whose feature is not there yet by what is served instead, and says so in `warnings`."""
    changes: dict[str, str] = {}
    for setting in TABLE:
        value = getattr(settings, setting.name)
        if setting.stand_ins and value in setting.stand_ins:
            changes[setting.name] = setting.stand_ins[value]
            instead = changes[setting.name]
            warnings.append(f"{_said(setting, origins)} {value} is not available in this version: using {instead}")
    if not changes:
        return settings
    return replace(settings, **changes)  # type: ignore[arg-type]


def warn_of_the_ineffective(settings: Settings, origins: Mapping[str, str], warnings: list[str]) -> None:
    """Names, in one line each, the settings without effect in this version and those the original ignores as well."""
    set_away = [s for s in TABLE if getattr(settings, s.name) != s.default]
    pending = [_said(s, origins) for s in set_away if s.status == "pending"]
    if pending:
        warnings.append(f"accepted, but without effect in this version: {', '.join(pending)}")
    ignored = [_said(s, origins) for s in set_away if s.status == "ignored-deprecated"]
    if ignored:
        warnings.append(f"deprecated and ignored: {', '.join(ignored)}")


def _said(setting: Setting, origins: Mapping[str, str]) -> str:
    return origins.get(setting.name, setting.label)
