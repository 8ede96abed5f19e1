"""`file` discovery: spelling, lifetime by modification time, what a reader is told, what becomes of the dead."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dynamo_fe.discovery.base import Delete, KeyTaken, Put
from dynamo_fe.discovery.file import FileDiscovery
from dynamo_fe.discovery.file_bucket import BucketReader
from dynamo_fe.discovery.file_keys import decode_name, encode_name, split_key
from dynamo_fe.discovery.inotify import Inotify
from tests.support.watching import Watching

KEY = "v1/instances/wirefs/backend/generate/b7c96ae50898ec65"
NAME = "wirefs%2Fbackend%2Fgenerate%2Fb7c96ae50898ec65"
TTL_SECS = 0.6


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[FileDiscovery]:
    discovery = FileDiscovery(str(tmp_path), TTL_SECS)
    await discovery.start()
    await discovery.grant_lease()
    yield discovery
    await discovery.close()


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[FileDiscovery]:
    discovery = FileDiscovery(str(tmp_path), TTL_SECS)
    await discovery.start()
    yield discovery
    await discovery.close()


@pytest.fixture
async def poller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FileDiscovery]:
    def refuse(_self: Inotify) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", refuse)
    discovery = FileDiscovery(str(tmp_path), TTL_SECS)
    await discovery.start()
    yield discovery
    await discovery.close()


def age(path: Path, secs: float) -> None:
    then = time.time() - secs
    os.utime(path, (then, then))


async def touched(path: Path, times: int) -> None:
    async with asyncio.timeout(20):
        for _ in range(times):
            before = path.stat().st_mtime_ns
            while path.stat().st_mtime_ns == before:
                await asyncio.sleep(0.01)


def test_names_are_percent_encoded_except_letters_and_digits() -> None:
    assert split_key(KEY) == ("v1/instances", "wirefs/backend/generate/b7c96ae50898ec65")
    assert encode_name("a-b_c.d/é~9") == "a%2Db%5Fc%2Ed%2F%C3%A9%7E9"
    assert decode_name(encode_name("a-b_c.d/é~9")) == "a-b_c.d/é~9"
    assert decode_name(".tmp_0123456789abcdef") is None
    assert decode_name("%FF") is None
    with pytest.raises(ValueError, match="not inside one bucket"):
        split_key("v1/")


async def test_a_record_is_one_flat_file(worker: FileDiscovery, tmp_path: Path) -> None:
    await worker.publish(KEY, b"{}")
    assert os.listdir(tmp_path / "v1" / "instances") == [NAME]
    assert (tmp_path / "v1" / "instances" / NAME).read_bytes() == b"{}"


async def test_changes_are_told(worker: FileDiscovery, frontend: FileDiscovery) -> None:
    async with Watching(frontend, "v1/instances/") as watching:
        await watching.until_state({})
        await worker.publish(KEY, b"{}")
        await watching.until_state({KEY: b"{}"})
        await worker.withdraw(KEY)
        await watching.until_state({})
    assert watching.events[1:] == [Put(KEY, b"{}"), Delete(KEY)]
    assert len(watching.snapshots) == 1
    assert frontend.status().detail.endswith("(inotify)")


async def test_without_inotify_it_looks_for_itself(worker: FileDiscovery, poller: FileDiscovery) -> None:
    async with Watching(poller, "v1/instances/") as watching:
        await watching.until_state({})
        await worker.publish(KEY, b"{}")
        await watching.until_state({KEY: b"{}"})
        await worker.withdraw(KEY)
        await watching.until_state({})
    assert poller.status().connected
    assert poller.status().detail.endswith("(polling)")


async def test_two_watches_on_one_bucket_both_hear(worker: FileDiscovery, frontend: FileDiscovery) -> None:
    async with Watching(frontend, "v1/instances/") as one, Watching(frontend, "v1/instances/wirefs/") as other:
        await one.until_state({})
        await other.until_state({})
        await worker.publish(KEY, b"{}")
        await worker.publish("v1/instances/ns/a/b/1", b"[]")
        await one.until_state({KEY: b"{}", "v1/instances/ns/a/b/1": b"[]"})
        await other.until_state({KEY: b"{}"})


async def test_a_watch_that_is_given_up_while_it_is_woken_ends(frontend: FileDiscovery, tmp_path: Path) -> None:
    for number in range(100):
        listed = asyncio.Event()

        async def follow(listed: asyncio.Event) -> None:
            async for _ in frontend.watch("v1/instances/"):
                listed.set()

        following = asyncio.create_task(follow(listed))
        await listed.wait()
        (tmp_path / "v1" / "instances" / f"a%2Fb%2Fc%2F{number:x}").write_bytes(b"{}")
        await asyncio.sleep(0)
        following.cancel()
        assert await asyncio.wait([following], timeout=5) == ({following}, set())


async def test_a_touched_record_stays_and_an_abandoned_one_goes(
    worker: FileDiscovery, frontend: FileDiscovery, tmp_path: Path
) -> None:
    await worker.publish(KEY, b"{}")
    orphan = tmp_path / "v1" / "instances" / "orphan"
    orphan.write_bytes(b"1")
    async with Watching(frontend, "v1/instances/") as watching:
        await watching.until_state({KEY: b"{}", "v1/instances/orphan": b"1"})
        await watching.until_state({KEY: b"{}"})
        assert not orphan.exists()
        await touched(tmp_path / "v1" / "instances" / NAME, times=6)
        assert watching.state == {KEY: b"{}"}
        assert watching.events[1:] == [Delete("v1/instances/orphan")]


async def test_a_record_swept_by_somebody_is_published_again(
    worker: FileDiscovery, frontend: FileDiscovery, tmp_path: Path
) -> None:
    await worker.publish(KEY, b"{}")
    async with Watching(frontend, "v1/instances/") as watching:
        await watching.until_state({KEY: b"{}"})
        (tmp_path / "v1" / "instances" / NAME).unlink()
        await watching.until_state({})
        await watching.until_state({KEY: b"{}"})


async def test_a_record_written_over_is_told_anew(frontend: FileDiscovery, tmp_path: Path) -> None:
    path = tmp_path / "v1" / "instances" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one")
    async with Watching(frontend, "v1/instances/") as watching:
        await watching.until_state({KEY: b"one"})
        path.write_bytes(b"two")
        await watching.until_state({KEY: b"two"})


async def test_a_living_key_is_taken_and_a_dead_one_is_not(worker: FileDiscovery, tmp_path: Path) -> None:
    path = tmp_path / "v1" / "instances" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    with pytest.raises(KeyTaken):
        await worker.publish(KEY, b"new")
    age(path, 2 * TTL_SECS)
    await worker.publish(KEY, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == [NAME]


async def test_a_store_that_is_swept_away_is_an_outage(frontend: FileDiscovery, tmp_path: Path) -> None:
    path = tmp_path / "v1" / "instances" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one")
    async with Watching(frontend, "v1/instances/") as watching:
        await watching.until_state({KEY: b"one"})
        os.rename(tmp_path / "v1", tmp_path / "away")
        await watching.until(lambda: len(watching.snapshots) == 2)
        assert watching.snapshots[1].after_outage
        assert Delete(KEY) not in watching.events
        path.write_bytes(b"back")
        await watching.until_state({KEY: b"back"})


async def test_an_unreadable_store_keeps_the_watch_alive(
    frontend: FileDiscovery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_scandir = os.scandir
    broken = True

    def scandir(path: str) -> object:
        if broken:
            raise OSError(5, "Input/output error")
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    async with Watching(frontend, "v1/instances/") as watching:
        async with asyncio.timeout(10):
            while "Input/output error" not in frontend.status().detail:
                await asyncio.sleep(0.01)
        assert not frontend.status().connected
        broken = False
        await watching.until_state({})
    assert frontend.status().connected


async def test_what_is_no_record_hides_none(frontend: FileDiscovery, worker: FileDiscovery, tmp_path: Path) -> None:
    directory = tmp_path / "v1" / "instances"
    (directory / "a%2Fb%2Fc%2F1").mkdir(parents=True)
    os.symlink(tmp_path / "nowhere", directory / "a%2Fb%2Fc%2F2")
    os.mkfifo(directory / "a%2Fb%2Fc%2F3")
    await worker.publish(KEY, b"{}")
    async with Watching(frontend, "v1/instances/") as watching:
        await watching.until_state({KEY: b"{}"})


async def test_closing_removes_the_records_and_ends_the_watches(worker: FileDiscovery, tmp_path: Path) -> None:
    await worker.publish(KEY, b"{}")
    async with Watching(worker, "v1/instances/") as watching:
        await watching.until_state({KEY: b"{}"})
        await worker.close()
        await watching.join()
    assert os.listdir(tmp_path / "v1" / "instances") == []


class TestBucketReader:
    """The rules of expiry, with files whose age is set by hand."""

    @pytest.fixture
    def reader(self, tmp_path: Path) -> BucketReader:
        return BucketReader(str(tmp_path), "v1/instances", "", ttl_secs=10.0)

    def test_an_old_file_is_not_shown_and_not_deleted_at_first_sight(
        self, reader: BucketReader, tmp_path: Path
    ) -> None:
        (tmp_path / "a").write_bytes(b"1")
        age(tmp_path / "a", 60)
        assert reader.look_at_all(trust_inode=True) == []
        assert reader.entries() == {}
        assert (tmp_path / "a").exists()

    def test_an_old_file_that_is_being_touched_is_alive_whatever_the_clocks_say(
        self, reader: BucketReader, tmp_path: Path
    ) -> None:
        (tmp_path / "a").write_bytes(b"1")
        age(tmp_path / "a", 60)
        reader.look_at_all(trust_inode=True)
        age(tmp_path / "a", 57)
        assert reader.look_at_all(trust_inode=True) == [Put("v1/instances/a", b"1")]

    def test_a_same_sized_change_is_seen_without_inotify(self, reader: BucketReader, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"1")
        reader.look_at_all(trust_inode=False)
        (tmp_path / "a").write_bytes(b"2")
        age(tmp_path / "a", 1)
        assert reader.look_at_all(trust_inode=False) == [Put("v1/instances/a", b"2")]

    def test_a_touch_alone_is_no_news(self, reader: BucketReader, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"1")
        reader.look_at_all(trust_inode=False)
        os.utime(tmp_path / "a")
        assert reader.look_at_all(trust_inode=False) == []
        assert reader.look_at(["a"]) == []

    def test_a_dead_file_that_cannot_be_deleted_is_gone_for_us(
        self, reader: BucketReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr(os, "unlink", refuse)
        (tmp_path / "a").write_bytes(b"1")
        reader.look_at_all(trust_inode=True)
        age(tmp_path / "a", 60)
        reader.look_at_all(trust_inode=True)
        later = time.monotonic() + 60
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert reader.look_at_all(trust_inode=True) == [Delete("v1/instances/a")]
        assert reader.look_at_all(trust_inode=True) == []
