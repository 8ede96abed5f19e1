# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a JSON text holds that parsers disagree about, found in one pass without making an object of it.

The text is one that a parser has taken (RFC 8259); of any other bytes the answer means nothing, but they do no harm.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport isinf
from libc.stdint cimport UINT64_MAX, uint64_t
from libc.string cimport memchr, memcmp

from dynamo_fe._cext.json_text cimport string_end

cdef enum:
    # deeper levels are not told apart
    DEEPEST = 128
    # objects further inside are not looked at for keys that stand twice
    KEY_LEVELS = 3
    MOST_KEYS = 64
    # `1e309` is the shortest number that is too large, 309 digits have the shortest without an exponent
    BEYOND_BYTES = 5
    BEYOND_DIGITS = 309
    LARGEST_POWER = 308
    # any exponent from here on is as good as this one, and nothing overflows
    MOST_EXPONENT = 1 << 30
    # below that the lock is not worth giving away
    LONG_BYTES = 1 << 20

# correctly rounded, which C's `pow` need not be
cdef double POWERS_OF_TEN[LARGEST_POWER + 1]
for power in range(LARGEST_POWER + 1):
    POWERS_OF_TEN[power] = float(f"1e{power}")

cdef struct Key:
    const char* start
    Py_ssize_t size

cdef struct Scan:
    int depth
    bint repeats
    bint minus_zero
    Py_ssize_t beyond


cdef inline const char* number_end(const char* at, const char* end) noexcept nogil:
    """What follows the number whose first digit is at `at`."""
    while at < end and (c'0' <= at[0] <= c'9' or at[0] in (c'.', c'e', c'E', c'+', c'-')):
        at += 1
    return at


cdef bint beyond_double(const char* at, Py_ssize_t size) noexcept nogil:
    """Whether the original refuses the number: its digits as far as they fit into 64 bits, as a double, times a power of
    ten are infinite. That is so a little before the largest double: for 1.7976931348623158e308.

    Source: serde_json 1.0, `parse_integer`, `parse_decimal` and `f64_from_parts` without `float_roundtrip`.
    """
    if size < BEYOND_BYTES:
        return False
    if size < BEYOND_DIGITS and memchr(at, c'e', size) == NULL and memchr(at, c'E', size) == NULL:
        return False
    cdef const char* end = at + size
    cdef uint64_t significand = 0
    cdef Py_ssize_t power = 0, exponent = 0
    cdef bint in_fraction = False, negative
    while at < end and at[0] != c'e' and at[0] != c'E':
        if at[0] == c'.':
            in_fraction = True
        elif (power <= 0 or in_fraction) and significand <= (UINT64_MAX - (at[0] - c'0')) // 10:
            significand = significand * 10 + (at[0] - c'0')
            power -= in_fraction
        elif in_fraction:
            while at < end and at[0] != c'e' and at[0] != c'E':
                at += 1
            break
        else:
            power += 1
        at += 1
    at += 1
    negative = at < end and at[0] == c'-'
    while at < end:
        if c'0' <= at[0] <= c'9' and exponent < MOST_EXPONENT:
            exponent = exponent * 10 + (at[0] - c'0')
        at += 1
    power += -exponent if negative else exponent
    if significand == 0 or power < 0:
        return False
    return power > LARGEST_POWER or isinf(<double>significand * POWERS_OF_TEN[power])


cdef inline bint known(Key* keys, int count, const char* start, Py_ssize_t size) noexcept nogil:
    cdef int i
    for i in range(count):
        if keys[i].size == size and memcmp(keys[i].start, start, size) == 0:
            return True
    return False


cdef Scan scan_text(const char* at, const char* end) noexcept nogil:
    cdef Key keys[KEY_LEVELS][MOST_KEYS]
    cdef int counts[KEY_LEVELS]
    cdef bint is_object[DEEPEST]
    cdef Scan found = Scan(0, False, False, 0)
    cdef const char* text = at
    cdef int level = 0
    cdef bint key_next = False
    cdef const char* start
    cdef Py_ssize_t size
    cdef char c
    while at < end:
        c = at[0]
        at += 1
        if c == c'"':
            start = at
            at = string_end(at, end)
            size = at - start
            at += 1
            if key_next and level <= KEY_LEVELS:
                if counts[level - 1] == MOST_KEYS or memchr(start, c'\\', size) != NULL:
                    found.repeats = True
                elif known(keys[level - 1], counts[level - 1], start, size):
                    found.repeats = True
                else:
                    keys[level - 1][counts[level - 1]] = Key(start, size)
                    counts[level - 1] += 1
            key_next = False
        elif c == c',':
            key_next = level > 0 and is_object[level - 1]
        elif c == c'{' or c == c'[':
            if level == DEEPEST - 1:
                found.depth = DEEPEST
                return found
            is_object[level] = key_next = c == c'{'
            if level < KEY_LEVELS:
                counts[level] = 0
            level += 1
            if level > found.depth:
                found.depth = level
        elif c == c'}' or c == c']':
            key_next = False
            if level:
                level -= 1
        elif c == c'-' and at < end and at[0] == c'0':
            if at + 1 == end or (at[1] != c'.' and at[1] != c'e' and at[1] != c'E'):
                found.minus_zero = True
        elif c'0' <= c <= c'9':
            start = at - 1
            at = number_end(at, end)
            if not found.beyond and beyond_double(start, at - start):
                found.beyond = at - text
    return found


cdef Py_ssize_t count_text(const char* at, const char* end) noexcept nogil:
    cdef Py_ssize_t count = 1
    cdef char c
    while at < end:
        c = at[0]
        at += 1
        if c == c'"':
            at = string_end(at, end) + 1
        elif c == c',' or c == c'[' or c == c'{':
            count += 1
    return count


def count_values(bytes text not None):
    """The most values that a text can have: objects, arrays, their members, and itself; an empty container counts twice.

    Gives the lock away: a gigabyte takes a second or two.
    """
    cdef const char* start = PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    with nogil:
        size = count_text(start, start + size)
    return size


def scan_json(bytes text not None):
    """(depth, repeats, minus zero, beyond) of a text.

    The depth of nesting counts from 1 for a flat object or array and ends at 128: then the rest is not looked at.
    `repeats`: an object on the first three levels may name a key twice (keys with escapes and more than 64 are not
    compared). `minus zero`: the integer `-0` stands in it.
    `beyond`: the bytes up to the end of the first number that is too large, 0 when there is none.
    """
    cdef const char* start = PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    cdef Scan found
    if size < LONG_BYTES:
        found = scan_text(start, start + size)
    else:
        with nogil:
            found = scan_text(start, start + size)
    return found.depth, found.repeats, found.minus_zero, found.beyond
