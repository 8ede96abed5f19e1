"""The way of a request to its worker goes bad: no connection, a bad acknowledgement, cuts on the request connection."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dynamo_fe.planes.request import worker_side
from tests.adversity.test_answer_bytes import SHORT
from tests.support.answering_worker import answering_worker
from tests.support.cluster import Cluster
from tests.support.fault_proxy import WHOLE, Fault, FaultProxy, Harm
from tests.support.verdicts import at_most, chat, http


@pytest.mark.parametrize(
    "ack",
    [
        b"",  # never acknowledged
        b"\0",
        b"\0\0\0",
        b"\0\0\0\x05over",
        b"\xff\xff\xff\xff",
        b"\x15\x03\x03\0\x02\x02\x28",  # a TLS alert
        worker_side.acknowledgement("Server overloaded: no room"),
        worker_side.acknowledgement("Server unavailable: unknown endpoint x"),
        worker_side.acknowledgement("\x00\xff nonsense"),
        worker_side.ACCEPTED * 3,  # answers nobody asked for
    ],
)
async def test_a_bad_acknowledgement_ends_typed_and_harms_no_other_request(cluster: Cluster, ack: bytes) -> None:
    async with answering_worker(cluster.store) as worker:
        frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
        worker.ack_of = lambda _, __: ack
        async with http(frontend.url) as client:
            tally = await at_most(8, [chat(client, stream=bool(n & 1)) for n in range(8)])
            assert tally.broken == [] and tally.slowest_secs() < 30
            assert set(tally.statuses) <= {503, 504, 529}
            worker.ack_of = lambda _, __: worker_side.ACCEPTED
            assert (await chat(client, stream=False)).whole


@pytest.mark.parametrize("harm", [Harm.CLOSE, Harm.RESET, Harm.GARBAGE, Harm.FREEZE])
@pytest.mark.parametrize("upstream", [True, False])
async def test_a_cut_request_connection_ends_typed(cluster: Cluster, harm: Harm, upstream: bool) -> None:
    # A request frame has about 700 bytes, an acknowledgement 4.
    cuts = range(0, 800, 100) if upstream else range(5)
    async with answering_worker(cluster.store) as worker:
        plan = [Fault(harm, cut, upstream) for cut in cuts]
        async with FaultProxy(("127.0.0.1", worker.worker.port), lambda n: plan[n] if n < len(plan) else WHOLE) as bad:
            await worker.move_to(bad.port)
            frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
            async with http(frontend.url) as client:
                verdicts = [await chat(client, stream=bool(n & 1)) for n in range(len(plan))]
                assert [verdict.broken for verdict in verdicts if verdict.broken] == []
                assert {verdict.status for verdict in verdicts} <= {200, 503, 504}
                assert max(verdict.secs for verdict in verdicts) < 30
                while bad.accepted <= len(plan):
                    await chat(client, stream=False)
                assert (await chat(client, stream=False)).whole


async def test_a_worker_that_takes_no_connections_costs_the_connect_deadline_at_most(cluster: Cluster) -> None:
    with socket.socket() as full:
        # A listener whose backlog is full answers no SYN.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with answering_worker(cluster.store) as worker:
            await worker.move_to(full.getsockname()[1])
            variables = SHORT | {"DYN_TCP_CONNECT_TIMEOUT": "0.5"}
            frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=variables)
            async with http(frontend.url) as client:
                verdict = await chat(client, stream=False)
                assert (verdict.status, verdict.broken) == (503, "") and verdict.secs < 30
                page = (await client.get("/metrics")).text
        for filler in fillers:
            filler.close()
    assert 'dynamo_fe_deadline_misses_total{stage="connect"} 1' in page
