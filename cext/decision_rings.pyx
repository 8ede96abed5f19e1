# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Routing decisions that the processes of one host tell each other: rings of records in shared memory.

Every ring has one writer at a time and any number of readers, none of which takes a lock. Zeroed memory is empty rings, and
what a writer wrote stays when it is gone: the next one of that ring goes on behind it.

A ring is a header, then its words. Positions count the words ever written, so that a position's place is its remainder.
Header: words written (the end of the newest record), where the oldest whole record begins, records written. Record: its
number, pool, worker id, blocks and dp_rank (low and high half), time in ns, then a sequence hash a block.

The writer moves the oldest record's position before it overwrites anything, and the end once a record is whole. A reader
that finds its own position before the oldest one after it has copied has copied something torn, and goes on there.
"""
from cpython cimport array
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

import array as arrays
from operator import itemgetter

include "buffers.pxi"

cdef extern from "lockfree.h":
    uint64_t load_acquire64(const uint64_t* at) noexcept nogil
    uint64_t load_again64(const uint64_t* at) noexcept nogil
    void store_first64(uint64_t* at, uint64_t value) noexcept nogil
    void store_release64(uint64_t* at, uint64_t value) noexcept nogil

cdef enum:
    WRITTEN = 0
    OLDEST = 1
    RECORDS = 2
    HEADER_WORDS = 8
    RECORD_WORDS = 5
    LEAST_WORDS = 64

# of a reader that has not seen the first record of a ring yet
cdef uint64_t UNKNOWN = 0xFFFFFFFFFFFFFFFF

cdef array.array U64 = arrays.array("Q")
cdef object BY_TIME = itemgetter(0)
cdef tuple NOTHING = ()


cdef class Rings:
    """Memory in which `count` rings of equal size lie side by side. Raises ValueError where it is too small for them."""
    cdef Py_buffer view
    cdef bint held
    cdef uint64_t* words
    cdef Py_ssize_t count
    cdef uint64_t ring_words
    cdef uint64_t capacity

    cdef hold(self, memory, Py_ssize_t count, bint writable):
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.held = True
        self.words = <uint64_t*> self.view.buf
        self.count = count
        self.ring_words = self.view.len // 8 // count if count > 0 else 0
        if self.ring_words < LEAST_WORDS or <size_t> self.view.buf % 8:
            raise ValueError(f"{self.view.len} bytes are too few for {count} rings")
        self.capacity = self.ring_words - HEADER_WORDS

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef uint64_t* ring(self, Py_ssize_t number) noexcept:
        return self.words + number * self.ring_words

    cdef void copy_in(self, uint64_t* ring, uint64_t position, const uint64_t* data, uint64_t count) noexcept nogil:
        cdef uint64_t place = position % self.capacity
        cdef uint64_t first = min(count, self.capacity - place)
        memcpy(ring + HEADER_WORDS + place, data, 8 * first)
        memcpy(ring + HEADER_WORDS, data + first, 8 * (count - first))

    cdef void copy_out(self, const uint64_t* ring, uint64_t position, uint64_t* out, uint64_t count) noexcept nogil:
        cdef uint64_t place = position % self.capacity
        cdef uint64_t first = min(count, self.capacity - place)
        memcpy(out, ring + HEADER_WORDS + place, 8 * first)
        memcpy(out + first, ring + HEADER_WORDS, 8 * (count - first))


cdef class RingWriter(Rings):
    """The one writer of a ring. Raises ValueError as `Rings`, and for a ring that is none of them."""
    cdef uint64_t* own

    def __init__(self, memory, Py_ssize_t rings, Py_ssize_t ring):
        self.hold(memory, rings, True)
        if not 0 <= ring < rings:
            raise ValueError(f"there is no ring {ring} of {rings}")
        self.own = self.ring(ring)

    def write(self, uint64_t pool, uint64_t worker_id, uint32_t dp_rank, uint64_t time_ns, hashes not None):
        """One decision. Of a prompt larger than half the ring the first blocks are told; the oldest records give way."""
        cdef Words words = Words(hashes, 8)
        cdef uint64_t blocks = min(<uint64_t> words.count, self.capacity // 2 - RECORD_WORDS)
        cdef uint64_t size = RECORD_WORDS + blocks
        cdef uint64_t end = self.own[WRITTEN]
        cdef uint64_t oldest = self.own[OLDEST]
        cdef uint64_t record[RECORD_WORDS]
        while end + size - oldest > self.capacity:
            self.copy_out(self.own, oldest, record, RECORD_WORDS)
            oldest += RECORD_WORDS + <uint32_t> record[3]
        store_first64(self.own + OLDEST, oldest)
        record[0] = self.own[RECORDS]
        record[1] = pool
        record[2] = worker_id
        record[3] = <uint64_t> dp_rank << 32 | blocks
        record[4] = time_ns
        self.copy_in(self.own, end, record, RECORD_WORDS)
        self.copy_in(self.own, end + RECORD_WORDS, <const uint64_t*> words.data, blocks)
        self.own[RECORDS] = record[0] + 1
        store_release64(self.own + WRITTEN, end + size)

    @property
    def records(self):
        """How many were ever written to this ring, by its earlier writers as well."""
        return self.own[RECORDS]


cdef class RingReader(Rings):
    """Reads all rings but `own` (-1: all of them), beginning with the oldest records that they still hold."""
    cdef Py_ssize_t own
    cdef array.array positions
    cdef array.array numbers
    cdef uint64_t lost_records

    def __init__(self, memory, Py_ssize_t rings, Py_ssize_t own=-1):
        self.hold(memory, rings, False)
        self.own = own
        self.positions = array.clone(U64, rings, True)
        self.numbers = array.clone(U64, rings, True)
        for ring in range(rings):
            if load_acquire64(self.ring(ring) + WRITTEN):
                self.numbers.data.as_ulonglongs[ring] = UNKNOWN

    @property
    def lost(self):
        """Records that were overwritten before this reader came to them, though it was there before them."""
        return self.lost_records

    def read(self, uint64_t pool, uint64_t since_ns=0, workers=None):
        """What has come since the last call for that pool, by time: (time_ns, worker_id, dp_rank, hashes) of each.

        Passed over for good: other pools, what was decided before `since_ns`, and workers that are not in `workers` where
        that is given.
        """
        cdef list found = None
        cdef Py_ssize_t ring
        for ring in range(self.count):
            if ring != self.own and load_acquire64(self.ring(ring)) != self.positions.data.as_ulonglongs[ring]:
                if found is None:
                    found = []
                self.drain(ring, pool, since_ns, workers, found)
        if found is None:
            return NOTHING
        found.sort(key=BY_TIME)
        return found

    cdef drain(self, Py_ssize_t number, uint64_t pool, uint64_t since_ns, workers, list found):
        cdef uint64_t* ring = self.ring(number)
        cdef uint64_t at = self.positions.data.as_ulonglongs[number]
        cdef uint64_t end = load_acquire64(ring + WRITTEN)
        cdef uint64_t next_number = self.numbers.data.as_ulonglongs[number]
        cdef uint64_t record[RECORD_WORDS]
        cdef uint64_t blocks
        cdef array.array hashes
        while at < end:
            at = max(at, load_acquire64(ring + OLDEST))
            if at >= end:
                break
            self.copy_out(ring, at, record, RECORD_WORDS)
            if load_again64(ring + OLDEST) > at:
                continue
            blocks = <uint32_t> record[3]
            if record[1] == pool and record[4] >= since_ns and (workers is None or record[2] in workers):
                hashes = array.clone(U64, blocks, False)
                self.copy_out(ring, at + RECORD_WORDS, <uint64_t*> hashes.data.as_ulonglongs, blocks)
                if load_again64(ring + OLDEST) > at:
                    continue
                found.append((record[4], record[2], record[3] >> 32, hashes))
            if next_number != UNKNOWN:
                self.lost_records += record[0] - next_number
            next_number = record[0] + 1
            at += RECORD_WORDS + blocks
        self.positions.data.as_ulonglongs[number] = at
        self.numbers.data.as_ulonglongs[number] = next_number
