"""The choice of a worker."""

from collections import Counter
from dataclasses import dataclass

import pytest

from dynamo_fe.protocol.instance import Instance
from dynamo_fe.routing.modes import NoInstance, RoundRobin, mode_of
from dynamo_fe.routing.quarantine import Quarantine
from dynamo_fe.routing.router import Router


@dataclass
class Set:
    key: str
    instances: dict[int, Instance]


def instance(number: int) -> Instance:
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
        nats_subject=None,
    )


def workers(*numbers: int, key: str = "set") -> Set:
    return Set(key, {number: instance(number) for number in numbers})


def router(mode: str, secs: float = 5.0) -> Router:
    return Router(mode_of(mode), Quarantine(secs))


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
    with pytest.raises(NoInstance, match="Invalid request"):
        chosen.select([entry], 3, ())


def test_quarantine_ends_by_itself() -> None:
    quarantine = Quarantine(5.0)
    quarantine.set_aside(1, now_secs=100.0)
    assert quarantine.left_out(104.9) == {1}
    assert quarantine.left_out(105.0) == frozenset()


def test_unbuilt_modes_are_round_robin() -> None:
    assert isinstance(mode_of("kv"), RoundRobin)
