"""Checks of what lies outside of this host: the store, the workers in it, NATS."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.config import Settings
from dynamo_fe.config.logins import without_logins
from dynamo_fe.discovery.base import Discovery, Snapshot
from dynamo_fe.discovery.factory import default_file_root, open_discovery
from dynamo_fe.discovery.file_keys import split_key
from dynamo_fe.models.errors import CardError
from dynamo_fe.models.files import local_file
from dynamo_fe.planes.event.options import NatsEventOptions
from dynamo_fe.planes.nats_connection import connection_trouble
from dynamo_fe.planes.nats_login import place_of
from dynamo_fe.planes.nats_settings import nats_access
from dynamo_fe.protocol.card import ModelCard, decode_model_record
from dynamo_fe.protocol.event_records import CHANNELS_PREFIX
from dynamo_fe.protocol.instance import INSTANCES_PREFIX, Instance, RecordError, parse_instance

_CARDS_PREFIX: Final = "v1/mdc/"
_STORE_SECS: Final = 4.0
_CONNECT_SECS: Final = 2.0
_REMEDY: Final = {
    "etcd": "see whether it is up, and ETCD_ENDPOINTS",
    "file": "see whether DYN_FILE_KV names a directory that can be read",
    "kubernetes": "see what is said of kubernetes, rights and records",
    "mem": "it has nothing but what this process says",
}


async def check_cluster(settings: Settings) -> list[Finding]:
    """The store, and what the workers in it say of themselves."""
    folder = Path(settings.file_kv or default_file_root()) if settings.discovery_backend == "file" else None
    if folder is not None and not folder.exists():
        text = f"the folder {folder} is not there: no worker has registered"
        return [Finding("warn", "discovery", text, "start a worker, and see whether its DYN_FILE_KV is the same")]
    try:
        discovery = open_discovery(settings)
    except ValueError as error:
        return [Finding("fail", "discovery", str(error), "see --discovery-backend")]
    await discovery.start()
    try:
        entries = await _read(discovery, _kinds(folder))
    except TimeoutError:
        return [Finding("fail", "discovery", _why(discovery, settings), _REMEDY[settings.discovery_backend])]
    finally:
        await discovery.close()
    findings = [_answer(settings.discovery_backend, len(entries))]
    instances, spoilt = _instances(entries)
    findings += [Finding("warn", "workers", text, "it is of another version, or not a worker") for text in spoilt]
    findings += await _reachable("worker", [(f"{each.host}:{each.port}", each.host, each.port) for each in instances
                                            if each.transport == "tcp"])  # fmt: skip
    findings += await _reachable("event plane", _channels(entries))
    cards = [_card(key, value) for key, value in entries.items() if key.startswith(_CARDS_PREFIX)]
    known = [card for card in cards if isinstance(card, ModelCard)]
    findings += [Finding("warn", "models", card, "it is not served") for card in cards if isinstance(card, str)]
    findings += _block_sizes(known, settings)
    findings += await asyncio.to_thread(_model_files, known, settings)
    return findings


async def check_nats(settings: Settings) -> list[Finding]:
    """The server, where a plane goes by it."""
    if settings.request_plane != "nats" and settings.event_plane != "nats":
        return []
    findings = []
    access = nats_access(settings)
    for server in access.pop("servers"):
        name = place_of(server)
        options = NatsEventOptions(servers=(server,), connect_timeout_secs=_CONNECT_SECS, **access)
        trouble = await connection_trouble(options)
        if trouble is None:
            findings.append(Finding("ok", "NATS", f"{name} lets this frontend in"))
        else:
            remedy = "see whether it is a NATS server that runs, NATS_SERVER and NATS_AUTH_*"
            text = f"{name}, by which {_sent_by_nats(settings)} come, cannot be used: {trouble}"
            findings.append(Finding("fail", "NATS", text, remedy))
    return findings


def _sent_by_nats(settings: Settings) -> str:
    ways = (("events", settings.event_plane), ("requests", settings.request_plane))
    return " and ".join(what for what, plane in ways if plane == "nats")


def _kinds(folder: Path | None) -> list[str]:
    """The prefixes to look at; of the store in `folder` those that are there, as a watch makes the others."""
    everything = [INSTANCES_PREFIX, _CARDS_PREFIX, CHANNELS_PREFIX]
    if folder is None or not folder.is_dir():
        return everything
    return [prefix for prefix in everything if (folder / split_key(prefix)[0]).exists()]


async def _read(discovery: Discovery, prefixes: Iterable[str]) -> dict[str, bytes]:
    """All records of workers. Raises TimeoutError."""
    found: dict[str, bytes] = {}
    async with asyncio.timeout(_STORE_SECS):
        for prefix in prefixes:
            async for batch in discovery.watch(prefix):
                found.update(*(event.entries for event in batch if isinstance(event, Snapshot)))
                break
    return found


def _answer(backend: str, count: int) -> Finding:
    if count or backend == "mem":
        return Finding("ok", "discovery", f"{backend} answers, {count} records")
    text = f"{backend} answers, but no worker has registered"
    return Finding("warn", "discovery", text, "start a worker, and see whether it uses the same store")


def _why(discovery: Discovery, settings: Settings) -> str:
    place = settings.etcd_endpoints if settings.discovery_backend == "etcd" else settings.discovery_backend
    detail = discovery.status().detail
    return f"{without_logins(place, urls=True)} does not answer" + (f": {detail}" if detail else "")


def _instances(entries: Mapping[str, bytes]) -> tuple[list[Instance], list[str]]:
    found, spoilt = [], []
    for key, value in entries.items():
        if key.startswith(INSTANCES_PREFIX):
            try:
                found.append(parse_instance(key, value))
            except RecordError as error:
                spoilt.append(str(error))
    return found, spoilt


def _channels(entries: Mapping[str, bytes]) -> list[tuple[str, str, int]]:
    """The addresses at which events are published by ZMQ."""
    found = []
    for key, value in entries.items():
        start = value.find(b"tcp://") if key.startswith(CHANNELS_PREFIX) else -1
        if start >= 0:
            address = urlsplit(value[start:].split(b'"', 1)[0].decode(errors="replace"))
            found.append((f"{address.hostname}:{address.port}", address.hostname or "", address.port or 0))
    return found


async def _reachable(what: str, places: Iterable[tuple[str, str, int]]) -> list[Finding]:
    """Whether each can be connected to."""
    return list(await asyncio.gather(*(_connect(what, *place) for place in dict.fromkeys(places))))


async def _connect(what: str, name: str, host: str, port: int) -> Finding:
    try:
        async with asyncio.timeout(_CONNECT_SECS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        text = f"{name} cannot be connected to: {error or 'no answer'}"
        return Finding("fail", what, text, "see whether it runs, and the firewall between")
    return Finding("ok", what, f"{name} can be connected to")


def _card(key: str, value: bytes) -> ModelCard | str:
    try:
        return decode_model_record(value).card_json
    except ValueError as error:
        return f"{key}: {error}"


def _block_sizes(cards: Iterable[ModelCard], settings: Settings) -> list[Finding]:
    """Workers of one model must hash the same blocks, and so must the router."""
    sizes: dict[str, set[int]] = defaultdict(set)
    for card in cards:
        sizes[card.display_name].add(card.kv_cache_block_size)
    findings = []
    for name, found in sizes.items():
        wanted = settings.kv_cache_block_size
        said = ", ".join(map(str, sorted(found)))
        if len(found) > 1:
            remedy = "start the workers with the same block size"
            findings.append(Finding("fail", f"model {name}", f"its workers have blocks of {said} tokens", remedy))
        elif wanted is not None and wanted not in found:
            text = f"its workers have blocks of {said} tokens, --kv-cache-block-size says {wanted}"
            findings.append(Finding("fail", f"model {name}", text, "leave the setting out"))
        else:
            findings.append(Finding("ok", f"model {name}", f"all its workers have blocks of {said} tokens"))
    return findings


def _model_files(cards: Iterable[ModelCard], settings: Settings) -> list[Finding]:
    """Whether the files that the cards name are here, and are what the cards say."""
    findings = []
    path = Path(settings.model_path) if settings.model_path else None
    for name, card in {card.display_name: card for card in cards}.items():
        try:
            for ref in card.files():
                if not ref.path.startswith(("http://", "https://")):
                    local_file(ref, path)
        except CardError as error:
            remedy = "copy it here, or name a copy by --model-path"
            findings.append(Finding("fail", f"model {name}", str(error), remedy))
        else:
            findings.append(Finding("ok", f"model {name}", "its files are here or fetched from its worker"))
    return findings
