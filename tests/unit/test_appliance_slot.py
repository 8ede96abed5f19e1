from dynamo_fe.appliance.slot import Slot


def new_slot() -> Slot:
    return Slot("worker 0", lambda: 0, grace_secs=5.0)


def fail(slot: Slot, times: int, life_secs: float = 0.1) -> list[float]:
    delays = []
    for _ in range(times):
        slot.started(1234, now=100.0)
        delays.append(slot.ended(now=100.0 + life_secs))
    return delays


def test_the_first_start_is_due_at_once() -> None:
    assert new_slot().start_at == 0.0


def test_the_back_off_doubles_up_to_a_limit_and_stays_there() -> None:
    delays = fail(new_slot(), 1200)
    assert delays[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == 10.0


def test_a_start_that_failed_slowly_counts_too() -> None:
    slot = new_slot()
    fail(slot, 3, life_secs=5.0)
    assert slot.failed_starts == 3


def test_a_worker_that_served_is_replaced_at_once_and_forgiven() -> None:
    slot = new_slot()
    fail(slot, 3)
    slot.started(1234, now=100.0)
    slot.ready = True
    assert slot.ended(now=105.0) == 0.0
    assert (slot.failed_starts, slot.start_at) == (0, 105.0)


def test_long_life_without_being_ready_is_no_failed_start() -> None:
    slot = new_slot()
    assert fail(slot, 1, life_secs=3600.0) == [0.0]


def test_a_life_is_planned_for_when_its_delay_is_over() -> None:
    slot = new_slot()
    slot.started(1234, now=100.0)
    assert (slot.pid, slot.start_at) == (1234, None)
    slot.ended(now=100.5)
    assert (slot.pid, slot.start_at) == (None, 100.6)
