"""Where the files of one card are taken from: what was fetched for it, its own paths, the operator's folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dynamo_fe.models.errors import CardError
from dynamo_fe.models.fetch import is_http
from dynamo_fe.models.file_cache import FileCache
from dynamo_fe.models.files import local_file
from dynamo_fe.protocol.card import FileRef, ModelCard

_log = logging.getLogger("dynamo_fe.models")


@dataclass(frozen=True, slots=True)
class Sources:
    """`fetched`: local path by URL; those files have been checked."""

    model_path: Path | None
    fetched: Mapping[str, Path]

    def local(self, ref: FileRef) -> Path:
        """The local file that `ref` names, checked. Blocks on the disk; raises CardError."""
        return self.fetched.get(ref.path) or local_file(ref, self.model_path)


async def gather_files(card: ModelCard, model_path: Path | None, cache: FileCache | None) -> Sources:
    """Fetches what the card names by a URL. What cannot be had is looked for in `model_path`.

    Raises:
        CardError: a file cannot be fetched and there is no `model_path`.
    """
    fetched: dict[str, Path] = {}
    pictures = card.picture_file()
    for ref in (*card.files(), *((pictures,) if pictures is not None else ())):
        if cache is not None and is_http(ref.path):
            try:
                fetched[ref.path] = await cache.local(ref)
            except CardError as error:
                if model_path is None and ref is not pictures:
                    raise
                _log.warning("model %s: %s; looking into --model-path", card.display_name, error)
    return Sources(model_path, fetched)
