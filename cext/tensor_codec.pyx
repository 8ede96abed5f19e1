# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Elements of tensors: KServe's raw form (little-endian, byte strings behind a u32 length) to MessagePack lists and back.

Format of the lists: Dynamo 1.6.1's tensor requests. Integers take the shortest form, floats their own width, a byte
string is a list of its bytes. A peer's bytes are never trusted.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

include "msgpack.pxi"

cdef enum Kind:
    BOOLEAN
    UNSIGNED
    SIGNED
    SINGLE
    DOUBLE
    STRINGS

cdef dict KINDS = {
    "?": (BOOLEAN, 1), "B": (UNSIGNED, 1), "H": (UNSIGNED, 2), "I": (UNSIGNED, 4), "Q": (UNSIGNED, 8),
    "b": (SIGNED, 1), "h": (SIGNED, 2), "i": (SIGNED, 4), "q": (SIGNED, 8), "f": (SINGLE, 4), "d": (DOUBLE, 8),
    "S": (STRINGS, 0),
}


class BadElement(ValueError):
    """A list that does not hold what the datatype asks for; `index` is that of the first wrong element, -1 if the whole
    is no list.
    """

    def __init__(self, index):
        super().__init__(f"element {index} is not of the datatype")
        self.index = index


# ---- raw form to list ---------------------------------------------------------------------------------------------

cdef inline uint8_t* put_big_endian(uint8_t* at, uint64_t value, int size) noexcept nogil:
    cdef uint16_t two
    cdef uint32_t four
    cdef uint64_t eight
    if size == 2:
        two = swapped16(<uint16_t> value)
        memcpy(at, &two, 2)
    elif size == 4:
        four = swapped32(<uint32_t> value)
        memcpy(at, &four, 4)
    else:
        eight = swapped64(value)
        memcpy(at, &eight, 8)
    return at + size


cdef inline uint8_t* put_unsigned(uint8_t* at, uint64_t value) noexcept nogil:
    if value < 0x80:
        at[0] = <uint8_t> value
        return at + 1
    if value <= 0xFF:
        at[0] = 0xCC
        at[1] = <uint8_t> value
        return at + 2
    if value <= 0xFFFF:
        at[0] = 0xCD
        return put_big_endian(at + 1, value, 2)
    if not value >> 32:
        at[0] = 0xCE
        return put_big_endian(at + 1, value, 4)
    at[0] = 0xCF
    return put_big_endian(at + 1, value, 8)


cdef inline uint8_t* put_signed(uint8_t* at, int64_t value) noexcept nogil:
    if value >= 0:
        return put_unsigned(at, <uint64_t> value)
    if value >= -32:
        at[0] = <uint8_t> value
        return at + 1
    if value >= -0x80:
        at[0] = 0xD0
        at[1] = <uint8_t> value
        return at + 2
    if value >= -0x8000:
        at[0] = 0xD1
        return put_big_endian(at + 1, <uint64_t> value, 2)
    if value >= -0x80000000LL:
        at[0] = 0xD2
        return put_big_endian(at + 1, <uint64_t> value, 4)
    at[0] = 0xD3
    return put_big_endian(at + 1, <uint64_t> value, 8)


cdef inline uint8_t* put_list(uint8_t* at, uint64_t count) noexcept nogil:
    if count < 16:
        at[0] = <uint8_t> (0x90 | count)
        return at + 1
    if count <= 0xFFFF:
        at[0] = 0xDC
        return put_big_endian(at + 1, count, 2)
    at[0] = 0xDD
    return put_big_endian(at + 1, count, 4)


cdef inline uint64_t little_endian(const uint8_t* p, int size) noexcept nogil:
    cdef uint16_t two
    cdef uint32_t four
    cdef uint64_t eight
    if size == 1:
        return p[0]
    if size == 2:
        memcpy(&two, p, 2)
        return two
    if size == 4:
        memcpy(&four, p, 4)
        return four
    memcpy(&eight, p, 8)
    return eight


cdef inline int64_t widened(const uint8_t* p, int size) noexcept nogil:
    if size == 1:
        return <int8_t> p[0]
    if size == 2:
        return <int16_t> little_endian(p, 2)
    if size == 4:
        return <int32_t> little_endian(p, 4)
    return <int64_t> little_endian(p, 8)


