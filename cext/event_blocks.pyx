# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""KV events out of their MessagePack without an object for each block; everyday batches without any but what the index takes.

Formats (Dynamo 1.6.1): blocks are an array of maps with `block_hash` and `tokens_hash`, both u64, and more that is of no
concern here; a batch is an array of {worker_id, storage_tier, residency_domain, event: {event_id, dp_rank, data}}, where data
is {stored: {parent_hash, blocks}} or {removed: {block_hashes}}.
"""
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import array as arrays

include "msgpack.pxi"

cdef enum:
    NAMED_BLOCK = 1
    NAMED_TOKENS = 2
    NAMED_BOTH = 3

cdef enum:
    NIL = 0xC0

cdef enum:
    STORED = 1
    REMOVED = 2

# what a change must say, each once
cdef enum:
    SAYS_WORKER = 1
    SAYS_EVENT = 2
    SAYS_ID = 4
    SAYS_RANK = 8
    SAYS_DATA = 16
    SAYS_HASHES = 32
    SAYS_PARENT = 64
    SAYS_START = 128
    SAYS_ALL_OF_REMOVED = 63
    SAYS_ALL_OF_STORED = 255

cdef struct Change:
    uint64_t worker_id
    uint64_t dp_rank
    uint64_t event_id
    uint64_t parent
    bint has_parent
    int tier
    int kind
    int says
    bint usual                # of the residency domain `worker`
    Py_ssize_t hashes         # where the array of blocks or hashes begins, and ends
    Py_ssize_t hashes_end

cdef array.array U64 = arrays.array("Q")


def unpack_blocks(bytes data not None):
    """(block hashes, tokens hashes) as arrays of u64. Raises ValueError for what is no such array."""
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
    return blocks_in(p, PyBytes_GET_SIZE(data))


def read_changes(bytes payload not None, uint64_t worker_id, uint64_t dp_rank, uint64_t first_id):
    """The changes in a batch as (tier, parent, block hashes, tokens hashes), the last None where they are removed. None unless
    every event is one of that rank, stored or removed, and their ids go on from `first_id` without a gap.
    """
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(payload)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(payload)
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t at = read_array(p, 0, end, &count)
    cdef Change change
    cdef list changes = []
    while at >= 0 and count:
        count -= 1
        memset(&change, 0, sizeof(Change))
        change.usual = True
        at = read_router_event(p, at, end, &change)
        if at < 0 or not change.usual:
            return None
        if change.says != (SAYS_ALL_OF_STORED if change.kind == STORED else SAYS_ALL_OF_REMOVED):
            return None
        if change.worker_id != worker_id or change.dp_rank != dp_rank or change.event_id != first_id:
            return None
        first_id += 1
        hashes = p + change.hashes
        try:
            if change.kind == STORED:
                blocks, tokens = blocks_in(hashes, change.hashes_end - change.hashes)
            else:
                blocks, tokens = numbers_in(hashes, change.hashes_end - change.hashes), None
        except ValueError:
            return None
        changes.append((change.tier, change.parent if change.has_parent else None, blocks, tokens))
    return changes if at == end else None


cdef tuple blocks_in(const uint8_t* p, Py_ssize_t end):
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t at = read_array(p, 0, end, &count)
    cdef Py_ssize_t i
    cdef array.array blocks, tokens
    # each takes a byte at least, so that no more is allocated than came
    if at < 0 or count > end - at:
        raise ValueError("not an array of blocks")
    blocks = array.clone(U64, count, False)
    tokens = array.clone(U64, count, False)
    for i in range(count):
        at = read_block(p, at, end, <uint64_t*> &blocks.data.as_ulonglongs[i], <uint64_t*> &tokens.data.as_ulonglongs[i])
        if at < 0:
            raise ValueError(f"block {i} of {count} cannot be read")
    if at != end:
        raise ValueError("more bytes than the array has")
    return blocks, tokens


cdef array.array numbers_in(const uint8_t* p, Py_ssize_t end):
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t at = read_array(p, 0, end, &count)
    cdef Py_ssize_t i
    cdef array.array numbers
    if at < 0 or count > end - at:
        raise ValueError("not an array of numbers")
    numbers = array.clone(U64, count, False)
    for i in range(count):
        at = read_u64(p, at, end, <uint64_t*> &numbers.data.as_ulonglongs[i])
        if at < 0:
            raise ValueError(f"number {i} of {count} cannot be read")
    return numbers


cdef inline bint says_once(Change* change, int what) noexcept nogil:
    cdef bint first = not change.says & what
    change.says |= what
    return first


cdef Py_ssize_t read_router_event(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Change* change) noexcept nogil:
    """The offset after one event, -1 if it is none or not an everyday one."""
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef const uint8_t* name = NULL
    at = read_map(p, at, end, &entries)
    while at >= 0 and entries:
        entries -= 1
        at = read_name(p, at, end, &name, &length)
        if at < 0:
            return -1
        if is_named(name, length, b"worker_id"):
            at = read_u64(p, at, end, &change.worker_id) if says_once(change, SAYS_WORKER) else -1
        elif is_named(name, length, b"event"):
            at = read_event(p, at, end, change) if says_once(change, SAYS_EVENT) else -1
        elif is_named(name, length, b"storage_tier"):
            at = read_tier(p, at, end, &change.tier)
        elif is_named(name, length, b"residency_domain"):
            at = read_name(p, at, end, &name, &length)
            change.usual = at >= 0 and is_named(name, length, b"worker")
        else:
            at = skip_value(p, at, end)
    return at


cdef Py_ssize_t read_tier(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, int* tier) noexcept nogil:
    cdef const uint8_t* name = NULL
    cdef Py_ssize_t length = 0
    at = read_name(p, at, end, &name, &length)
    if at < 0:
        return -1
    if is_named(name, length, b"device"):
        tier[0] = 0
    elif is_named(name, length, b"host_pinned"):
        tier[0] = 1
    elif is_named(name, length, b"disk"):
        tier[0] = 2
    elif is_named(name, length, b"external"):
        tier[0] = 3
    else:
        return -1
    return at


cdef Py_ssize_t read_event(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Change* change) noexcept nogil:
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef const uint8_t* name = NULL
    at = read_map(p, at, end, &entries)
    while at >= 0 and entries:
        entries -= 1
        at = read_name(p, at, end, &name, &length)
        if at < 0:
            return -1
        if is_named(name, length, b"event_id"):
            at = read_u64(p, at, end, &change.event_id) if says_once(change, SAYS_ID) else -1
        elif is_named(name, length, b"dp_rank"):
            at = read_u64(p, at, end, &change.dp_rank) if says_once(change, SAYS_RANK) else -1
        elif is_named(name, length, b"data"):
            at = read_data(p, at, end, change) if says_once(change, SAYS_DATA) else -1
        else:
            at = skip_value(p, at, end)
    return at


cdef Py_ssize_t read_data(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Change* change) noexcept nogil:
    """What changes, as the one entry of a map: `cleared` is no map."""
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef const uint8_t* name = NULL
    at = read_map(p, at, end, &entries)
    at = read_name(p, at, end, &name, &length) if at >= 0 and entries == 1 else -1
    if at < 0:
        return -1
    if is_named(name, length, b"stored"):
        change.kind = STORED
    elif is_named(name, length, b"removed"):
        change.kind = REMOVED
    else:
        return -1
    return read_change(p, at, end, change)


cdef Py_ssize_t read_change(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Change* change) noexcept nogil:
    cdef uint32_t start
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef const uint8_t* name = NULL
    at = read_map(p, at, end, &entries)
    while at >= 0 and entries:
        entries -= 1
        at = read_name(p, at, end, &name, &length)
        if at < 0:
            return -1
        if is_named(name, length, b"blocks" if change.kind == STORED else b"block_hashes"):
            change.hashes = at
            at = skip_value(p, at, end) if says_once(change, SAYS_HASHES) else -1
            change.hashes_end = at
        elif change.kind == STORED and is_named(name, length, b"parent_hash"):
            change.has_parent = not is_nil(p, at, end)
            at = read_u64(p, at, end, &change.parent) if change.has_parent else at + 1
            at = at if says_once(change, SAYS_PARENT) else -1
        elif change.kind == STORED and is_named(name, length, b"start_position"):
            at = at + 1 if is_nil(p, at, end) else read_u32(p, at, end, &start)
            at = at if says_once(change, SAYS_START) else -1
        else:
            at = skip_value(p, at, end)
    return at


cdef inline bint is_nil(const uint8_t* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    return at < end and p[at] == NIL


cdef Py_ssize_t read_array(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t* count) noexcept nogil:
    """The offset after an array's head, -1 if there is none."""
    cdef int size
    if at >= end:
        return -1
    if p[at] & 0xF0 == 0x90:
        count[0] = p[at] & 15
        return at + 1
    if p[at] != 0xDC and p[at] != 0xDD:
        return -1
    size = 2 if p[at] == 0xDC else 4
    if end - at - 1 < size:
        return -1
    count[0] = <Py_ssize_t> big_endian(p + at + 1, size)
    return at + 1 + size


cdef Py_ssize_t read_block(
    const uint8_t* p, Py_ssize_t at, Py_ssize_t end, uint64_t* block, uint64_t* tokens
) noexcept nogil:
    """The offset after one block, -1 if it is none."""
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef const uint8_t* name = NULL
    cdef int named = 0
    at = read_map(p, at, end, &entries)
    while at >= 0 and entries:
        entries -= 1
        at = read_name(p, at, end, &name, &length)
        if at < 0:
            return -1
        if is_named(name, length, b"block_hash"):
            at = read_u64(p, at, end, block)
            named |= NAMED_BLOCK
        elif is_named(name, length, b"tokens_hash"):
            at = read_u64(p, at, end, tokens)
            named |= NAMED_TOKENS
        else:
            at = skip_value(p, at, end)
    return at if named == NAMED_BOTH else -1
