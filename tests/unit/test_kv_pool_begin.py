"""A pool may be made at any moment of the index's life."""

import mmap
from array import array

from dynamo_fe._cext.prefix_index import Reader, Writer
from dynamo_fe.routing.busy_thresholds import BusyThreshold
from dynamo_fe.routing.kv.pool import Pool
from dynamo_fe.routing.kv.ranks import RankLoads
from dynamo_fe.routing.kv.rules import KvRules
from dynamo_fe.routing.kv_events.memory import MAX_RANKS


def test_one_is_made_while_the_writer_begins_anew() -> None:
    """Then nothing is there to be read; a process that gave up at that kept its model without workers for good."""
    memory = mmap.mmap(-1, 16 << 20)
    reader = Reader(memory)
    assert reader.max_ranks == 0
    pool: Pool[str] = Pool(KvRules(), 16, RankLoads(), None, reader, lambda model: BusyThreshold())
    Writer(memory, MAX_RANKS)
    assert reader.max_ranks == MAX_RANKS
    assert pool._overlaps is not None
    # refused where there is no room for so many ranks
    reader.find(array("Q", [1]), pool._overlaps)
