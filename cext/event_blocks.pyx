# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The blocks of a stored KV event, out of their MessagePack without an object for each.

Format (Dynamo 1.6.1): an array of maps with `block_hash` and `tokens_hash`, both u64, and more that is of no concern here.
"""
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

import array as arrays

include "msgpack.pxi"

cdef enum:
    NAMED_BLOCK = 1
    NAMED_TOKENS = 2
    NAMED_BOTH = 3

cdef array.array U64 = arrays.array("Q")


def unpack_blocks(bytes data not None):
    """(block hashes, tokens hashes) as arrays of u64. Raises ValueError for what is no such array."""
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t at = read_array(p, end, &count)
    cdef Py_ssize_t i
    cdef array.array blocks, tokens
    # each takes a byte at least, so that no more is allocated than came
    if at < 0 or count > end - at:
        raise ValueError("not an array of blocks")
    blocks = array.clone(U64, count, False)
    tokens = array.clone(U64, count, False)
    for i in range(count):
        at = read_block(p, at, end, &blocks.data.as_ulonglongs[i], &tokens.data.as_ulonglongs[i])
        if at < 0:
            raise ValueError(f"block {i} of {count} cannot be read")
    if at != end:
        raise ValueError("more bytes than the array has")
    return blocks, tokens


cdef Py_ssize_t read_array(const uint8_t* p, Py_ssize_t end, Py_ssize_t* count) noexcept nogil:
    """The offset after an array's head at the very beginning, -1 if there is none."""
    cdef int size
    if end == 0:
        return -1
    if p[0] & 0xF0 == 0x90:
        count[0] = p[0] & 15
        return 1
    if p[0] != 0xDC and p[0] != 0xDD:
        return -1
    size = 2 if p[0] == 0xDC else 4
    if end - 1 < size:
        return -1
    count[0] = <Py_ssize_t> big_endian(p + 1, size)
    return 1 + size


cdef Py_ssize_t read_block(
    const uint8_t* p, Py_ssize_t at, Py_ssize_t end, unsigned long long* block, unsigned long long* tokens
) noexcept nogil:
    """The offset after one block, -1 if it is none."""
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t name
    cdef int named = 0
    at = read_map(p, at, end, &entries)
    while at >= 0 and entries:
        entries -= 1
        name = read_str(p, at, end, &length)
        if name < 0:
            return -1
        at = name + length
        if length == 10 and memcmp(p + name, b"block_hash", 10) == 0:
            at = read_u64(p, at, end, block)
            named |= NAMED_BLOCK
        elif length == 11 and memcmp(p + name, b"tokens_hash", 11) == 0:
            at = read_u64(p, at, end, tokens)
            named |= NAMED_TOKENS
        else:
            at = skip_value(p, at, end)
    return at if named == NAMED_BOTH else -1


cdef inline Py_ssize_t read_u64(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, unsigned long long* value) noexcept nogil:
    """The offset after an integer of any form that is not negative, -1 otherwise."""
    cdef uint8_t code
    cdef int size
    if at >= end:
        return -1
    code = p[at]
    if code < 0x80:
        value[0] = code
        return at + 1
    if not 0xCC <= code <= 0xD3:
        return -1
    size = 1 << (code & 3)
    if end - at - 1 < size or (code >= 0xD0 and p[at + 1] & 0x80):
        return -1
    value[0] = big_endian(p + at + 1, size)
    return at + 1 + size
