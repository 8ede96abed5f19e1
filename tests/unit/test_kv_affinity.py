"""Sessions stay where they are bound, and frontends agree on where that is."""

from dynamo_fe.protocol.events import AffinityEvent
from dynamo_fe.routing.kv.affinity import Sessions

NS = 1_000_000_000


class Frontend:
    def __init__(self, writer_id: int, ttl_secs: float = 10.0) -> None:
        self.told: list[AffinityEvent] = []
        self.sessions = Sessions(ttl_secs, writer_id, self.told.append)

    def use(self, session: str, key: tuple[int, int], begin: float, end: float) -> None:
        self.sessions.begin(session, key, begin, int(begin * NS))
        self.sessions.end(session, end)


def test_the_idle_time_counts_from_the_end_of_the_last_request() -> None:
    frontend = Frontend(1)
    assert frontend.sessions.target("s", 0.0) is None
    frontend.sessions.begin("s", (7, 1), 0.0, 0)
    assert frontend.sessions.target("s", 500.0) == (7, 1)
    frontend.sessions.end("s", 500.0)
    assert frontend.sessions.target("s", 510.0) == (7, 1)
    assert frontend.sessions.target("s", 510.1) is None
    assert len(frontend.sessions) == 0


def test_one_of_two_running_requests_keeps_it() -> None:
    frontend = Frontend(1)
    frontend.sessions.begin("s", (7, 0), 0.0, 0)
    frontend.sessions.begin("s", (7, 0), 0.0, 0)
    frontend.sessions.end("s", 1.0)
    frontend.sessions.expire(100.0)
    assert frontend.sessions.target("s", 100.0) == (7, 0)
    frontend.sessions.end("s", 100.0)
    frontend.sessions.end("s", 101.0)
    frontend.sessions.expire(110.5)
    assert len(frontend.sessions) == 0


def test_a_peer_follows_and_repeats_the_binding_as_it_was() -> None:
    first, second = Frontend(1), Frontend(2)
    first.use("s", (7, 0), 3.0, 4.0)
    for event in first.told:
        second.sessions.hear(event, 4.0)
    assert second.sessions.target("s", 5.0) == (7, 0)
    second.use("s", (7, 0), 6.0, 7.0)
    assert {(event.sequence, event.writer_id) for event in second.told} == {(3 * NS, 1)}
    assert len(second.told) == 2
    for event in second.told:
        first.sessions.hear(event, 7.0)
    assert first.sessions.target("s", 16.0) == (7, 0)


def test_the_later_binding_holds_whoever_hears_it_first() -> None:
    frontends = [Frontend(1), Frontend(2)]
    frontends[0].use("s", (7, 0), 1.0, 1.5)
    frontends[1].use("s", (8, 0), 2.0, 2.5)
    told = [list(frontend.told) for frontend in frontends]
    for event in told[1]:
        frontends[0].sessions.hear(event, 3.0)
    for event in told[0]:
        frontends[1].sessions.hear(event, 3.0)
    assert [frontend.sessions.target("s", 3.0) for frontend in frontends] == [(8, 0)] * 2


def test_of_two_bindings_at_one_time_that_of_the_larger_writer_holds() -> None:
    frontend = Frontend(5)
    frontend.use("s", (7, 0), 1.0, 1.5)
    frontend.sessions.hear(AffinityEvent("s", 8, 0, NS, 4), 2.0)
    assert frontend.sessions.target("s", 2.0) == (7, 0)
    frontend.sessions.hear(AffinityEvent("s", 8, None, NS, 6), 2.0)
    assert frontend.sessions.target("s", 2.0) == (8, None)


def test_a_worker_that_goes_frees_its_sessions() -> None:
    frontend = Frontend(1)
    frontend.sessions.begin("s", (7, 0), 0.0, 0)
    frontend.sessions.begin("t", (8, 0), 0.0, 0)
    frontend.sessions.worker_gone(7)
    assert (frontend.sessions.target("s", 1.0), frontend.sessions.target("t", 1.0)) == (None, (8, 0))
    frontend.sessions.end("s", 1.0)
    frontend.use("s", (8, 1), 2.0, 3.0)
    assert frontend.sessions.target("s", 3.0) == (8, 1)
