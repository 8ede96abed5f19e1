# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The KV blocks of running requests, shared prefixes counted once a rank: a radix tree over sequence hashes.

A sequence hash stands for its block and everything before it, so equal hashes at one depth mean equal prefixes: where two
requests part is found by bisection, and booking a prompt costs a few steps a segment, not one a block.
"""
cimport cython
from cpython cimport array
from libc.stdint cimport uint64_t

import array as arrays

from dynamo_fe._cext.routing_score cimport Candidates


@cython.final
cdef class BlockCounts:
    cdef public double all
    cdef public double own


@cython.final
cdef class Hold:
    """One rank's share in a segment: `refs` requests run through all of it, `own` of them are this process's. `weight` is what
    each of its blocks counts for there.
    """
    cdef Py_ssize_t refs
    cdef Py_ssize_t own
    cdef double weight


@cython.final
cdef class Segment:
    """A run of blocks without a fork: those at `start` to `end` of `hashes`. `holds` is by slot."""
    cdef array.array hashes
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef Segment parent
    cdef dict children
    cdef dict holds


cdef Segment segment_of(array.array hashes, Py_ssize_t start, Py_ssize_t end, Segment parent):
    cdef Segment made = Segment.__new__(Segment)
    made.hashes, made.start, made.end, made.parent = hashes, start, end, parent
    made.children = {}
    made.holds = {}
    return made


cdef array.array words_of(hashes):
    """As an array of u64, which is never changed."""
    if isinstance(hashes, arrays.array) and (<array.array> hashes).ob_descr.typecode == c"Q":
        return hashes
    return arrays.array("Q", hashes)


cdef Py_ssize_t common(Segment segment, array.array hashes):
    """Up to which block the segment and `hashes` agree; their first blocks do."""
    cdef const uint64_t* own = <const uint64_t*> segment.hashes.data.as_ulonglongs
    cdef const uint64_t* theirs = <const uint64_t*> hashes.data.as_ulonglongs
    cdef Py_ssize_t high = min(segment.end, len(hashes))
    cdef Py_ssize_t low = segment.start + 1
    cdef Py_ssize_t middle
    if own[high - 1] == theirs[high - 1]:
        return high
    high -= 1
    while low < high:
        middle = (low + high + 1) // 2
        if own[middle - 1] == theirs[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


cdef Segment split(Segment segment, Py_ssize_t at):
    """Parts a segment before block `at` and returns the upper part; the object stays the lower one, whose leaves it holds."""
    cdef Segment parent = segment.parent
    cdef Segment upper = segment_of(segment.hashes, segment.start, at, parent)
    cdef Hold hold, copy
    for slot, held in segment.holds.items():
        hold = held
        copy = Hold.__new__(Hold)
        copy.refs, copy.own, copy.weight = hold.refs, hold.own, hold.weight
        upper.holds[slot] = copy
    upper.children[segment.hashes.data.as_ulonglongs[at]] = segment
    parent.children[segment.hashes.data.as_ulonglongs[segment.start]] = upper
    segment.start, segment.parent = at, upper
    return upper


cdef take_hold(Segment segment, slot, counts, bint own):
    cdef Py_ssize_t size = segment.end - segment.start
    cdef Hold hold = segment.holds.get(slot)
    if hold is None:
        hold = segment.holds[slot] = Hold.__new__(Hold)
        hold.weight = 1.0
        counts.all += size
    if own and not hold.own:
        counts.own += size * hold.weight
    hold.refs += 1
    hold.own += own


@cython.final
cdef class ActiveBlocks:
    cdef Segment root

    def __cinit__(self):
        self.root = segment_of(arrays.array("Q"), 0, 0, None)

    @property
    def empty(self):
        return not self.root.children

    def shared(self, hashes):
        cdef array.array words = words_of(hashes)
        cdef dict found = {}
        cdef Segment segment = self.root
        cdef Py_ssize_t at = 0
        while at < len(words):
            segment = segment.children.get(words.data.as_ulonglongs[at])
            if segment is None:
                break
            at = common(segment, words)
            for slot in segment.holds:
                found[slot] = at
            if at < segment.end:
                break
        return found

    def show_shared(self, hashes, Candidates columns not None):
        for slot, depth in self.shared(hashes).items():
            if not 0 <= slot < columns.rows:
                raise IndexError(f"the candidates have no row {slot}")
            columns.shared_prefix.data.as_uints[<Py_ssize_t> slot] = depth

    def add(self, hashes, slot, counts, bint own):
        cdef array.array words = words_of(hashes)
        cdef Segment segment = self.root
        cdef Segment child
        cdef Py_ssize_t at = 0
        while at < len(words):
            child = segment.children.get(words.data.as_ulonglongs[at])
            if child is None:
                child = segment_of(words, at, len(words), segment)
                segment.children[words.data.as_ulonglongs[at]] = child
                at = child.end
            else:
                at = common(child, words)
                if at < child.end:
                    child = split(child, at)
            take_hold(child, slot, counts, own)
            segment = child
        return None if segment is self.root else segment

    def remove(self, Segment leaf not None, slot, counts, bint own):
        cdef Segment segment = leaf
        cdef Hold hold
        cdef double size
        while segment.parent is not None:
            hold = segment.holds[slot]
            size = (segment.end - segment.start) * hold.weight
            hold.refs -= 1
            hold.own -= own
            if own and not hold.own:
                counts.own -= size
            if not hold.refs:
                counts.all -= size
                del segment.holds[slot]
                if not segment.holds:
                    del segment.parent.children[segment.hashes.data.as_ulonglongs[segment.start]]
            segment = segment.parent

    def weigh(self, Segment leaf not None, slot, counts, double weight):
        cdef Segment segment = leaf
        cdef Hold hold
        cdef double change
        while segment.parent is not None:
            hold = segment.holds[slot]
            if hold.refs > 1:
                return
            change = (segment.end - segment.start) * (weight - hold.weight)
            counts.all += change
            if hold.own:
                counts.own += change
            hold.weight = weight
            segment = segment.parent
