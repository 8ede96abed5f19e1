"""One cluster on file discovery, and settings under which every deadline comes soon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.stores import FileStore


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        yield cluster
