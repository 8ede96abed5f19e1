"""Sizes of pictures, by their addresses: what is asked, what is kept, and where nobody is asked at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynamo_fe.pipeline.pictures.host_guard import is_public
from dynamo_fe.pipeline.pictures.sizes import Forbidden, PictureSizes
from tests.support.certificates import Authority
from tests.support.pictures import PictureServer, data_url, jpeg, png


@pytest.fixture
def server() -> Iterator[PictureServer]:
    pictures = {"/a.png": png(84, 56), "/late.jpg": jpeg(70, 30, 20_000), "/later.jpg": jpeg(70, 30, 80_000)}
    with PictureServer({**pictures, "/words": b"no picture" * 9000}).running() as server:
        yield server


async def test_pictures_in_their_addresses() -> None:
    late = data_url(jpeg(70, 30, 80_000), "image/jpeg")
    urls = [data_url(png(84, 56)), late, "data:image/png;base64,AAAA", "data:image/png;base64,!", "data:x", "ftp://x/a"]
    assert await PictureSizes(allow_internal=False).of(urls) == [(84, 56), (70, 30), None, None, None, None]


async def test_no_more_is_asked_for_than_a_size_takes(server: PictureServer) -> None:
    sizes = PictureSizes(allow_internal=True)
    wanted = {"/a.png": (84, 56), "/late.jpg": (70, 30), "/later.jpg": None, "/words": None, "/moved": (84, 56)}
    assert await sizes.of([server.url + path for path in wanted]) == list(wanted.values())
    small, large = "bytes=0-4095", "bytes=0-65535"
    asked = [("/a.png", small)] * 2 + [("/moved", small)]
    asked += [(path, wanted) for path in ("/late.jpg", "/later.jpg", "/words") for wanted in (small, large)]
    assert sorted(server.asked) == sorted(asked)


async def test_a_picture_is_asked_for_once(server: PictureServer) -> None:
    sizes = PictureSizes(allow_internal=True)
    urls = [server.url + "/a.png"] * 3
    found = await asyncio.gather(*(sizes.of(urls) for _ in range(5)))
    assert found == [[(84, 56)] * 3] * 5
    assert await sizes.of(urls[:1]) == [(84, 56)]
    assert len(server.asked) == 1


@pytest.mark.parametrize("path", ["/none", "/whole", "/hangs"])
async def test_servers_that_give_no_part_of_a_picture(server: PictureServer, path: str) -> None:
    sizes = PictureSizes(allow_internal=True, patience_secs=0.2)
    assert await sizes.of([server.url + path, data_url(png(84, 56))]) == [None, (84, 56)]


async def test_servers_that_are_not_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a.png"
        assert await PictureSizes(allow_internal=True).of([url, "http://nowhere.invalid/a.png"]) == [None, None]


@pytest.mark.parametrize(("subject", "size"), [("IP:127.0.0.1", (84, 56)), ("DNS:pictures.test", None)])
async def test_a_server_has_to_prove_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subject: str, size: tuple[int, int] | None
) -> None:
    authority = Authority(tmp_path / "ca")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with PictureServer({"/a.png": png(84, 56)}, authority.issue("server", subject=subject)).running() as server:
        assert await PictureSizes(allow_internal=True).of([server.url + "/a.png"]) == [size]


@pytest.mark.parametrize("path", ["/round", "/file"])
async def test_ways_that_lead_nowhere_are_refused(server: PictureServer, path: str) -> None:
    with pytest.raises(Forbidden):
        await PictureSizes(allow_internal=True).of([server.url + path])


async def test_names_that_lead_inside_are_refused(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", inside)])
    sizes = PictureSizes(allow_internal=False)
    for act in (sizes.of, sizes.check):
        with pytest.raises(Forbidden):
            await act(["http://pictures.test/a.png"])
    assert server.asked == []


async def test_a_resolver_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = asyncio.Event()
    loop = asyncio.get_running_loop()

    def never(*_: object, **__: object) -> list[object]:
        asyncio.run_coroutine_threadsafe(hangs.wait(), loop).result()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    sizes = PictureSizes(allow_internal=False, patience_secs=0.2)
    urls = [f"http://host{number}.test/a.png" for number in range(40)]
    assert await sizes.of(urls) == [None] * len(urls)
    await sizes.check(urls)
    hangs.set()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::10.0.0.1", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public
