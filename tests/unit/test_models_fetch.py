"""Model files over HTTP: what is fetched, kept and refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from blake3 import blake3

from dynamo_fe.models.errors import CardError
from dynamo_fe.models.fetch import FetchError, fetch
from dynamo_fe.models.file_cache import FileCache
from dynamo_fe.protocol.card import FileRef

CONTENT = b"x" * 100_000


class Origin:
    """A server that gives one raw answer, or one after the other; counts its requests."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.url = ""

    def says(self, body: bytes, status: str = "200 OK", declared: int | None = None) -> None:
        size = len(body) if declared is None else declared
        self.answers.append(f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        if self.answers:
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            writer.close()
        else:
            await reader.read()
            writer.close()


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    origin.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/metadata/f.json"
    yield origin
    server.close()


def ref(origin: Origin, content: bytes = CONTENT, size: int | None = -1) -> FileRef:
    declared = len(content) if size == -1 else size
    return FileRef(origin.url, f"blake3:{blake3(content).hexdigest()}", declared)


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", 250_000, 150_000, 5.0)


async def test_a_file_is_fetched_once_for_all(origin: Origin, cache: FileCache, tmp_path: Path) -> None:
    origin.says(CONTENT)
    paths = await asyncio.gather(*(cache.local(ref(origin)) for _ in range(3)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(origin.requests) == 1
    assert origin.requests[0].startswith(b"GET /v1/metadata/f.json HTTP/1.0\r\n")
    another = FileCache(tmp_path / "cache", 250_000, 150_000, 5.0)
    assert (await another.local(ref(origin))).read_bytes() == CONTENT
    assert len(origin.requests) == 1


async def test_a_spoiled_file_is_fetched_anew(origin: Origin, cache: FileCache) -> None:
    origin.says(CONTENT)
    path = await cache.local(ref(origin))
    path.write_bytes(b"spoiled")
    assert (await cache.local(ref(origin))).read_bytes() == CONTENT


async def test_passing_trouble_is_tried_again(origin: Origin, cache: FileCache) -> None:
    origin.says(b"", "503 Service Unavailable")
    origin.says(CONTENT[:10], declared=len(CONTENT))
    origin.says(CONTENT)
    assert (await cache.local(ref(origin))).read_bytes() == CONTENT
    assert len(origin.requests) == 3


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda origin: origin.says(b"y" * len(CONTENT)), "is not the file of the card"),
        (lambda origin: origin.says(b"x" * 5), "has 5 bytes, the card says 100000"),
        (lambda origin: origin.says(CONTENT + b"x"), "more than 100000"),
        (lambda origin: origin.says(b"", "404 Not Found"), "status 404"),
        (lambda origin: origin.answers.append(b"SSH-2.0\r\n\r\n"), "not HTTP"),
    ],
)
async def test_what_is_not_the_file_is_refused_and_leaves_nothing(
    origin: Origin, cache: FileCache, tmp_path: Path, prepare: Callable[[Origin], None], words: str
) -> None:
    prepare(origin)
    with pytest.raises(CardError, match=words):
        await cache.local(ref(origin))
    assert list((tmp_path / "cache" / "blobs").iterdir()) == []


async def test_sizes_are_bounded(origin: Origin, cache: FileCache) -> None:
    origin.says(b"z" * 200_000)
    with pytest.raises(CardError, match="more than DYN_FE_MODEL_FILE_MB allows"):
        await cache.local(ref(origin, b"z" * 200_000))
    assert origin.requests == []
    with pytest.raises(CardError, match="more than 150000"):
        await cache.local(ref(origin, b"z" * 200_000, None))


async def test_the_least_recently_used_go(origin: Origin, cache: FileCache) -> None:
    first, second, third = (bytes([number]) * 100_000 for number in range(3))
    paths = []
    for at, content in enumerate((first, second)):
        origin.answers.clear()
        origin.says(content)
        paths.append(await cache.local(ref(origin, content)))
        os.utime(paths[-1], (at, at))
    await cache.local(ref(origin, first))
    origin.answers.clear()
    origin.says(third)
    await cache.local(ref(origin, third))
    assert paths[0].exists()
    assert not paths[1].exists()


async def test_silence_ends(origin: Origin) -> None:
    with pytest.raises(FetchError, match="no answer within 0.05 s"):
        await fetch(origin.url, 10, 0.05, lambda piece: None)


@pytest.mark.parametrize("url", ["http://", "http://a:b/c", "http://h/a b", "http://h/\r\nx: y"])
async def test_bad_addresses(url: str) -> None:
    with pytest.raises(FetchError, match="is not an address"):
        await fetch(url, 10, 1.0, lambda piece: None)


async def test_a_folder_that_cannot_be_written_is_named(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CardError, match="DYN_FE_CACHE_DIR"):
        await FileCache(tmp_path / "file", 1, 150_000, 5.0).local(ref(origin))
