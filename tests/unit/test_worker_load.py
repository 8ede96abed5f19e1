"""When a worker has room for one more."""

from __future__ import annotations

from dynamo_fe.pipeline.worker_load import LoadLimits, Place, WorkerLoads

LIMITS = LoadLimits(max_wait_secs=2.0, least_waiting=8, capacity_factor=2.0)


def send(loads: WorkerLoads, count: int, now: float, *, worker: int = 1, capacity: int | None = None) -> list[Place]:
    return [loads.sent(worker, capacity, now) for _ in range(count)]


def test_a_burst_on_an_idle_worker_is_let_in() -> None:
    loads = WorkerLoads(LIMITS)
    send(loads, 500, now=0.0)
    assert not loads.full(now=0.9)


def test_a_worker_whose_line_grows_faster_than_it_serves_is_full() -> None:
    loads = WorkerLoads(LIMITS)
    line: list[Place] = []
    full_at = None
    # 20 a second come, 10 a second begin
    for tick in range(60):
        now = tick * 0.1
        line += send(loads, 2, now)
        line.pop(0).began(now)
        if loads.full(now):
            full_at = now
            break
    # Then as many wait as it serves in about two seconds.
    assert full_at is not None and 1.5 < full_at < 3.0
    assert len(line) <= 30


def test_it_has_room_again_once_the_line_is_short() -> None:
    loads = WorkerLoads(LIMITS)
    line = send(loads, 30, now=0.0)
    assert loads.full(now=5.0)
    for place in line[:23]:
        place.began(5.1)
    assert not loads.full(now=5.1)


def test_a_silent_worker_is_full_at_the_least() -> None:
    loads = WorkerLoads(LIMITS)
    send(loads, 7, now=0.0)
    assert not loads.full(now=100.0)
    send(loads, 1, now=100.0)
    assert loads.full(now=100.0) == {1}


def test_what_counts_is_the_line_and_not_how_long_each_takes() -> None:
    loads = WorkerLoads(LIMITS)
    line: list[Place] = []
    for tick in range(200):
        now = tick * 0.1
        line += send(loads, 1, now)
        # each takes 10 s to begin, many at a time, and as many begin as come
        if tick >= 100:
            line.pop(0).began(now)
    # 100 wait and 20 began within 2 s: by its own measure that is full ...
    assert loads.full(20.0)
    # ... but a worker with a few in its line is not, however long they take.
    few = WorkerLoads(LIMITS)
    send(few, 7, now=0.0)
    assert not few.full(1000.0)


def test_no_more_than_a_multiple_of_what_it_can_run() -> None:
    loads = WorkerLoads(LIMITS)
    places = send(loads, 31, now=0.0, capacity=16)
    assert not loads.full(0.0)
    places += send(loads, 1, now=0.0, capacity=16)
    assert loads.full(0.0) == {1}
    places[0].over()
    assert not loads.full(0.0)


def test_one_that_becomes_full_is_seen_beside_others_that_are_calm() -> None:
    loads = WorkerLoads(LIMITS)
    send(loads, 20, now=0.0, worker=1)
    late = send(loads, 20, now=4.0, worker=2)
    assert loads.full(now=0.9) == ()
    assert loads.full(now=4.5) == {1}
    assert loads.full(now=5.5) == {1, 2}
    for place in late[:15]:
        place.began(5.5)
    send(loads, 40, now=5.6, worker=3, capacity=20)
    assert loads.full(now=5.6) == {1, 3}


def test_rules_can_be_turned_off() -> None:
    loads = WorkerLoads(LoadLimits(max_wait_secs=0.0, least_waiting=8, capacity_factor=0.0))
    send(loads, 1000, now=0.0, capacity=1)
    assert not loads.full(1000.0)


def test_nothing_is_kept_of_workers_without_requests() -> None:
    loads = WorkerLoads(LIMITS)
    for place in send(loads, 20, now=0.0):
        place.over()
        place.over()
        place.began(1.0)
    assert (loads.in_hand, loads.waiting) == (0, 0)
    assert not loads.full(100.0)
