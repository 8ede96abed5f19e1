# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The prefix index: which rank holds which KV blocks, in one flat region that one process writes and any number read.

For each rank (worker, dp rank) it keeps the set of blocks that the rank says it holds. A query of local hashes gives, for
every rank, how many of its leading blocks the rank holds on device, and how far its lower tiers go on from there.
"""
cimport cython
from cpython cimport array

import array as arrays
import os

include "buffers.pxi"
include "index_layout.pxi"
include "index_table.pxi"
include "index_nodes.pxi"
include "index_store.pxi"
include "index_find.pxi"
include "index_dump.pxi"

TIERS = ("device", "host_pinned", "disk", "external")
EVENTS = ("stored", "removed", "cleared")
STATUSES = (
    "ok",
    "parent_block_not_found",
    "block_not_found",
    "invalid_block",
    "capacity_exhausted",
    "unsupported_residency_domain",
)

cdef array.array U32 = arrays.array("I")
cdef tuple _STATUSES = STATUSES

cdef enum:
    LEAST_NODES = 64


def region_bytes(uint32_t blocks, uint32_t max_ranks=1024):
    """The size of a region that holds that many different blocks, 8 ranks or fewer on most of them."""
    return bytes_for(max(blocks, <uint32_t> LEAST_NODES), checked_ranks(max_ranks))


cdef uint32_t checked_ranks(uint32_t max_ranks) except 0:
    if not 0 < max_ranks <= MOST_RANKS:
        raise ValueError(f"max_ranks {max_ranks} is not within 1..{MOST_RANKS}")
    return max_ranks


cdef Words hashes_in(source):
    """u64 words of a buffer or a list of ints."""
    if isinstance(source, list):
        try:
            source = arrays.array("Q", source)
        except OverflowError:
            raise ValueError("a hash is not within 64 bits") from None
    return Words(source, 8)


cdef class Overlaps:
    def __cinit__(self, uint32_t max_ranks=1024):
        cdef Finder* f
        checked_ranks(max_ranks)
        self.max_ranks = max_ranks
        self.device = array.clone(U32, max_ranks, True)
        self.host = array.clone(U32, max_ranks, True)
        self.disk = array.clone(U32, max_ranks, True)
        # A view keeps each from being resized.
        self.views = (memoryview(self.device), memoryview(self.host), memoryview(self.disk))
        self.touched = <uint32_t*> malloc(max_ranks * sizeof(uint32_t))
        self.finder = f = <Finder*> calloc(1, sizeof(Finder))
        if f == NULL or self.touched == NULL:
            raise MemoryError
        f.room_words = code_count(max_ranks) // 64
        f.alive = <uint64_t*> calloc(4 * f.room_words, 8)
        f.device = <uint32_t*> calloc(4 * 64 * f.room_words, sizeof(uint32_t))
        if f.alive == NULL or f.device == NULL:
            raise MemoryError
        f.owners = f.alive + f.room_words
        f.others = f.owners + f.room_words
        f.touched = f.others + f.room_words
        f.host = f.device + 64 * f.room_words
        f.disk = f.host + 64 * f.room_words
        f.slot = f.disk + 64 * f.room_words

    def __dealloc__(self):
        cdef Finder* f = <Finder*> self.finder
        free(self.touched)
        if f != NULL:
            free(f.alive)
            free(f.device)
            free(f.seen)
            free(f.seen_version)
            free(f.groups)
            free(f.group_sets)
            free(f)

    cdef void reset(self) noexcept:
        cdef uint32_t i
        for i in range(self.touched_count):
            self.device.data.as_uints[self.touched[i]] = 0
            self.host.data.as_uints[self.touched[i]] = 0
            self.disk.data.as_uints[self.touched[i]] = 0
        self.touched_count = 0

    cdef void take(self) noexcept:
        """Turns depths by code into depths by slot."""
        cdef Finder* f = <Finder*> self.finder
        cdef uint64_t word
        cdef uint32_t w, code, slot
        for w in range(f.words):
            word = f.touched[w]
            while word:
                code = w * 64 + lowest_bit(word)
                word &= word - 1
                slot = f.slot[code] - 1
                if slot < self.max_ranks:
                    self.device.data.as_uints[slot] = f.device[code]
                    self.host.data.as_uints[slot] = f.host[code]
                    self.disk.data.as_uints[slot] = f.disk[code]
                    self.touched[self.touched_count] = slot
                    self.touched_count += 1

    def ranks(self):
        cdef uint32_t i
        return sorted(
            (slot, self.device[slot], self.host[slot], self.disk[slot])
            for slot in [self.touched[i] for i in range(self.touched_count)]
        )


cdef class Reader:
    cdef Py_buffer view
    cdef bint held
    cdef Region region
    cdef uint64_t adopted      # the generation whose layout `region` has; 0: none yet

    def __init__(self, memory):
        self.hold(memory, False)

    cdef hold(self, memory, bint writable):
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.held = True
        if self.view.len < <Py_ssize_t> HEADER_BYTES or <size_t> self.view.buf % LINE:
            raise ValueError("an index wants memory that begins on a cache line, such as a mmap")
        self.region.header = <Header*> self.view.buf

    def __dealloc__(self):
        free(self.region.draining)
        if self.held:
            PyBuffer_Release(&self.view)

    cdef bint adopt(self) noexcept:
        """Whether there is an index; takes over its layout when a new one has been made."""
        cdef Header* h = self.region.header
        cdef uint64_t generation = load_acquire64(&h.generation)
        cdef Header copy
        if generation == self.adopted:
            return generation != 0
        if generation & 1:
            return False
        copy = h[0]
        if load_again64(&h.generation) != generation or copy.magic != MAGIC:
            return False
        if copy.region_bytes > <uint64_t> self.view.len or not 0 < copy.max_ranks <= MOST_RANKS:
            return False
        if copy.max_nodes < LEAST_NODES or bytes_for(copy.max_nodes, copy.max_ranks) > copy.region_bytes:
            return False
        lay_out(&self.region, <uint8_t*> h, copy.max_ranks, copy.max_nodes)
        self.region.salt = copy.salt
        self.adopted = generation
        return True

    @property
    def generation(self):
        return load_acquire64(&self.region.header.generation)

    @property
    def max_ranks(self):
        return self.region.max_ranks if self.adopt() else 0

    @property
    def ranks_version(self):
        return load_acquire64(&self.region.header.ranks_version)

    def ranks(self):
        cdef uint64_t version
        cdef uint32_t slot
        cdef int tries
        if not self.adopt():
            return []
        for tries in range(ATTEMPTS):
            version = load_acquire64(&self.region.header.ranks_version)
            if version & 1:
                give_way()
                continue
            rows = []
            for slot in range(self.region.max_ranks):
                if self.region.ranks[slot].code:
                    rows.append((slot, self.region.ranks[slot].worker_id, self.region.ranks[slot].dp_rank))
            if load_again64(&self.region.header.ranks_version) == version:
                return rows
        return []

    def find(self, local_hashes, Overlaps overlaps not None):
        cdef Words words = hashes_in(local_hashes)
        cdef Finder* f = <Finder*> overlaps.finder
        cdef const uint64_t* locals = <const uint64_t*> words.data
        cdef int tries
        cdef bint whole
        overlaps.reset()
        overlaps.whole = False
        for tries in range(ATTEMPTS):
            if not self.adopt():
                return 0
            if self.region.max_ranks > overlaps.max_ranks:
                raise ValueError(f"the index has {self.region.max_ranks} ranks, the overlaps {overlaps.max_ranks}")
            f.out_of_memory = False
            whole = find_once(&self.region, f, locals, words.count)
            if f.out_of_memory:
                raise MemoryError
            if whole and load_again64(&self.region.header.generation) == self.adopted:
                overlaps.take()
                overlaps.whole = not f.gave_up
                return overlaps.touched_count
        return 0

    def stats(self):
        cdef Region* r = &self.region
        cdef Header* h = r.header
        cdef uint32_t slot
        cdef uint64_t ranks = 0
        cdef uint64_t blocks = 0
        cdef uint64_t lower_blocks = 0
        if not self.adopt():
            return {}
        for slot in range(r.max_ranks):
            if r.ranks[slot].code:
                ranks += 1
                blocks += r.ranks[slot].blocks
                lower_blocks += r.ranks[slot].lower_blocks
        fixed = <uint8_t*> r.nodes - <uint8_t*> h
        return {
            "ranks": ranks,
            "max_ranks": r.max_ranks,
            "blocks": blocks,
            "lower_blocks": lower_blocks,
            "nodes": h.nodes_used,
            "max_nodes": r.max_nodes,
            "aliases": h.nodes_of[ALIAS],
            "used_bytes": fixed + h.nodes_used * sizeof(Node),
            "budget_bytes": h.region_bytes,
            "stored_blocks": h.stored_blocks,
            "removed_blocks": h.removed_blocks,
            "evicted_blocks": h.evicted_blocks,
        }

    def events(self):
        if not self.adopt():
            return {}
        return {
            (event, status): self.region.header.events[i][j]
            for i, event in enumerate(EVENTS)
            for j, status in enumerate(STATUSES)
        }


@cython.final
cdef class Writer(Reader):
    cdef dict slots            # (worker id, dp rank) -> slot
    cdef uint64_t last_worker  # the rank asked for last, with its slot; -1: none
    cdef uint32_t last_dp_rank
    cdef int last_slot
    cdef list free_slots       # the smallest last

    def __init__(self, memory, uint32_t max_ranks=1024):
        cdef uint64_t nodes
        checked_ranks(max_ranks)
        self.hold(memory, True)
        nodes = nodes_within(self.view.len, max_ranks)
        if nodes < LEAST_NODES:
            wanted = bytes_for(LEAST_NODES, max_ranks)
            raise ValueError(f"{self.view.len} bytes hold no index of {max_ranks} ranks: {wanted} are wanted at least")
        self.slots = {}
        self.last_slot = -1
        self.free_slots = list(range(max_ranks - 1, -1, -1))
        self.make(max_ranks, <uint32_t> nodes)

    cdef make(self, uint32_t max_ranks, uint32_t nodes):
        cdef Region* r = &self.region
        cdef Header* h = r.header
        cdef bint used = h.magic != 0
        cdef uint64_t ranks_version = (h.ranks_version + 2) & ~<uint64_t> 1
        # counters of the host, not of one writer
        cdef bytes events = (<uint8_t*> h.events)[: sizeof(h.events)]
        if h.generation & 1:
            h.generation += 1
        open_change64(&h.generation)
        lay_out(r, <uint8_t*> h, max_ranks, nodes)
        memset(<uint8_t*> h + 2 * sizeof(uint64_t), 0, HEADER_BYTES - 2 * sizeof(uint64_t))
        if used:
            # Fresh memory is zero: to write there would only make the system find pages for it.
            forget_bytes(r.ranks, <uint8_t*> &r.nodes[1] - <uint8_t*> r.ranks)
        memcpy(h.events, <const uint8_t*> events, sizeof(h.events))
        h.magic = MAGIC
        h.region_bytes = self.view.len
        h.max_ranks = max_ranks
        h.max_nodes = nodes
        h.node_top = 1
        h.ranks_version = ranks_version
        h.salt = r.salt = int.from_bytes(os.urandom(8), "little")
        r.draining = <uint64_t*> calloc(3 * r.words, 8)
        if r.draining == NULL:
            raise MemoryError
        r.sweeping = r.draining + r.words
        r.scratch = r.sweeping + r.words
        close_change64(&h.generation)
        self.adopted = h.generation

    cdef inline finish(self, int event, int outcome):
        self.region.header.events[event][outcome] += 1
        sweep(&self.region, SWEEP_STEP)
        return _STATUSES[outcome]

    cdef int seat(self, uint64_t worker_id, uint32_t dp_rank, bint wanted) except -2:
        """The slot of a rank; -1 when it has none and none is wanted or free."""
        cdef tuple key
        if self.last_slot >= 0 and worker_id == self.last_worker and dp_rank == self.last_dp_rank:
            return self.last_slot
        key = (worker_id, dp_rank)
        slot = self.slots.get(key)
        if slot is None:
            if not wanted or not self.free_slots:
                return -1
            slot = self.free_slots.pop()
            seat_rank(&self.region, slot, worker_id, dp_rank)
            self.slots[key] = slot
        self.last_worker, self.last_dp_rank, self.last_slot = worker_id, dp_rank, slot
        return slot

    def stored(self, uint64_t worker_id, uint32_t dp_rank, parent, block_hashes, local_hashes, int tier=0):
        cdef Words ids = hashes_in(block_hashes)
        cdef Words locals = hashes_in(local_hashes)
        cdef uint64_t parent_hash = 0 if parent is None else parent
        cdef bint has_parent = parent is not None
        cdef int slot, outcome
        check_tier(tier)
        if ids.count != locals.count:
            raise ValueError(f"{ids.count} block hashes and {locals.count} local hashes")
        slot = self.seat(worker_id, dp_rank, True)
        if slot < 0:
            return self.finish(STORED, CAPACITY_EXHAUSTED)
        if tier == 0:
            outcome = store_device(
                &self.region, slot, has_parent, parent_hash,
                <const uint64_t*> ids.data, <const uint64_t*> locals.data, ids.count,
            )
        else:
            outcome = store_lower(
                &self.region, DEVICE + tier, slot, has_parent, parent_hash,
                <const uint64_t*> ids.data, <const uint64_t*> locals.data, ids.count,
            )
        return self.finish(STORED, outcome)

    def removed(self, uint64_t worker_id, uint32_t dp_rank, block_hashes, int tier=0):
        cdef Words ids = hashes_in(block_hashes)
        cdef const uint64_t* hashes = <const uint64_t*> ids.data
        cdef int slot = self.seat(worker_id, dp_rank, False)
        cdef int outcome
        check_tier(tier)
        if slot < 0:
            outcome = BLOCK_NOT_FOUND if ids.count else OK
        elif tier == 0:
            outcome = remove_device(&self.region, slot, hashes, ids.count)
        else:
            outcome = remove_lower(&self.region, DEVICE + tier, slot, hashes, ids.count)
        return self.finish(REMOVED, outcome)

    def cleared(self, uint64_t worker_id, uint32_t dp_rank):
        cdef int slot = self.seat(worker_id, dp_rank, False)
        if slot >= 0:
            clear_rank(&self.region, slot)
        return self.finish(CLEARED, OK)

    def remove_rank(self, uint64_t worker_id, uint32_t dp_rank):
        slot = self.slots.pop((worker_id, dp_rank), None)
        if slot is None:
            return False
        self.last_slot = -1
        unseat_rank(&self.region, slot)
        self.free_slots.append(slot)
        return True

    def remove_worker(self, uint64_t worker_id):
        gone = [dp_rank for worker, dp_rank in self.slots if worker == worker_id]
        for dp_rank in gone:
            self.remove_rank(worker_id, dp_rank)
        return len(gone)

    def count(self, str event not None, str status not None):
        self.region.header.events[EVENTS.index(event)][STATUSES.index(status)] += 1

    def sweep(self):
        return sweep_all(&self.region)

    def dump(self):
        return dump_stores(&self.region)


cdef int check_tier(int tier) except -1:
    if not 0 <= tier < 4:
        raise ValueError(f"there is no tier {tier}")
    return 0
