"""What can be found out before anything is started, so that it is one line and an exit code and not a dead process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from dynamo_fe.appliance.limits import connections_within, open_files_limit
from dynamo_fe.cli.kv_shared import in_kv_mode
from dynamo_fe.cli.mock_fleet import check_fleet
from dynamo_fe.cli.places import check_places
from dynamo_fe.config import TABLE, ConfigError, Loaded, Settings, load
from dynamo_fe.config.errors import NO_RESOURCES, SettingFault
from dynamo_fe.config.origin import refusal

# What a serving process has open with no client and a few workers.
LEAST_FILES: Final = 64


def configuration(argv: Sequence[str], environ: Mapping[str, str], *, may_wait: bool = True) -> Loaded:
    """The settings, after a look at everything that they name on this host. `may_wait`: as of `load`. Raises
    ConfigError.
    """
    loaded = blaming(load(argv, environ, may_wait=may_wait), _check)
    if loaded.settings.router_policy_config is not None:
        from dynamo_fe.cli.kv_rules import warn_of_idle_keys

        warn_of_idle_keys(loaded.settings, loaded.warnings)
    return loaded


def blaming(loaded: Loaded, *checks: Callable[[Settings], None]) -> Loaded:
    """What the checks pass. Raises ConfigError, with the place of what they raise SettingFault for."""
    try:
        for check in checks:
            check(loaded.settings)
    except SettingFault as fault:
        error = refusal(fault, loaded.origins)
        error.log_jsonl = loaded.settings.log_jsonl
        raise error from None
    return loaded


def check_resources() -> None:
    """Raises ConfigError when so few files may be open that serving would fail at the first requests."""
    limit = open_files_limit()
    if limit is not None and limit < LEAST_FILES:
        text = f"only {limit} files may be open at once, {LEAST_FILES} are needed: raise ulimit -n or LimitNOFILE="
        raise ConfigError(text, NO_RESOURCES)


def within_open_files(settings: Settings) -> Settings:
    """With no more client connections than can be served with the files that may be open."""
    limit = open_files_limit()
    if limit is None:
        return settings
    return replace(settings, max_connections=min(settings.max_connections, connections_within(limit)))


def wants_tls(settings: Settings) -> bool:
    """Whether any plane is to speak TLS."""
    return any("tls_" in setting.name and setting.optional and getattr(settings, setting.name) for setting in TABLE)


def _check(settings: Settings) -> None:
    check_fleet(settings)
    if wants_tls(settings):
        from dynamo_fe.cli.certificates import check_certificates

        check_certificates(settings)
    check_places(settings)
    if in_kv_mode(settings) or settings.router_policy_config is not None:
        from dynamo_fe.cli.kv_rules import kv_rules, policy_file

        policy_file(settings)
        if in_kv_mode(settings):
            kv_rules(settings)
