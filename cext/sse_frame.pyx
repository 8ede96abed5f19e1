# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Server-sent-event frames of a token stream: a constant head and tail around one JSON string.

Format: WHATWG HTML "Server-sent events" (a `data:` line, then an empty line); the string is escaped as RFC 8259 asks, and
U+0085, U+2028 and U+2029 as well, since readers that split on Unicode line ends would cut the frame there.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef const char* HEX = b"0123456789abcdef"

# 0: copied as it is; 1: \u00XX; 2: may begin U+0085 or U+2028/9; otherwise the letter after the backslash
cdef uint8_t ESCAPE[256]


cdef void fill_table() noexcept:
    cdef int byte
    for byte in range(256):
        ESCAPE[byte] = 1 if byte < 0x20 else 0
    ESCAPE[0x08] = ord("b")
    ESCAPE[0x09] = ord("t")
    ESCAPE[0x0A] = ord("n")
    ESCAPE[0x0C] = ord("f")
    ESCAPE[0x0D] = ord("r")
    ESCAPE[0x22] = ord('"')
    ESCAPE[0x5C] = ord("\\")
    ESCAPE[0xC2] = 2
    ESCAPE[0xE2] = 2


fill_table()


cdef inline int line_end(const uint8_t* text, Py_ssize_t left) noexcept nogil:
    """Bytes taken by a Unicode line end that starts here, 0 if none does."""
    if text[0] == 0xC2:
        return 2 if left >= 2 and text[1] == 0x85 else 0
    if left >= 3 and text[1] == 0x80 and (text[2] == 0xA8 or text[2] == 0xA9):
        return 3
    return 0


cdef Py_ssize_t escaped_size(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t total = size
    cdef uint8_t kind
    cdef int taken
    while i < size:
        kind = ESCAPE[text[i]]
        if kind == 0:
            i += 1
        elif kind == 1:
            total += 5
            i += 1
        elif kind == 2:
            taken = line_end(text + i, size - i)
            if taken:
                total += 6 - taken
                i += taken
            else:
                i += 1
        else:
            total += 1
            i += 1
    return total


cdef char* write_escaped(char* out, const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t run = 0
    cdef uint8_t kind
    cdef int taken
    while i < size:
        kind = ESCAPE[text[i]]
        if kind == 0:
            i += 1
            continue
        if kind == 2:
            taken = line_end(text + i, size - i)
            if taken == 0:
                i += 1
                continue
        else:
            taken = 1
        memcpy(out, text + run, i - run)
        out += i - run
        out[0] = b"\\"
        if kind == 1:
            memcpy(out + 1, b"u00", 3)
            out[4] = HEX[text[i] >> 4]
            out[5] = HEX[text[i] & 15]
            out += 6
        elif kind == 2:
            if taken == 2:
                memcpy(out + 1, b"u0085", 5)
            else:
                memcpy(out + 1, b"u2028", 5)
                if text[i + 2] == 0xA9:
                    out[5] = b"9"
            out += 6
        else:
            out[1] = <char> kind
            out += 2
        i += taken
        run = i
    memcpy(out, text + run, size - run)
    return out + (size - run)


def json_string(str text not None):
    """The JSON string of `text` as UTF-8 bytes, quotes included. Raises UnicodeEncodeError for a lone surrogate."""
    cdef Py_ssize_t size = 0
    cdef const uint8_t* utf8 = <const uint8_t*> PyUnicode_AsUTF8AndSize(text, &size)
    cdef Py_ssize_t inner = escaped_size(utf8, size)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, inner + 2)
    cdef char* at = PyBytes_AS_STRING(out)
    at[0] = b'"'
    if inner == size:
        memcpy(at + 1, utf8, size)
    else:
        write_escaped(at + 1, utf8, size)
    at[inner + 1] = b'"'
    return out


cdef class TextFramer:
    """Makes the frames of one choice of one stream: head + JSON string of the text + tail.

    `head` ends right before the string's opening quote, `tail` begins right after its closing one and ends with the empty
    line of the event. Both are built once a stream.
    """
    cdef bytes _head
    cdef bytes _tail

    def __init__(self, bytes head not None, bytes tail not None):
        self._head = head
        self._tail = tail

    cpdef bytes frame(self, str text):
        """One frame. Raises UnicodeEncodeError for a lone surrogate."""
        cdef Py_ssize_t size = 0
        cdef const uint8_t* utf8 = <const uint8_t*> PyUnicode_AsUTF8AndSize(text, &size)
        cdef Py_ssize_t inner = escaped_size(utf8, size)
        cdef Py_ssize_t head = PyBytes_GET_SIZE(self._head)
        cdef Py_ssize_t tail = PyBytes_GET_SIZE(self._tail)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, head + inner + tail + 2)
        cdef char* at = PyBytes_AS_STRING(out)
        memcpy(at, PyBytes_AS_STRING(self._head), head)
        at += head
        at[0] = b'"'
        if inner == size:
            memcpy(at + 1, utf8, size)
        else:
            write_escaped(at + 1, utf8, size)
        at += inner + 1
        at[0] = b'"'
        memcpy(at + 1, PyBytes_AS_STRING(self._tail), tail)
        return out
