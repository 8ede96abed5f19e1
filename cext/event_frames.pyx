# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The four frames of a message of the ZMQ event plane.

Format (Dynamo 1.6.1): topic | publisher id, u64 | sequence, u64 | version 1, u8; length of the envelope, u32; the envelope, a
MessagePack map {publisher_id, sequence, published_at, topic, payload}. Numbers outside of the map have the first byte first.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

include "msgpack.pxi"

cdef enum:
    ID_BYTES = 8
    PREFIX_BYTES = 5
    VERSION = 1

# what an envelope must say, each once
cdef enum:
    SAYS_PUBLISHER = 1
    SAYS_SEQUENCE = 2
    SAYS_PUBLISHED_AT = 4
    SAYS_TOPIC = 8
    SAYS_PAYLOAD = 16
    SAYS_ALL = 31

cdef struct Told:
    uint64_t publisher_id
    uint64_t sequence
    uint64_t published_at
    Py_ssize_t topic
    Py_ssize_t topic_bytes
    Py_ssize_t payload
    Py_ssize_t payload_bytes
    int says


def read_frames(list frames not None):
    """(publisher id, sequence, published at in Unix ms, topic, payload); None for anything that is not just so, whose fault is
    for others to name.
    """
    cdef const uint8_t* p
    cdef Py_ssize_t size
    cdef Told told
    for frame in frames:
        if not PyBytes_CheckExact(frame):
            return None
    if len(frames) != 4 or PyBytes_GET_SIZE(frames[1]) != ID_BYTES or PyBytes_GET_SIZE(frames[2]) != ID_BYTES:
        return None
    p = <const uint8_t*> PyBytes_AS_STRING(frames[3])
    size = PyBytes_GET_SIZE(frames[3]) - PREFIX_BYTES
    if size < 0 or p[0] != VERSION or big_endian(p + 1, 4) != <uint64_t> size:
        return None
    p += PREFIX_BYTES
    memset(&told, 0, sizeof(Told))
    if read_envelope(p, size, &told) != size or told.says != SAYS_ALL:
        return None
    if number(frames[1]) != told.publisher_id or number(frames[2]) != told.sequence:
        return None
    try:
        topic = PyUnicode_DecodeUTF8(<const char*> p + told.topic, told.topic_bytes, NULL)
    except UnicodeDecodeError:
        return None
    payload = PyBytes_FromStringAndSize(<const char*> p + told.payload, told.payload_bytes)
    return told.publisher_id, told.sequence, told.published_at, topic, payload


cdef inline uint64_t number(frame):
    return big_endian(<const uint8_t*> PyBytes_AS_STRING(frame), ID_BYTES)


cdef Py_ssize_t read_envelope(const uint8_t* p, Py_ssize_t end, Told* told) noexcept nogil:
    """The offset after the map, -1 if it is none or says something twice."""
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef const uint8_t* name = NULL
    cdef Py_ssize_t at = read_map(p, 0, end, &entries)
    cdef int what
    while at >= 0 and entries:
        entries -= 1
        at = read_name(p, at, end, &name, &length)
        if at < 0:
            return -1
        what = what_is_named(name, length)
        if told.says & what:
            return -1
        told.says |= what
        if what == SAYS_PUBLISHER:
            at = read_u64(p, at, end, &told.publisher_id)
        elif what == SAYS_SEQUENCE:
            at = read_u64(p, at, end, &told.sequence)
        elif what == SAYS_PUBLISHED_AT:
            at = read_u64(p, at, end, &told.published_at)
        elif what == SAYS_TOPIC:
            told.topic = at = read_str(p, at, end, &told.topic_bytes)
            at = at + told.topic_bytes if at >= 0 else -1
        elif what == SAYS_PAYLOAD:
            told.payload = at = read_bin(p, at, end, &told.payload_bytes)
            at = at + told.payload_bytes if at >= 0 else -1
        else:
            at = skip_value(p, at, end)
    return at


cdef inline int what_is_named(const uint8_t* p, Py_ssize_t length) noexcept nogil:
    """0 for what is of no concern."""
    if is_named(p, length, b"publisher_id"):
        return SAYS_PUBLISHER
    if is_named(p, length, b"sequence"):
        return SAYS_SEQUENCE
    if is_named(p, length, b"published_at"):
        return SAYS_PUBLISHED_AT
    if is_named(p, length, b"topic"):
        return SAYS_TOPIC
    if is_named(p, length, b"payload"):
        return SAYS_PAYLOAD
    return 0


cdef Py_ssize_t read_bin(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t* length) noexcept nogil:
    """The offset of the first of some bytes, all of them being at hand; -1 otherwise."""
    cdef int size
    if at >= end or not 0xC4 <= p[at] <= 0xC6:
        return -1
    size = 1 << (p[at] - 0xC4)
    if end - at - 1 < size:
        return -1
    length[0] = <Py_ssize_t> big_endian(p + at + 1, size)
    at += 1 + size
    return at if length[0] <= end - at else -1
