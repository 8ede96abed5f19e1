"""What frontends and workers tell each other about running requests."""

import pytest

from dynamo_fe.protocol.events import SequenceEvent, WorkerRank, decode_sequences, encode_sequences
from dynamo_fe.routing.kv.ranks import Rank, RankLoads, RankTraits
from dynamo_fe.routing.kv.replicas import Replicas

OURS, THEIRS, SIBLING = 1, 2, 3
PUBLISHER = 77


class Frontend:
    def __init__(self, router_id: int, syncs: bool = True) -> None:
        self.loads = RankLoads()
        self.loads.settle({(7, 0): RankTraits(None, None, frozenset()), (7, 1): RankTraits(None, None, frozenset())})
        self.replicas = Replicas(self.loads, router_id, lambda other: other in (router_id, SIBLING), syncs)

    @property
    def rank(self) -> Rank:
        rank = self.loads.get(7, 1)
        assert rank is not None
        return rank

    @property
    def load(self) -> tuple[int, int, int]:
        return self.rank.active_blocks, self.rank.prefill_tokens, len(self.rank.bookings)


@pytest.fixture(params=["zmq", "nats"])
def wire(request: pytest.FixtureRequest):
    """Over the bytes of a plane."""

    def carry(event: SequenceEvent) -> SequenceEvent:
        (payload,) = encode_sequences([event], request.param)
        (back,) = decode_sequences(payload, request.param)
        return back

    return carry


def test_a_peer_sees_a_request_through_its_life(wire) -> None:
    here, there = Frontend(OURS), Frontend(THEIRS)
    booking = here.loads.book(here.rank, [10, 11], 2, 40)
    add = wire(here.replicas.added("r", (7, 1), booking, [10, 11], 5, True, None))
    assert not there.replicas.hear(add, PUBLISHER, 0.0)
    assert there.load == here.load == (2, 40, 1)
    assert there.replicas.hear(wire(here.replicas.prefilled("r", (7, 1))), PUBLISHER, 1.0)
    assert there.load == (2, 0, 1)
    assert there.replicas.hear(wire(here.replicas.freed("r", (7, 1))), PUBLISHER, 2.0)
    assert not there.replicas.hear(wire(here.replicas.freed("r", (7, 1))), PUBLISHER, 2.0)
    assert there.load == (0, 0, 0)
    assert len(there.replicas) == 0


def test_what_is_known_already_is_not_counted_twice() -> None:
    here = Frontend(OURS)
    booking = here.loads.book(here.rank, [10], 1, 4)
    for router_id in (OURS, SIBLING):
        other = Frontend(router_id)
        here.replicas.hear(other.replicas.added("r", (7, 1), booking, [10], None, True, None), PUBLISHER, 0.0)
    assert here.load == (1, 4, 1)


def test_the_same_request_added_twice_is_one() -> None:
    here, there = Frontend(OURS), Frontend(THEIRS)
    booking = here.loads.book(here.rank, [10], 1, 4)
    for _ in range(2):
        there.replicas.hear(here.replicas.added("r", (7, 1), booking, [10], None, True, None), PUBLISHER, 0.0)
    assert there.load == (1, 4, 1)


def test_untracked_prefill_and_unknown_ranks() -> None:
    here, there = Frontend(OURS), Frontend(THEIRS)
    booking = here.loads.book(here.rank, [10], 1, 4)
    there.replicas.hear(here.replicas.added("r", (7, 1), booking, [10], None, False, None), PUBLISHER, 0.0)
    assert there.load == (1, 0, 1)
    there.replicas.hear(here.replicas.added("s", (9, 0), booking, [10], None, True, None), PUBLISHER, 0.0)
    assert len(there.replicas) == 1


def test_without_replica_sync_others_requests_are_no_load_here() -> None:
    here, there = Frontend(OURS), Frontend(THEIRS, syncs=False)
    booking = here.loads.book(here.rank, [10], 1, 4)
    there.replicas.hear(here.replicas.added("r", (7, 1), booking, [10], None, True, None), PUBLISHER, 0.0)
    assert there.load == (0, 0, 0)
    there.replicas.hear(here.replicas.freed("r", (7, 1)), PUBLISHER, 0.0)
    assert there.load == (0, 0, 0)


@pytest.mark.parametrize("syncs", [True, False])
def test_a_worker_says_that_a_prompt_is_computed(syncs: bool) -> None:
    here = Frontend(OURS, syncs)
    done: list[str] = []
    here.replicas.watch("r", (7, 1), lambda: done.append("r"))
    word = SequenceEvent("r", WorkerRank(7, 1), "MarkPrefillCompleted", 7)
    assert here.replicas.hear(word, PUBLISHER, 0.0)
    assert not here.replicas.hear(SequenceEvent("x", WorkerRank(7, 1), "MarkPrefillCompleted", 7), PUBLISHER, 0.0)
    here.replicas.forget("r", (7, 1))
    assert not here.replicas.hear(word, PUBLISHER, 0.0)
    assert done == ["r"]


def test_a_peer_that_falls_silent_is_forgotten() -> None:
    here, there = Frontend(OURS), Frontend(THEIRS)
    booking = here.loads.book(here.rank, [10], 1, 4)
    there.replicas.hear(here.replicas.added("r", (7, 1), booking, [10], None, True, None), PUBLISHER, 0.0)
    there.replicas.hear(here.replicas.prefilled("r", (7, 1)), PUBLISHER, 100.0)
    assert there.loads.expire(50.0) == 0
    assert there.loads.expire(150.0) == 1
    there.replicas.expired()
    assert (len(there.replicas), there.load) == (0, (0, 0, 0))


def test_what_a_frontend_had_booked_goes_with_its_channel() -> None:
    here, there = Frontend(OURS), Frontend(THEIRS)
    booking = here.loads.book(here.rank, [10, 11], 2, 40)
    for name, publisher_id in (("r", PUBLISHER), ("s", PUBLISHER), ("t", PUBLISHER + 1)):
        there.replicas.hear(here.replicas.added(name, (7, 1), booking, [10, 11], None, True, None), publisher_id, 0.0)
    assert there.load == (2, 120, 3)
    assert there.replicas.publisher_left(PUBLISHER)
    assert not there.replicas.publisher_left(PUBLISHER)
    assert there.load == (2, 40, 1)
    assert not there.replicas.hear(here.replicas.freed("r", (7, 1)), PUBLISHER, 1.0)
    assert there.replicas.hear(here.replicas.freed("t", (7, 1)), PUBLISHER + 1, 1.0)
    assert there.load == (0, 0, 0)
