# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Takes the long texts out of a JSON body without holding the GIL, so that a parser has little left to do under it.

A parser keeps the GIL from end to end: 40 MB of text are 40 to 110 ms in which nobody else is served. Here a text is
checked and decoded with the lock given away; only room for it is made under the lock.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcpy

from dynamo_fe._cext.json_text cimport string_end

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)

cdef enum:
    # of one body; more stay where they are
    MOST_TEXTS = 64
    BAD = -1

# where the inside of a string begins and ends, its characters and the largest of them
cdef struct Text:
    Py_ssize_t start
    Py_ssize_t end
    Py_ssize_t size
    int largest


cdef inline int hex_digits(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """The number that four digits stand for."""
    cdef int value = 0, i
    cdef uint8_t c
    if end - at < 4:
        return BAD
    for i in range(4):
        c = at[i]
        value <<= 4
        if c'0' <= c <= c'9':
            value += c - c'0'
        elif c'a' <= c <= c'f':
            value += c - c'a' + 10
        elif c'A' <= c <= c'F':
            value += c - c'A' + 10
        else:
            return BAD
    return value


cdef int escaped(const uint8_t** place, const uint8_t* end) noexcept nogil:
    """The character of the escape whose backslash has been read; lone surrogates are bad."""
    cdef const uint8_t* at = place[0]
    cdef int code, low
    cdef uint8_t c
    if at == end:
        return BAD
    c = at[0]
    place[0] = at + 1
    if c == c'"' or c == c'\\' or c == c'/':
        return c
    if c == c'n':
        return 10
    if c == c't':
        return 9
    if c == c'r':
        return 13
    if c == c'b':
        return 8
    if c == c'f':
        return 12
    if c != c'u':
        return BAD
    code = hex_digits(at + 1, end)
    place[0] = at + 5
    if code < 0xD800 or code > 0xDFFF:
        return code
    if code > 0xDBFF or end - at < 11 or at[5] != c'\\' or at[6] != c'u':
        return BAD
    low = hex_digits(at + 7, end)
    place[0] = at + 11
    if low < 0xDC00 or low > 0xDFFF:
        return BAD
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)


cdef int beyond_ascii(const uint8_t** place, const uint8_t* end) noexcept nogil:
    """The character whose UTF-8 begins at the place, which is behind it then."""
    cdef const uint8_t* at = place[0]
    cdef int lead = at[0], more, code, i
    if 0xC2 <= lead <= 0xDF:
        more, code = 1, lead & 0x1F
    elif 0xE0 <= lead <= 0xEF:
        more, code = 2, lead & 0x0F
    elif 0xF0 <= lead <= 0xF4:
        more, code = 3, lead & 0x07
    else:
        return BAD
    if end - at <= more:
        return BAD
    for i in range(1, more + 1):
        if at[i] & 0xC0 != 0x80:
            return BAD
        code = code << 6 | (at[i] & 0x3F)
    place[0] = at + more + 1
    # overlong, a surrogate, or none
    if (more == 2 and code < 0x800) or (more == 3 and (code < 0x10000 or code > 0x10FFFF)) or 0xD800 <= code <= 0xDFFF:
        return BAD
    return code


cdef inline int next_character(const uint8_t** place, const uint8_t* end) noexcept nogil:
    cdef uint8_t c = place[0][0]
    if c >= 0x80:
        return beyond_ascii(place, end)
    place[0] += 1
    if c == c'\\':
        return escaped(place, end)
    if c < 0x20:
        return BAD
    return c


cdef bint measure(const uint8_t* body, Text* text) noexcept nogil:
    """Whether it is a text that a strict parser takes."""
    cdef const uint8_t* at = body + text.start
    cdef const uint8_t* end = body + text.end
    cdef int code
    text.size = text.largest = 0
    while at < end:
        code = next_character(&at, end)
        if code == BAD:
            return False
        text.largest = max(text.largest, code)
        text.size += 1
    return True


cdef void fill(const uint8_t* body, Text* text, void* room, int kind) noexcept nogil:
    cdef const uint8_t* at = body + text.start
    cdef const uint8_t* end = body + text.end
    cdef Py_ssize_t i
    for i in range(text.size):
        if kind == 1:
            (<uint8_t*>room)[i] = next_character(&at, end)
        elif kind == 2:
            (<uint16_t*>room)[i] = next_character(&at, end)
        else:
            (<uint32_t*>room)[i] = next_character(&at, end)


cdef int find(const uint8_t* body, Py_ssize_t size, Py_ssize_t least, Text* texts) noexcept nogil:
    """The texts of at least so many bytes that are no keys; how many."""
    cdef const uint8_t* end = body + size
    cdef const uint8_t* at = body
    cdef const uint8_t* start
    cdef const uint8_t* behind
    cdef int count = 0
    while count < MOST_TEXTS:
        at = <const uint8_t*>memchr(at, c'"', end - at)
        if at == NULL:
            break
        start = at + 1
        at = <const uint8_t*>string_end(<const char*>start, <const char*>end)
        if at == end:
            break
        at += 1
        if at - start <= least:
            continue
        behind = at
        while behind < end and (behind[0] == c' ' or behind[0] == c'\n' or behind[0] == c'\t' or behind[0] == c'\r'):
            behind += 1
        texts[count] = Text(start - body, at - 1 - body, 0, 0)
        if (behind == end or behind[0] != c':') and measure(body, &texts[count]):
            count += 1
    return count


def lift_texts(bytes body not None, Py_ssize_t least_bytes, bytes mark not None):
    """(the body with `mark` and a number in place of every long text, those texts).

    Long is a string of at least `least_bytes` between its quotes that is no key, and of those the first 64; one that a
    strict parser would refuse stays where it is. `mark` must need no escape. Of a body that is no JSON anything may be
    lifted, but what is left of it is no JSON either, unless the texts alone were wrong.
    """
    cdef Text texts[MOST_TEXTS]
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body), at = 0
    cdef const uint8_t* source = <const uint8_t*>PyBytes_AS_STRING(body)
    cdef int count, i, kind
    cdef void* room
    with nogil:
        count = find(source, size, least_bytes, texts)
    lifted = []
    rest = []
    for i in range(count):
        text = PyUnicode_New(texts[i].size, texts[i].largest)
        room, kind = PyUnicode_DATA(text), PyUnicode_KIND(text)
        with nogil:
            fill(source, &texts[i], room, kind)
        lifted.append(text)
        rest.append(PyBytes_FromStringAndSize(<const char*>source + at, texts[i].start - at))
        rest.append(b"%b%d" % (mark, i))
        at = texts[i].end
    rest.append(PyBytes_FromStringAndSize(<const char*>source + at, size - at))
    return b"".join(rest), lifted
