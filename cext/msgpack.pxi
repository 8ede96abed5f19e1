"""MessagePack, as much of it as a frame's quick reading needs. Nothing here reads a byte that it has not counted."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, strlen

cdef extern from *:
    uint16_t swapped16 "__builtin_bswap16" (uint16_t value) nogil
    uint32_t swapped32 "__builtin_bswap32" (uint32_t value) nogil
    uint64_t swapped64 "__builtin_bswap64" (uint64_t value) nogil


cdef inline uint64_t big_endian(const uint8_t* p, int size) noexcept nogil:
    """A number of 1, 2, 4 or 8 bytes, on a machine that has the last one first."""
    cdef uint16_t two
    cdef uint32_t four
    cdef uint64_t eight
    if size == 1:
        return p[0]
    if size == 2:
        memcpy(&two, p, 2)
        return swapped16(two)
    if size == 4:
        memcpy(&four, p, 4)
        return swapped32(four)
    memcpy(&eight, p, 8)
    return swapped64(eight)


# How a value goes on after its first byte: bytes of a length field, bytes besides what that field counts, values inside,
# and what the field counts (0: bytes, 1: values, 2: pairs of values).
cdef struct Shape:
    uint8_t valid
    uint8_t length_bytes
    uint8_t payload
    uint8_t values
    uint8_t counts

cdef Shape[256] SHAPES


cdef void fill_shapes() noexcept:
    cdef int code
    for code in range(256):
        SHAPES[code] = Shape(1, 0, 0, 0, 0)
    for code in range(16):
        SHAPES[0x80 + code].values = 2 * code
        SHAPES[0x90 + code].values = code
    for code in range(32):
        SHAPES[0xA0 + code].payload = code
    SHAPES[0xC1].valid = 0
    for code in range(3):
        SHAPES[0xC4 + code].length_bytes = 1 << code
        SHAPES[0xC7 + code] = Shape(1, 1 << code, 1, 0, 0)
        SHAPES[0xD9 + code].length_bytes = 1 << code
    for code in range(2):
        SHAPES[0xCA + code].payload = 4 << code
        SHAPES[0xDC + code] = Shape(1, 2 << code, 0, 0, 1)
        SHAPES[0xDE + code] = Shape(1, 2 << code, 0, 0, 2)
    for code in range(4):
        SHAPES[0xCC + code].payload = 1 << code
        SHAPES[0xD0 + code].payload = 1 << code
    for code in range(5):
        SHAPES[0xD4 + code].payload = 1 + (1 << code)


fill_shapes()


cdef inline Py_ssize_t skip_run(
    const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t step, uint64_t* wanted
) noexcept nogil:
    """The offset after the value at `at`, of `step` bytes, and those wanted after it that have its form: lists of numbers
    are skipped at 1 ns each.
    """
    cdef uint8_t code = p[at]
    at += step
    if code < 0x80:
        while wanted[0] and at < end and p[at] < 0x80:
            at += 1
            wanted[0] -= 1
        return at
    while wanted[0] and end - at >= step and p[at] == code:
        at += step
        wanted[0] -= 1
    return at


cdef Py_ssize_t skip_value(const uint8_t* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The offset after one value of any type, -1 if it is cut or malformed. Counts instead of recursing: any depth."""
    cdef const Shape* shape
    cdef uint64_t wanted = 1
    cdef uint64_t length, payload
    while wanted:
        # every value still wanted takes a byte at least
        if at >= end or wanted > <uint64_t> (end - at):
            return -1
        shape = &SHAPES[p[at]]
        if not shape.valid:
            return -1
        at += 1
        wanted += shape.values
        wanted -= 1
        payload = shape.payload
        if shape.length_bytes:
            if end - at < shape.length_bytes:
                return -1
            length = big_endian(p + at, shape.length_bytes)
            at += shape.length_bytes
            if shape.counts:
                wanted += shape.counts * length
            else:
                payload += length
        if payload > <uint64_t> (end - at):
            return -1
        if not shape.length_bytes and not shape.values:
            at = skip_run(p, at - 1, end, <Py_ssize_t> payload + 1, &wanted)
        else:
            at += <Py_ssize_t> payload
    return at


cdef inline Py_ssize_t read_map(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t* entries) noexcept nogil:
    """The offset after a map's head, -1 if there is none."""
    cdef int size
    if at >= end:
        return -1
    if p[at] & 0xF0 == 0x80:
        entries[0] = p[at] & 15
        return at + 1
    if p[at] != 0xDE and p[at] != 0xDF:
        return -1
    size = 2 if p[at] == 0xDE else 4
    if end - at - 1 < size:
        return -1
    entries[0] = <Py_ssize_t> big_endian(p + at + 1, size)
    return at + 1 + size


cdef inline Py_ssize_t read_str(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t* length) noexcept nogil:
    """The offset of a string's first byte, its whole length being at hand; -1 otherwise."""
    cdef int size
    if at >= end:
        return -1
    if p[at] & 0xE0 == 0xA0:
        length[0] = p[at] & 31
        at += 1
    elif 0xD9 <= p[at] <= 0xDB:
        size = 1 << (p[at] - 0xD9)
        if end - at - 1 < size:
            return -1
        length[0] = <Py_ssize_t> big_endian(p + at + 1, size)
        at += 1 + size
    else:
        return -1
    return at if length[0] <= end - at else -1


cdef inline Py_ssize_t read_name(
    const uint8_t* p, Py_ssize_t at, Py_ssize_t end, const uint8_t** name, Py_ssize_t* length
) noexcept nogil:
    """The offset after a key of a map, a string; -1 if it is none."""
    at = read_str(p, at, end, length)
    if at < 0:
        return -1
    name[0] = p + at
    return at + length[0]


cdef inline bint is_named(const uint8_t* p, Py_ssize_t length, const char* name) noexcept nogil:
    return length == <Py_ssize_t> strlen(name) and memcmp(p, name, length) == 0


cdef inline Py_ssize_t read_u32(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, uint32_t* value) noexcept nogil:
    """The offset after an integer of any form that fits u32, -1 otherwise."""
    cdef uint8_t code
    cdef int size
    cdef uint64_t wide
    if at >= end:
        return -1
    code = p[at]
    if code < 0x80:
        value[0] = code
        return at + 1
    if not 0xCC <= code <= 0xD3:
        return -1
    size = 1 << (code & 3)
    if end - at - 1 < size:
        return -1
    wide = big_endian(p + at + 1, size)
    if wide >> 32 or (code >= 0xD0 and p[at + 1] & 0x80):
        return -1
    value[0] = <uint32_t> wide
    return at + 1 + size


cdef inline Py_ssize_t read_u64(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, uint64_t* value) noexcept nogil:
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
