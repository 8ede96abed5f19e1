"""The choice of a worker."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from dynamo_fe.protocol.instance import Instance
from dynamo_fe.routing.modes import NoInstance, mode_of
from dynamo_fe.routing.quarantine import Quarantine
from dynamo_fe.routing.router import Router


@dataclass
class Set:
    key: str
    instances: dict[int, Instance]


def instance(number: int, device_type: str | None = "cuda") -> Instance:
    return Instance(
        key=f"v1/instances/n/c/e/{number:x}",
        namespace="n",
        component="c",
        endpoint="e",
        instance_id=number,
        host="127.0.0.1",
        port=1,
        path="p",
        codec="msgpack",
        transport="tcp",
        nats_subject="",
        device_type=device_type,
    )


def workers(*numbers: int, key: str = "set") -> Set:
    return Set(key, {number: instance(number) for number in numbers})


def router(mode: str, secs: float = 5.0, in_flight: Mapping[int, int] = MappingProxyType({})) -> Router:
    return Router(mode_of(mode, lambda number: in_flight.get(number, 0), 8.0), Quarantine(secs))


def picks(chosen: Router, entry: Set, count: int = 400) -> Counter[int]:
    return Counter(chosen.select([entry], None, ())[1].instance_id for _ in range(count))


def test_round_robin_takes_each_in_turn_while_workers_come_and_go() -> None:
    chosen = router("round-robin")
    entry = workers(5, 3, 9)

    def take(count: int) -> list[int]:
        return [chosen.select([entry], None, ())[1].instance_id for _ in range(count)]

    assert take(4) == [3, 5, 9, 3]
    del entry.instances[5]
    entry.instances[7] = instance(7)
    assert take(4) == [7, 9, 3, 7]


def test_sets_are_weighted_by_their_instances() -> None:
    chosen = router("round-robin")
    sets = [workers(1, 2, 3, key="a"), workers(4, key="b")]
    counts = Counter(chosen.select(sets, None, ())[1].instance_id for _ in range(4000))
    assert 800 < counts[4] < 1200
    assert max(counts[number] for number in (1, 2, 3)) - min(counts[number] for number in (1, 2, 3)) <= 1


def test_an_instance_set_aside_is_taken_only_when_there_is_no_other() -> None:
    chosen = router("random")
    entry = workers(1, 2)
    chosen.set_aside(1)
    assert {chosen.select([entry], None, ())[1].instance_id for _ in range(50)} == {2}
    assert chosen.select([entry], None, {2})[1].instance_id == 1
    with pytest.raises(NoInstance):
        chosen.select([entry], None, {1, 2})


def test_zero_seconds_turn_setting_aside_off() -> None:
    chosen = router("random", secs=0)
    chosen.set_aside(1)
    assert chosen.left_out() == frozenset()


def test_direct_needs_a_worker_named_by_the_request() -> None:
    chosen = router("direct")
    entry = workers(1, 2)
    assert chosen.select([entry], 2, ())[1].instance_id == 2
    with pytest.raises(NoInstance, match="direct"):
        chosen.select([entry], None, ())
    with pytest.raises(NoInstance, match="Invalid request") as error:
        chosen.select([entry], 3, ())
    assert error.value.detail == "no worker of the model has the instance id 3"


def test_quarantine_ends_by_itself() -> None:
    quarantine = Quarantine(5.0)
    quarantine.set_aside(1, now_secs=100.0)
    assert quarantine.left_out(104.9) == {1}
    assert quarantine.left_out(105.0) == frozenset()


def test_quarantine_lasts_longer_when_the_next_try_fails_too() -> None:
    quarantine = Quarantine(5.0)
    ends = []
    now = 0.0
    for _ in range(6):
        quarantine.set_aside(1, now)
        # others of the same time fail as well
        quarantine.set_aside(1, now)
        lasts = next(secs for secs in range(1, 100) if not quarantine.left_out(now + secs))
        ends.append(lasts)
        now += lasts
    assert ends == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("mend", ["worked", "release", "forgotten"])
def test_quarantine_begins_anew_after_an_answer_another_address_or_a_while(mend: str) -> None:
    quarantine = Quarantine(5.0)
    quarantine.set_aside(1, 0.0)
    quarantine.worked(1, 4.0)
    assert quarantine.left_out(4.0) == {1}
    if mend == "worked":
        quarantine.worked(1, 6.0)
    elif mend == "release":
        quarantine.release(1)
    now = 66.0 if mend == "forgotten" else 6.0
    assert quarantine.left_out(now) == frozenset()
    quarantine.set_aside(1, now)
    assert quarantine.left_out(now + 4.9) == {1} and not quarantine.left_out(now + 5.0)


def test_an_instance_that_is_about_to_go_is_taken_before_one_that_failed() -> None:
    leaving = {1}
    chosen = Router(mode_of("random", lambda number: 0, 8.0), Quarantine(5), lambda: frozenset(leaving))
    entry = workers(1, 2, 3)
    assert {chosen.select([entry], None, ())[1].instance_id for _ in range(50)} == {2, 3}
    chosen.set_aside(2)
    chosen.set_aside(3)
    assert {chosen.select([entry], None, ())[1].instance_id for _ in range(50)} == {1}
    assert {chosen.select([entry], None, {1})[1].instance_id for _ in range(50)} == {2, 3}
    assert chosen.left_out() == {2, 3}
    leaving.clear()
    assert {chosen.select([entry], None, {2, 3})[1].instance_id for _ in range(50)} == {1}


def test_power_of_two_never_takes_the_busier_of_two() -> None:
    counts = picks(router("power-of-two", in_flight={1: 3, 2: 2, 3: 1}), workers(1, 2, 3))
    assert counts[1] == 0
    assert counts[2] < counts[3]
    assert picks(router("power-of-two"), workers(4)) == {4: 400}
    assert set(picks(router("power-of-two"), workers(1, 2))) == {1, 2}


def test_least_loaded_takes_any_of_those_with_the_fewest() -> None:
    counts = picks(router("least-loaded", in_flight={1: 3, 2: 1, 3: 1}), workers(1, 2, 3))
    assert set(counts) == {2, 3}
    assert min(counts.values()) > 100


def test_device_aware_gives_cpu_workers_their_share_only() -> None:
    entry = Set("set", {1: instance(1, "cpu"), 2: instance(2), 3: instance(3, None)})
    in_flight = {2: 8, 3: 8}
    chosen = router("device-aware-weighted", in_flight=in_flight)
    # 0 < 16 * 1 / (8 * 2), and 1 is not
    assert set(picks(chosen, entry)) == {1}
    in_flight[1] = 1
    assert set(picks(chosen, entry)) == {2, 3}
    in_flight[2] = 9
    assert set(picks(chosen, entry)) == {1}


def test_device_aware_with_one_class_is_least_loaded() -> None:
    assert set(picks(router("device-aware-weighted", in_flight={1: 1}), workers(1, 2))) == {2}
