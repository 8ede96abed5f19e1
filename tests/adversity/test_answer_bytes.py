"""A worker's answer goes bad at every byte of it: handshake, prologue, items, final marker, sentinel.

DYN_FE_ADVERSITY_STRIDE=1 tries every byte, the default every third.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from tests.support.answering_worker import ANSWER, AnsweringWorker, answer_bytes, answering_worker
from tests.support.cluster import Cluster
from tests.support.fault_proxy import WHOLE, Fault, Harm
from tests.support.frontends import Frontend
from tests.support.verdicts import Tally, at_most, chat, http

STRIDE = int(os.environ.get("DYN_FE_ADVERSITY_STRIDE", "3"))
SHORT = {
    "DYN_TCP_REQUEST_TIMEOUT": "1",
    "DYN_FE_HANDSHAKE_TIMEOUT_SECS": "1",
    "DYN_FE_CALLBACK_TIMEOUT_SECS": "1",
    "DYN_FE_PROLOGUE_TIMEOUT_SECS": "1",
    "DYN_FE_FIRST_ITEM_TIMEOUT_SECS": "1",
    "DYN_FE_ITEM_TIMEOUT_SECS": "1",
    "DYN_RUNTIME_INHIBITED_DURATION_SECS": "0",
    # both workers are silent for half of the requests: refusing some is right, and not what is looked at here
    "DYN_FE_MAX_WAIT_SECS": "0",
}
# where each try but the first has to succeed, however busy the machine is
PATIENT = {name: "4" if secs == "1" else secs for name, secs in SHORT.items()}
HARMS = [Harm.CLOSE, Harm.RESET, Harm.GARBAGE, Harm.FREEZE]


async def every_cut(frontend: Frontend, worker: AnsweringWorker, fault_of: Callable[[int, int], Fault]) -> Tally:
    """One request for each cut; `fault_of` is asked by cut and number of the try."""
    cuts = range(0, answer_bytes() + 1, STRIDE)
    names = {f"00000000-0000-4000-8000-{cut:012x}": cut for cut in cuts}
    worker.fault_of = lambda name, number: fault_of(names[name], number)
    async with http(frontend.url) as client:
        return await at_most(48, [chat(client, bool(cut & 1), name) for name, cut in names.items()])


@pytest.mark.parametrize("harm", HARMS)
async def test_a_cut_answer_of_a_lone_worker_ends_typed(cluster: Cluster, harm: Harm) -> None:
    async with answering_worker(cluster.store) as worker:
        frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
        tally = await every_cut(frontend, worker, lambda cut, _: Fault(harm, cut))
    assert tally.broken == []
    assert set(tally.statuses) <= {200, 500, 503, 504}
    # four tries at most, of a second each; a busy machine adds to it
    assert tally.slowest_secs() < 30


@pytest.mark.parametrize("harm", HARMS)
async def test_a_cut_answer_goes_on_elsewhere(cluster: Cluster, harm: Harm) -> None:
    async with answering_worker(cluster.store, instances=2) as worker:
        frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=PATIENT)
        async with http(frontend.url) as client:
            whole = await chat(client, stream=False)
        assert whole.tokens == len(ANSWER)
        tally = await every_cut(frontend, worker, lambda cut, number: WHOLE if number else Fault(harm, cut))
    assert tally.broken == []
    if harm is Harm.GARBAGE:
        # What breaks the protocol is a worker's defect, and nobody else is asked to repeat it.
        assert set(tally.statuses) <= {200, 500}
    else:
        assert set(tally.statuses) == {200}
    assert {verdict.text for verdict in tally.verdicts if verdict.whole} == {whole.text}


async def test_a_dribbling_worker_is_as_good_as_silent(cluster: Cluster) -> None:
    async with answering_worker(cluster.store) as worker:
        frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
        worker.fault_of = lambda _, __: Fault(Harm.DRIBBLE, 200, pause_secs=0.1)
        async with http(frontend.url) as client:
            verdict = await chat(client, stream=True)
    assert (verdict.status, verdict.broken) == (504, "")
    assert verdict.secs < 30


async def test_a_slow_link_is_no_failure(cluster: Cluster) -> None:
    async with answering_worker(cluster.store) as worker:
        frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=PATIENT)
        worker.fault_of = lambda _, __: Fault(delay_secs=0.3)
        async with http(frontend.url) as client:
            tally = await at_most(16, [chat(client, stream=True) for _ in range(32)])
    assert set(tally.statuses) == {200} and tally.broken == []
