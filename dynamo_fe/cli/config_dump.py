"""The configuration as JSON, with the keys that `--dump-config-to` of the original writes."""

import json
import logging
import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

from dynamo_fe import DYNAMO_VERSION, __version__
from dynamo_fe.config import TABLE, Settings
from dynamo_fe.config.logins import REDACTED, without_logins

_log = logging.getLogger("dynamo_fe.cli")

# dynamo.common.config_dump.environment of 1.6.1
_PREFIXES: Final = ("DYN_", "CUDA_", "NCCL_", "HF_", "TRANSFORMERS_", "NVIDIA_", "TOKENIZERS_", "ETCD_", "NATS_")
_SENSITIVE: Final = ("TOKEN", "API_KEY", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH")
# lists of URLs, which may lack their scheme
_URLS: Final = ("NATS_SERVER", "ETCD_ENDPOINTS")
# what the original calls them where that is another name
_NAMES: Final = {
    "dyn_chat_processor": "chat_processor",
    "dyn_debug_perf": "debug_perf",
    "dyn_preprocess_workers": "preprocess_workers",
    "router_decode_active_request_weight": "decode_active_request_weight",
    "router_disk_cache_hit_weight": "disk_cache_hit_weight",
    "router_host_cache_hit_weight": "host_cache_hit_weight",
    "router_kv_events": "use_kv_events",
    "router_kv_overlap_score_credit": "overlap_score_credit",
    "router_kv_overlap_score_credit_decay": "overlap_score_credit_decay",
    "router_min_initial_workers": "min_initial_workers",
    "router_prefill_load_scale": "prefill_load_scale",
    "router_session_affinity_mode": "session_affinity_mode",
    "router_session_affinity_ttl_secs": "session_affinity_ttl_secs",
    "tokenizer": "tokenizer_backend",
}


def dump_config(settings: Settings) -> None:
    """Writes the file that the settings name, if any. As in the original, a failure is told and no more."""
    if settings.dump_config_to is None:
        return
    path = Path(settings.dump_config_to)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            _log.info("made the folder %s", path.parent)
        path.write_text(render(settings), encoding="utf-8")
    except OSError as error:
        _log.error("cannot write the configuration to %s: %s", path, error.strerror or error)
    else:
        _log.info("wrote the configuration to %s", path)


def render(settings: Settings) -> str:
    """One line of JSON, keys in order. Secrets are left out of it."""
    dump = {
        "system_info": {
            "platform": platform.platform(),
            "architecture": list(platform.architecture()),
            "processor": platform.processor() or "unknown",
            "hostname": platform.node(),
            "operating_system": platform.system(),
            "release": platform.release(),
            "version": platform.version(),
        },
        "environment": _environment(),
        "config": {_NAMES.get(name, name): value for name, value in shown(settings).items()},
        "runtime_info": {
            "python_version": sys.version,
            "command_line": list(map(without_logins, sys.argv)),
            "pid": os.getpid(),
        },
        "dynamo_version": DYNAMO_VERSION,
        "dynamo_fe_version": __version__,
    }
    return json.dumps(dump, separators=(",", ":"), sort_keys=True)


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting by its name; of secrets only that they are set."""
    values = {setting.name: getattr(settings, setting.name) for setting in TABLE}
    secret = {setting.name for setting in TABLE if setting.secret}
    return {
        name: REDACTED if name in secret and value is not None else _shown(name, value)
        for name, value in values.items()
    }


def _shown(name: str, value: Any) -> Any:
    """What is no text is as it was."""
    if isinstance(value, tuple):
        return tuple(_shown(name, each) for each in value)
    return without_logins(value, urls=name.upper() in _URLS) if isinstance(value, str) else value


def _environment() -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}
    return {
        name: REDACTED if any(word in name for word in _SENSITIVE) else _shown(name, text)
        for name, text in found.items()
    }
