"""The discovery store is away for longer than any lease, under load: nothing fails, and the view is right again after.

DYN_FE_OUTAGE_SECS=600 for the long run.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.load import SteadyLoad
from tests.support.stores import EtcdServer

# a lease is 10 s
OUTAGE_SECS = int(os.environ.get("DYN_FE_OUTAGE_SECS", "15"))
STREAMS = 8
TOKENS = 60
WORKER = ("--decode-tokens-per-sec", "60", "--prefill-tokens-per-sec", "100000")


@pytest.mark.timeout(120 + OUTAGE_SECS)
async def test_etcd_is_away_under_load(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path / "etcd")
    await asyncio.to_thread(server.start)
    try:
        with Cluster(server, tmp_path) as cluster:
            for _ in range(2):
                await asyncio.to_thread(cluster.mock_worker, *WORKER)
            frontend = await asyncio.to_thread(cluster.frontend, "mock")
            load = SteadyLoad(frontend.url, "mock", streams=STREAMS, tokens=TOKENS)
            load.start()
            await load.completes(STREAMS)
            server.kill()
            await asyncio.sleep(OUTAGE_SECS)
            assert frontend.process.returncode is None
            during = load.outcome.complete
            await load.completes(STREAMS)
            await asyncio.to_thread(server.start)
            await load.completes(STREAMS)
            await asyncio.to_thread(cluster.mock_worker, "--model-name", "later", *WORKER)
            await asyncio.to_thread(frontend.wait_listed, "mock", "later")
            outcome = await load.finish()
    finally:
        server.stop()
    print(f"etcd away for {OUTAGE_SECS} s: {during} answers until its end, {len(outcome.failures)} failed")
    assert outcome.failures == []
