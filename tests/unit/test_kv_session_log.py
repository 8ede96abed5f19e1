"""Several processes of one host over one log of sessions: where one binds a session, all look for it."""

from __future__ import annotations

import pytest

from dynamo_fe.protocol.events import AffinityEvent
from dynamo_fe.routing.kv.affinity import Sessions
from dynamo_fe.routing.kv.decisions import DecisionLog
from dynamo_fe.routing.kv.session_log import SessionLog

NS = 1_000_000_000
POOL = ("ns", "backend", "generate", 16)


def process(log: DecisionLog, seat: int, pool: tuple[object, ...] = POOL) -> Sessions:
    return Sessions(10.0, 100 + seat, lambda event: None, SessionLog(log, seat, pool))


@pytest.mark.parametrize("session", ["s", "", "12345678", "é" * 500, "\ud800 odd", "\0"])
def test_what_one_binds_all_know_at_once_and_those_that_come_later(session: str) -> None:
    log = DecisionLog(4, 1 << 20)
    first, second = process(log, 0), process(log, 1)
    assert first.target(session, 1.0) is None
    first.begin(session, (2**64 - 1, 3), 1.0, NS)
    assert second.target(session, 1.0) == (2**64 - 1, 3)
    second.begin(session, (2**64 - 1, 3), 2.0, 2 * NS)
    second.end(session, 9.0)
    # its predecessor of the same seat is gone
    assert process(log, 0).target(session, 9.0) == (2**64 - 1, 3)
    assert process(log, 3).target(session, 19.0) == (2**64 - 1, 3)
    assert process(log, 3).target(session, 19.5) is None


def test_the_later_binding_holds_wherever_it_was_made() -> None:
    log = DecisionLog(2, 1 << 20)
    first, second = process(log, 0), process(log, 1)
    first.begin("s", (7, 0), 1.0, NS)
    assert second.target("s", 1.0) == (7, 0)
    second.worker_gone(7)
    second.begin("s", (8, 1), 2.0, 2 * NS)
    assert first.target("s", 2.0) == process(log, 0).target("s", 2.0) == (8, 1)


def test_pools_and_ranks_left_open_are_kept_apart() -> None:
    log = DecisionLog(2, 1 << 20)
    SessionLog(log, 0, POOL).tell(AffinityEvent("s", 7, None, NS, 1), 1.0)
    assert process(log, 1).target("s", 1.0) == (7, None)
    assert process(log, 1, (*POOL, "other")).target("s", 1.0) is None


def test_an_id_that_is_too_long_for_the_log_is_known_to_its_process_alone() -> None:
    log = DecisionLog(2, 1 << 12)
    first, second = process(log, 0), process(log, 1)
    first.begin("s" * 4000, (7, 0), 1.0, NS)
    first.begin("short", (7, 0), 1.0, NS)
    assert first.target("s" * 4000, 1.0) == (7, 0)
    assert (second.target("s" * 4000, 1.0), second.target("short", 1.0)) == (None, (7, 0))
