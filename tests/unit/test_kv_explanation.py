"""The explanation of a choice among more ranks than it has room for."""

from __future__ import annotations

from array import array

from dynamo_fe.routing.busy_thresholds import BusyThreshold
from dynamo_fe.routing.kv.pool import Pool
from dynamo_fe.routing.kv.ranks import RankLoads, RankTraits
from dynamo_fe.routing.kv.request import Ask
from dynamo_fe.routing.kv.rules import KvRules


def test_the_chosen_rank_is_among_those_that_are_listed() -> None:
    pool: Pool[str] = Pool(KvRules(), 16, RankLoads(), None, None, lambda model: BusyThreshold())
    pool.settle({(1, rank): RankTraits(100, None, frozenset()) for rank in range(200)})
    nothing = array("Q")
    for _ in range(20):
        told = pool.advise(Ask("m", 8, nothing, nothing, allowed={1}), 0.0)
        listed = [each["dp_rank"] for each in told["candidates"]]
        assert told["dp_rank"] in listed
        assert (len(set(listed)), told["candidates_left_out"]) == (32, 168)
