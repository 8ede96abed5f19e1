"""From a FILE of a model card to a local path whose content is what the card says.

A path is used when it exists here, a URL when it has been fetched; otherwise a file of the same name in the operator's
``--model-path``. Every file is checked by size and blake3 before it is used.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from blake3 import blake3

from dynamo_fe.models.errors import CardError
from dynamo_fe.protocol.card import FileRef

CHECKSUM_PREFIX = "blake3:"


def local_file(ref: FileRef, model_path: Path | None) -> Path:
    """The local file that `ref` names, checked. Blocks on the disk: call it in a thread.

    Raises:
        CardError: the file is not here, or not what the card says.
    """
    path = _find(ref, model_path)
    _check(path, ref)
    return path


def _find(ref: FileRef, model_path: Path | None) -> Path:
    given, remote = _as_path(ref.path)
    if given is not None and given.is_file():
        return given
    name = Path(given.name if given is not None else urlsplit(ref.path).path).name
    if model_path is not None:
        if (model_path / name).is_file():
            return model_path / name
        raise CardError(f"{ref.path} cannot be read here and {model_path} has no {name}")
    if remote:
        raise CardError(f"{ref.path}: this kind of address is not supported; give a local copy with --model-path")
    raise CardError(f"{ref.path} cannot be read here; give a local copy with --model-path")


def _as_path(spelling: str) -> tuple[Path | None, bool]:
    """A local path, or None for a URL of another machine and True."""
    if spelling.startswith("file://"):
        return Path(unquote(urlsplit(spelling).path)), False
    if "://" in spelling:
        return None, True
    return Path(spelling), False


def _check(path: Path, ref: FileRef) -> None:
    try:
        size = path.stat().st_size
        if ref.size is not None and size != ref.size:
            raise CardError(f"{path} has {size} bytes, the card says {ref.size}")
        if not ref.checksum.startswith(CHECKSUM_PREFIX):
            raise CardError(f"{path}: unknown kind of checksum {ref.checksum!r}")
        digest = digest_of(path)
    except OSError as failure:
        raise CardError(f"{path} cannot be read: {failure.strerror}") from failure
    if digest != ref.checksum.removeprefix(CHECKSUM_PREFIX).lower():
        raise CardError(f"{path} is not the file of the card: its blake3 is {digest}, the card says {ref.checksum}")


def digest_of(path: Path) -> str:
    """The blake3 of a file, 64 hex digits. Blocks on the disk; raises OSError."""
    digest: str = blake3().update_mmap(path).hexdigest()
    return digest
