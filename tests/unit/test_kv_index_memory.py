"""The memory of the prefix index: who may write, who reads, and when it is made."""

from __future__ import annotations

import mmap
import os
import re
from array import array
from pathlib import Path
from types import SimpleNamespace

import pytest

from dynamo_fe._cext.prefix_index import Overlaps
from dynamo_fe.cli.kv_index import kv_index, mirror_kv_index
from dynamo_fe.cli.kv_shared import KvShared
from dynamo_fe.config.load import load
from dynamo_fe.ops.metrics import MetricsRegistry
from dynamo_fe.routing.kv.pools import PoolKey
from dynamo_fe.routing.kv_events.memory import IndexMemory

SIZE_BYTES = 16 << 20
BLOCKS = array("Q", [1, 2, 3])


def depth(memory: IndexMemory) -> int:
    """What a reader finds of the blocks."""
    reader = memory.reader()
    overlaps = Overlaps(reader.max_ranks)
    reader.find(BLOCKS, overlaps)
    return max((device for _, device, _, _ in overlaps.ranks()), default=0)


def test_a_child_writes_and_its_parent_reads() -> None:
    memory = IndexMemory(SIZE_BYTES)
    assert depth(memory) == 0
    child = os.fork()
    if child == 0:
        memory.writer().stored(7, 0, None, BLOCKS, BLOCKS)
        memory.tally().add("batches", 5)
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert depth(memory) == 3
    assert memory.tally().values()["batches"] == 5
    assert memory.reader().stats()["budget_bytes"] == SIZE_BYTES


def test_the_next_writer_begins_anew() -> None:
    memory = IndexMemory(SIZE_BYTES)
    memory.writer().stored(7, 0, None, BLOCKS, BLOCKS)
    memory.writer()
    assert depth(memory) == 0


def test_what_became_of_events_is_shown_from_the_start_and_over_all_writers() -> None:
    class Router:
        def pools(self) -> list[tuple[PoolKey, SimpleNamespace]]:
            return [(PoolKey("ns", "backend", "generate", 16), SimpleNamespace(partial_finds=3))]

    def shown() -> dict[str, float]:
        text = registry.exposition().decode()
        found = re.findall(r'^dynamo_component_kv_cache_events_applied{.*event_type="stored",status="(\w+)".*} (\d+)$',
                           text, re.MULTILINE)  # fmt: skip
        return {status: int(count) for status, count in found}

    memory, registry, router = IndexMemory(SIZE_BYTES), MetricsRegistry(), Router()
    mirror_kv_index(registry, memory, router, by_zmq=True)  # type: ignore[arg-type]
    assert shown()["ok"] == shown()["parent_block_not_found"] == shown()["invalid_block"] == 0
    assert shown()["ownership_degree_overflow"] == 0
    for seen in (1, 2):
        memory.writer().stored(7, 0, None, BLOCKS, BLOCKS)
        assert shown()["ok"] == seen
    assert shown()["invalid_block"] == 0
    assert "\ndynamo_fe_kv_index_partial_finds_total 3\n" in registry.exposition().decode()


@pytest.mark.parametrize(
    ("argv", "shared", "kept_here"),
    [
        ((), False, None),
        (("--router-mode", "kv"), False, True),
        (("--router-mode", "kv", "--workers", "2"), True, False),
        (("--router-mode", "kv", "--workers", "2", "--no-router-kv-events"), False, None),
        (("--router-mode", "kv", "--workers", "2", "--router-kv-overlap-score-credit", "0"), False, None),
        (("--load-aware", "--workers", "2"), False, None),
        (("--router-mode", "kv", "--kserve-grpc-server"), False, True),
        (("--router-mode", "kv", "--grpc-port", "9000"), True, False),
    ],
)
def test_several_processes_share_one_and_the_only_one_keeps_its_own(
    argv: tuple[str, ...], shared: bool, kept_here: bool | None
) -> None:
    settings = load([*argv, "--kv-index-mb", "16"], {}).settings
    common = KvShared()
    common.prepare(settings)
    assert (common.index is not None) == shared
    index = kv_index(settings, common)
    assert (None if index is None else index.kept_here) == kept_here


def test_a_reload_into_kv_mode_makes_the_one_that_all_share() -> None:
    common = KvShared()
    common.prepare(load(["--workers", "2"], {}).settings)
    assert common.index is None and common.for_life == ()
    fresh = load(["--workers", "2", "--router-mode", "kv", "--kv-index-mb", "16"], {}).settings
    common.prepare(fresh)
    index = kv_index(fresh, common)
    assert index is not None and not index.kept_here
    assert common.for_life == ("kv_index_mb",)
    common.prepare(load(["--workers", "2"], {}).settings)
    assert index.memory is common.index


def test_a_large_index_begins_anew_without_being_written_to() -> None:
    def resident_mb() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE >> 20

    memory = IndexMemory(4 << 30)
    memory.writer().stored(1, 0, None, BLOCKS, BLOCKS)
    assert depth(memory) == len(BLOCKS)
    before_mb = resident_mb()
    memory.writer()
    assert depth(memory) == 0
    assert resident_mb() < before_mb + 64