cdef uint8_t* put_numbers(uint8_t* at, Kind kind, int size, const uint8_t* p, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    at = put_list(at, count)
    if kind == SINGLE:
        # the commonest by far, in a loop without a branch
        for i in range(count):
            at[0] = 0xCA
            at = put_big_endian(at + 1, little_endian(p + 4 * i, 4), 4)
        return at
    for i in range(count):
        if kind == BOOLEAN:
            at[0] = 0xC3 if p[i] else 0xC2
            at += 1
        elif kind == UNSIGNED:
            at = put_unsigned(at, little_endian(p + i * size, size))
        elif kind == SIGNED:
            at = put_signed(at, widened(p + i * size, size))
        else:
            at[0] = 0xCB
            at = put_big_endian(at + 1, little_endian(p + 8 * i, 8), 8)
    return at


cdef Py_ssize_t count_strings(const uint8_t* p, Py_ssize_t end) noexcept nogil:
    """How many byte strings stand in the raw form, -1 if they do not fill it."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t count = 0
    while at < end:
        if end - at < 4:
            return -1
        at += 4 + <Py_ssize_t> little_endian(p + at, 4)
        if at > end:
            return -1
        count += 1
    return count


cdef uint8_t* put_strings(uint8_t* at, const uint8_t* p, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i, j, length
    at = put_list(at, count)
    for i in range(count):
        length = <Py_ssize_t> little_endian(p, 4)
        p += 4
        at = put_list(at, length)
        for j in range(length):
            at = put_unsigned(at, p[j])
        p += length
    return at


def pack_values(str code not None, bytes raw not None):
    """The elements as one MessagePack list. Raises ValueError where `raw` does not hold whole elements."""
    cdef Kind kind
    cdef int size
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(raw)
    cdef Py_ssize_t length = len(raw)
    cdef Py_ssize_t count
    cdef bytes out
    cdef uint8_t* start
    cdef uint8_t* end
    kind, size = KINDS[code]
    count = count_strings(p, length) if kind == STRINGS else length // size
    if count < 0 or (kind != STRINGS and count * size != length):
        raise ValueError("no whole elements")
    # a head of five bytes at most for each list; a byte more than its own for each number, and two for a byte
    out = PyBytes_FromStringAndSize(NULL, 5 + 5 * count + 2 * length if kind == STRINGS else 5 + count + length)
    start = <uint8_t*> PyBytes_AS_STRING(out)
    with nogil:
        if kind == STRINGS:
            end = put_strings(start, p, count)
        else:
            end = put_numbers(start, kind, size, p, count)
    return out if end - start == len(out) else out[: end - start]


# ---- list to raw form ---------------------------------------------------------------------------------------------

cdef inline Py_ssize_t read_list(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t* count) noexcept nogil:
    """The offset after a list's head, -1 if there is none or it declares more elements than there are bytes."""
    cdef int size
    if at >= end:
        return -1
    if p[at] & 0xF0 == 0x90:
        count[0] = p[at] & 15
        at += 1
    elif p[at] == 0xDC or p[at] == 0xDD:
        size = 2 if p[at] == 0xDC else 4
        if end - at - 1 < size:
            return -1
        count[0] = <Py_ssize_t> big_endian(p + at + 1, size)
        at += 1 + size
    else:
        return -1
    return at if count[0] <= end - at else -1


cdef inline Py_ssize_t read_integer(
    const uint8_t* p, Py_ssize_t at, Py_ssize_t end, uint64_t* value, bint* negative
) noexcept nogil:
    """The offset after an integer of any form, -1 otherwise. A negative one is in two's complement."""
    cdef uint8_t code
    cdef int size
    if at >= end:
        return -1
    code = p[at]
    negative[0] = False
    if code < 0x80:
        value[0] = code
        return at + 1
    if code >= 0xE0:
        value[0] = <uint64_t> <int64_t> <int8_t> code
        negative[0] = True
        return at + 1
    if not 0xCC <= code <= 0xD3:
        return -1
    size = 1 << (code & 3)
    if end - at - 1 < size:
        return -1
    value[0] = big_endian(p + at + 1, size)
    if code >= 0xD0 and p[at + 1] & 0x80:
        negative[0] = True
        if size < 8:
            value[0] |= (<uint64_t> -1) << (8 * size)
    return at + 1 + size


cdef inline bint fits(uint64_t value, bint negative, Kind kind, int size) noexcept nogil:
    if kind == UNSIGNED:
        return not negative and (size == 8 or not value >> (8 * size))
    if negative:
        return size == 8 or <int64_t> value >= -(<int64_t> 1 << (8 * size - 1))
    return not value >> (8 * size - 1)


cdef Py_ssize_t read_float(
    const uint8_t* p, Py_ssize_t at, Py_ssize_t end, int size, uint8_t* out
) noexcept nogil:
    cdef uint64_t bits
    cdef uint32_t half
    cdef double number
    cdef float single
    cdef bint negative = False
    if at < end and p[at] == 0xCB and end - at >= 9:
        bits = big_endian(p + at + 1, 8)
        memcpy(&number, &bits, 8)
        at += 9
    elif at < end and p[at] == 0xCA and end - at >= 5:
        half = <uint32_t> big_endian(p + at + 1, 4)
        if size == 4:
            memcpy(out, &half, 4)
            return at + 5
        memcpy(&single, &half, 4)
        number = single
        at += 5
    else:
        at = read_integer(p, at, end, &bits, &negative)
        if at < 0:
            return -1
        number = <double> <int64_t> bits if negative else <double> bits
    if size == 4:
        single = <float> number
        memcpy(out, &single, 4)
    else:
        memcpy(out, &number, 8)
    return at


cdef Py_ssize_t read_floats(
    const uint8_t* p, Py_ssize_t* at, Py_ssize_t end, int size, Py_ssize_t most, uint8_t** to
) noexcept nogil:
    """Reads floats of their own width while there are any, `most` at most; returns how many."""
    cdef uint8_t code = 0xCA if size == 4 else 0xCB
    cdef Py_ssize_t step = 1 + size
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t here = at[0]
    cdef uint8_t* out = to[0]
    cdef uint64_t wide
    cdef uint32_t narrow
    while count < most and end - here >= step and p[here] == code:
        if size == 4:
            narrow = <uint32_t> big_endian(p + here + 1, 4)
            memcpy(out, &narrow, 4)
        else:
            wide = big_endian(p + here + 1, 8)
            memcpy(out, &wide, 8)
        here += step
        out += size
        count += 1
    at[0] = here
    to[0] = out
    return count


cdef Py_ssize_t read_number(
    const uint8_t* p, Py_ssize_t at, Py_ssize_t end, Kind kind, int size, uint8_t* out
) noexcept nogil:
    """The offset after an element written to `out`, -1 if it is none of its kind."""
    cdef uint64_t value = 0
    cdef bint negative = False
    if kind == BOOLEAN:
        if at >= end or (p[at] != 0xC2 and p[at] != 0xC3):
            return -1
        out[0] = p[at] & 1
        return at + 1
    if kind == SINGLE or kind == DOUBLE:
        return read_float(p, at, end, size, out)
    at = read_integer(p, at, end, &value, &negative)
    if at < 0 or not fits(value, negative, kind, size):
        return -1
    memcpy(out, &value, size)
    return at


cdef Py_ssize_t read_bytes(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, uint8_t* out) noexcept nogil:
    """One byte string, behind its length: `bin`, or a list of bytes."""
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t i
    cdef uint64_t value = 0
    cdef bint negative = False
    cdef int size
    cdef uint32_t prefix
    if at < end and 0xC4 <= p[at] <= 0xC6:
        size = 1 << (p[at] - 0xC4)
        if end - at - 1 < size:
            return -1
        length = <Py_ssize_t> big_endian(p + at + 1, size)
        at += 1 + size
        if length > end - at:
            return -1
        memcpy(out + 4, p + at, length)
        at += length
    else:
        at = read_list(p, at, end, &length)
        if at < 0:
            return -1
        for i in range(length):
            at = read_integer(p, at, end, &value, &negative)
            if at < 0 or negative or value > 0xFF:
                return -1
            out[4 + i] = <uint8_t> value
    prefix = <uint32_t> length
    memcpy(out, &prefix, 4)
    return at


def unpack_values(str code not None, packed not None):
    """(count, raw form) of one MessagePack list. Raises BadElement."""
    cdef const uint8_t[::1] view = packed
    cdef Py_ssize_t end = view.shape[0]
    cdef const uint8_t* p = &view[0] if end else NULL
    cdef Kind kind
    cdef int size
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t at = read_list(p, 0, end, &count)
    cdef Py_ssize_t i = 0
    cdef bytes out
    cdef uint8_t* start
    cdef uint8_t* to
    cdef uint32_t length
    kind, size = KINDS[code]
    if at < 0:
        raise BadElement(-1)
    out = PyBytes_FromStringAndSize(NULL, 4 * count + end if kind == STRINGS else count * size)
    start = to = <uint8_t*> PyBytes_AS_STRING(out)
    with nogil:
        while i < count:
            if kind == SINGLE or kind == DOUBLE:
                i += read_floats(p, &at, end, size, count - i, &to)
                if i == count:
                    break
            if kind == STRINGS:
                at = read_bytes(p, at, end, to)
                if at < 0:
                    break
                memcpy(&length, to, 4)
                to += 4 + length
            else:
                at = read_number(p, at, end, kind, size, to)
                if at < 0:
                    break
                to += size
            i += 1
    if at < 0:
        raise BadElement(i)
    if at != end:
        raise BadElement(-1)
    return count, out if to - start == len(out) else out[: to - start]


# ---- what stands around the lists ---------------------------------------------------------------------------------

cdef enum:
    DEEPEST = 32
    LIFTED = 0x56


cdef inline bint is_list(uint8_t code) noexcept nogil:
    return code & 0xF0 == 0x90 or code == 0xDC or code == 0xDD


def lift_lists(bytes packed not None):
    """(MessagePack without them, where they are) of the lists that stand under a key `values`, wherever it is.

    In its place each leaves an extension of type 0x56 with its number in the second result, which holds (offset, length).
    So a typed decoder need not look over a million numbers. Raises ValueError for what is no single value, or is nested
    deeper than 32.
    """
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(packed)
    cdef Py_ssize_t end = len(packed)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t after, size
    # the extension takes five bytes more than the smallest list, which is eight with its key
    cdef bytes out = PyBytes_FromStringAndSize(NULL, end + end // 4 * 3 + 16)
    cdef uint8_t* start = <uint8_t*> PyBytes_AS_STRING(out)
    cdef uint8_t* to = start
    cdef uint64_t[DEEPEST] wanted
    cdef bint[DEEPEST] is_map
    cdef int depth = 0
    cdef bint is_key
    cdef uint64_t length
    cdef const Shape* shape
    cdef list places = []
    wanted[0] = 1
    is_map[0] = False
    while True:
        while depth and not wanted[depth]:
            depth -= 1
        if not wanted[depth]:
            break
        is_key = is_map[depth] and wanted[depth] % 2 == 0
        wanted[depth] -= 1
        if at >= end or not SHAPES[p[at]].valid or end - at - 1 < SHAPES[p[at]].length_bytes:
            raise ValueError("malformed MessagePack")
        shape = &SHAPES[p[at]]
        length = big_endian(p + at + 1, shape.length_bytes) if shape.length_bytes else 0
        if shape.values or shape.counts or is_list(p[at]) or p[at] == 0x80:
            if depth + 1 == DEEPEST:
                raise ValueError("nested too deep")
            depth += 1
            wanted[depth] = shape.values + shape.counts * length
            is_map[depth] = p[at] & 0xF0 == 0x80 or p[at] >= 0xDE and p[at] <= 0xDF
            size = 1 + shape.length_bytes
        else:
            if length > <uint64_t> end:
                raise ValueError("malformed MessagePack")
            size = 1 + shape.length_bytes + shape.payload + <Py_ssize_t> length
        if size > end - at:
            raise ValueError("malformed MessagePack")
        memcpy(to, p + at, size)
        to += size
        at += size
        if is_key and size == 7 and memcmp(p + at - 7, b"\xa6values", 7) == 0 and at < end and is_list(p[at]):
            after = skip_value(p, at, end)
            if after < 0:
                raise ValueError("malformed MessagePack")
            to[0] = 0xD6
            to[1] = LIFTED
            to = put_big_endian(to + 2, len(places), 4)
            places.append((at, after - at))
            wanted[depth] -= 1
            at = after
    if at != end:
        raise ValueError("malformed MessagePack")
    return out[: to - start], places
