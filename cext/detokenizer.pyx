# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Token ids to text for byte-level BPE, by a table of each token's bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_Check
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int16_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

cdef enum:
    MAX_TOKENS = 1 << 24      # more than any vocabulary; bounds what a broken file can make us allocate
    STACK_BYTES = 1024
    MOST_REPLACED = 256       # characters of a text that is no UTF-8, held until it is
    MAPPED_CODE_POINTS = 324  # the byte alphabet of byte-level BPE ends at U+0143

cdef enum:
    OK = 0
    MALFORMED = 1
    BAD_ID = 2
    NO_MEMORY = 3

cdef struct Entry:
    uint32_t start
    uint32_t length

include "vocabulary.pxi"


cdef inline int incomplete_tail(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """How many bytes at the end are the beginning of a valid UTF-8 sequence that more bytes could complete."""
    cdef int back, needed
    cdef uint8_t lead, second
    for back in range(1, 4):
        if back > size:
            return 0
        lead = text[size - back]
        if lead < 0x80:
            return 0
        if lead < 0xC0:
            continue
        needed = 2 if lead < 0xE0 else (3 if lead < 0xF0 else 4)
        if lead < 0xC2 or lead > 0xF4 or back >= needed:
            return 0
        if back > 1:
            second = text[size - back + 1]
            if lead == 0xE0 and second < 0xA0 or lead == 0xED and second > 0x9F:
                return 0
            if lead == 0xF0 and second < 0x90 or lead == 0xF4 and second > 0x8F:
                return 0
        return back
    return 0


cdef class DecodeTable:
    """The bytes of every token of a byte-level BPE vocabulary, and which tokens are special."""

    cdef Entry* entries
    cdef uint8_t* special
    cdef uint8_t* blob
    cdef Py_ssize_t size, capacity, used, room

    def __cinit__(self):
        self.entries = NULL
        self.special = NULL
        self.blob = NULL
        self.size = self.capacity = self.used = self.room = 0

    def __init__(self, list tokens, set special):
        cdef Py_ssize_t token_id
        cdef bytes token
        self._reserve_blob(sum([len(token) for token in tokens]))
        for token_id, token in enumerate(tokens):
            self._check(self._place(token_id, PyBytes_AS_STRING(token), PyBytes_GET_SIZE(token), False))
        self._finish(special)

    @staticmethod
    def from_vocabulary(bytes vocab_json, list added, set special):
        cdef DecodeTable table = DecodeTable.__new__(DecodeTable)
        cdef Scanner scan
        cdef int status
        cdef bytes spelling
        cdef Py_ssize_t token_id
        table._reserve_blob(PyBytes_GET_SIZE(vocab_json) + sum([len(spelling) for _, spelling in added]))
        scan.text = <const uint8_t*> PyBytes_AS_STRING(vocab_json)
        scan.at = 0
        scan.size = PyBytes_GET_SIZE(vocab_json)
        with nogil:
            status = table._scan(&scan)
        table._check(status)
        for token_id, spelling in added:
            table._check(table._place(token_id, PyBytes_AS_STRING(spelling), PyBytes_GET_SIZE(spelling), True))
        table._finish(special)
        return table

    def __dealloc__(self):
        free(self.entries)
        free(self.special)
        free(self.blob)

    def __len__(self):
        return self.size

    def token_bytes(self, object token_id):
        cdef Py_ssize_t index = self._index(token_id)
        if index < 0:
            return b""
        return PyBytes_FromStringAndSize(<char*> self.blob + self.entries[index].start, self.entries[index].length)

    def is_special(self, object token_id):
        cdef Py_ssize_t index = self._index(token_id)
        return index >= 0 and self.special[index] != 0

    cdef int _check(self, int status) except -1:
        if status == NO_MEMORY:
            raise MemoryError
        if status == BAD_ID:
            raise ValueError("a token id of the vocabulary is out of range")
        if status == MALFORMED:
            raise ValueError("the vocabulary is not a JSON object of token ids")
        return 0

    cdef int _reserve_blob(self, Py_ssize_t size) except -1:
        if size > 0x7FFFFFFF:
            raise ValueError("the vocabulary is too large")
        self.room = size
        self.blob = <uint8_t*> malloc(size + 1)
        return self._check(OK if self.blob != NULL else NO_MEMORY)

    cdef int _finish(self, set special) except -1:
        """Give back what was reserved in excess, mark the special tokens."""
        cdef void* trimmed = realloc(self.blob, self.used + 1)
        if trimmed != NULL:
            self.blob = <uint8_t*> trimmed
        trimmed = realloc(self.entries, (self.size + 1) * sizeof(Entry))
        if trimmed != NULL:
            self.entries = <Entry*> trimmed
            self.capacity = self.size + 1
        self.special = <uint8_t*> calloc(self.size + 1, 1)
        self._check(OK if self.special != NULL else NO_MEMORY)
        cdef Py_ssize_t index
        for token_id in special:
            index = self._index(token_id)
            if index >= 0:
                self.special[index] = 1
        return 0

    cdef int _grow(self, Py_ssize_t token_id) noexcept nogil:
        cdef Py_ssize_t capacity
        cdef void* grown
        if token_id < 0 or token_id >= MAX_TOKENS:
            return BAD_ID
        if token_id >= self.capacity:
            capacity = self.capacity * 2
            if capacity <= token_id:
                capacity = token_id + 1024
            grown = realloc(self.entries, capacity * sizeof(Entry))
            if grown == NULL:
                return NO_MEMORY
            self.entries = <Entry*> grown
            memset(self.entries + self.capacity, 0, (capacity - self.capacity) * sizeof(Entry))
            self.capacity = capacity
        if token_id >= self.size:
            self.size = token_id + 1
        return OK

    cdef int _place(self, Py_ssize_t token_id, const char* token, Py_ssize_t size, bint spelled) noexcept nogil:
        """Append a token's bytes; `spelled`: they are a spelling in the byte alphabet."""
        cdef int status = self._grow(token_id)
        if status != OK or self.used + size > self.room:
            return status or MALFORMED
        memcpy(self.blob + self.used, token, size)
        if spelled:
            size = map_to_bytes(self.blob + self.used, size)
        self.entries[token_id].start = <uint32_t> self.used
        self.entries[token_id].length = <uint32_t> size
        self.used += size
        return OK

    cdef int _scan(self, Scanner* scan) noexcept nogil:
        """Read ``{"spelling": id, …}``."""
        cdef Py_ssize_t size, token_id
        cdef int status
        if next_byte(scan) != 123:
            return MALFORMED
        scan.at += 1
        if next_byte(scan) == 125:
            return OK
        while True:
            size = take_string(scan, self.blob + self.used)
            if size < 0 or next_byte(scan) != 58:
                return MALFORMED
            scan.at += 1
            token_id = take_id(scan)
            if token_id < 0:
                return MALFORMED
            status = self._grow(token_id)
            if status != OK:
                return status
            size = map_to_bytes(self.blob + self.used, size)
            self.entries[token_id].start = <uint32_t> self.used
            self.entries[token_id].length = <uint32_t> size
            self.used += size
            if next_byte(scan) == 125:
                return OK
            if next_byte(scan) != 44:
                return MALFORMED
            scan.at += 1

    cdef inline Py_ssize_t _index(self, object token_id) except -2:
        """Where a token is in the table; -1: no such token."""
        cdef int overflow = 0
        cdef long long value
        if not PyLong_Check(token_id):
            raise TypeError("token ids must be integers")
        value = PyLong_AsLongLongAndOverflow(token_id, &overflow)
        if overflow or value < 0 or value >= self.size:
            return -1
        return <Py_ssize_t> value


cdef class Detokenizer:
    """Text of one choice, token by token; a character whose bytes have not all come is held back, and so is U+FFFD at
    the end of the text until other text follows it.
    """

    cdef DecodeTable table
    cdef bint skip_special
    cdef uint8_t held[4]
    cdef readonly int held_bytes
    cdef str replaced

    def __init__(self, DecodeTable table not None, bint skip_special):
        self.table = table
        self.skip_special = skip_special
        self.held_bytes = 0
        self.replaced = ""

    cdef inline Py_ssize_t _visible(self, object token_id) except -2:
        cdef Py_ssize_t index = self.table._index(token_id)
        if index >= 0 and self.skip_special and self.table.special[index]:
            return -1
        return index

    def push(self, list ids):
        cdef Py_ssize_t count = PyList_GET_SIZE(ids), index
        cdef const uint8_t* text
        cdef Entry entry
        if count == 1 and self.held_bytes == 0:
            index = self._visible(<object> PyList_GET_ITEM(ids, 0))
            if index < 0:
                return ""
            entry = self.table.entries[index]
            text = self.table.blob + entry.start
            if entry.length > 0 and text[entry.length - 1] < 0x80 and not self.replaced:
                return PyUnicode_DecodeUTF8(<const char*> text, entry.length, "replace")
            if incomplete_tail(text, entry.length) == 0:
                return self._settle(PyUnicode_DecodeUTF8(<const char*> text, entry.length, "replace"))
        return self._settle(self._push_many(ids, count))

    def flush(self):
        cdef int size = self.held_bytes
        cdef str replaced = self.replaced
        self.held_bytes = 0
        self.replaced = ""
        return replaced + PyUnicode_DecodeUTF8(<const char*> self.held, size, "replace")

    def forget_replaced(self):
        self.replaced = ""

    cdef str _settle(self, str text):
        """Hold U+FFFD at the end back: at most MOST_REPLACED of them."""
        cdef Py_ssize_t size, end
        if self.replaced:
            text = self.replaced + text
            self.replaced = ""
        size = end = len(text)
        while end > 0 and size - end < MOST_REPLACED and text[end - 1] == u"\ufffd":
            end -= 1
        if end == size:
            return text
        self.replaced = text[end:]
        return text[:end]

    cdef str _push_many(self, list ids, Py_ssize_t count):
        cdef uint8_t stack[STACK_BYTES]
        cdef uint8_t* buffer = stack
        cdef Py_ssize_t position, index, size = self.held_bytes
        for position in range(count):
            index = self._visible(<object> PyList_GET_ITEM(ids, position))
            if index >= 0:
                size += self.table.entries[index].length
        if size > STACK_BYTES:
            buffer = <uint8_t*> malloc(size)
            if buffer == NULL:
                raise MemoryError
        try:
            memcpy(buffer, self.held, self.held_bytes)
            size = self.held_bytes
            for position in range(count):
                index = self._visible(<object> PyList_GET_ITEM(ids, position))
                if index >= 0:
                    memcpy(buffer + size, self.table.blob + self.table.entries[index].start,
                           self.table.entries[index].length)
                    size += self.table.entries[index].length
            return self._release(buffer, size)
        finally:
            if buffer != stack:
                free(buffer)

    cdef str _release(self, const uint8_t* text, Py_ssize_t size):
        cdef int tail = incomplete_tail(text, size)
        memcpy(self.held, text + size - tail, tail)
        self.held_bytes = tail
        return PyUnicode_DecodeUTF8(<const char*> text, size - tail, "replace")
