# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Frames of the TCP request and response planes: bytes in, values out, no I/O.

Format: Dynamo 1.6.1's two-part frame `u64 H | u64 D | u64 checksum | header JSON[H] | data[D]`, its acknowledgement
`u32 N | text[N]` and its request frame `u16 | path | u16 | headers JSON | u32 | two-part frame`, all big-endian. A peer's
bytes are never trusted: a declared length is held against its limit before anything is allocated for it, and against the
bytes at hand before anything is read.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_FromUnsignedLong
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memmove

cdef enum:
    PREFIX = 24
    HEADER_LIMIT = 1 << 20
    SMALLEST_BUFFER = 4096
    LARGEST_KEPT_BUFFER = 1 << 16


class BadFrame(ValueError):
    """Bytes that are no frame; the text says why. `items` are those that came whole before it in the same feed."""

    def __init__(self, reason, items):
        super().__init__(reason)
        self.items = items


class FrameTooLarge(BadFrame):
    """A request frame declares more bytes than allowed; nothing of its payload has been stored."""

    def __init__(self, declared_bytes, max_bytes, items):
        super().__init__(f"message too large: {declared_bytes} bytes (max: {max_bytes} bytes)", items)
        self.declared_bytes = declared_bytes
        self.max_bytes = max_bytes


class FinalMarker:
    """The type of `FINAL`."""

    def __repr__(self):
        return "FINAL"


FINAL = FinalMarker()
cdef object _FINAL = FINAL


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class OutputItem:
    """One item of a stream. With `raw` set (the bytes of its whole envelope) the other fields are empty."""
    cdef readonly list token_ids
    cdef readonly object finish_reason
    cdef readonly uint32_t index
    cdef readonly bytes usage
    cdef readonly bytes raw

    def __init__(self, list token_ids not None, finish_reason=None, uint32_t index=0, bytes usage=None, bytes raw=None):
        self.token_ids = token_ids
        self.finish_reason = finish_reason
        self.index = index
        self.usage = usage
        self.raw = raw

    def __repr__(self):
        return f"OutputItem({self.token_ids}, {self.finish_reason!r}, {self.index}, {self.usage!r}, {self.raw!r})"


include "msgpack.pxi"
include "json.pxi"
include "item.pxi"


# ---- data frames: {"data": ENVELOPE, "complete_final": bool}; a reason for refusal is returned, None when fine ----

cdef enum:
    UNSAID = -1


cdef str closing(int final, OutputItem item, list out):
    if final == UNSAID:
        return "data frame without complete_final"
    if item is None and not final:
        return "data frame with neither data nor final marker"
    if item is not None:
        out.append(item)
    if final:
        out.append(_FINAL)
    return None


cdef str msgpack_frame(const uint8_t* p, Py_ssize_t end, list out):
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t at, start
    cdef int final = UNSAID
    cdef bint data_seen = False
    cdef OutputItem item = None
    at = read_map(p, 0, end, &entries)
    if at < 0:
        return "data frame is not a map"
    while entries:
        entries -= 1
        at = read_str(p, at, end, &length)
        if at < 0:
            return "data frame with a malformed key"
        start = at + length
        if length == 4 and memcmp(p + at, b"data", 4) == 0:
            if data_seen:
                return "data frame names data twice"
            data_seen = True
            if start < end and p[start] == 0xC0:
                at = start + 1
                continue
            item = OutputItem.__new__(OutputItem)
            at = read_fields(ENVELOPE_FIELDS, ENVELOPE_FIELD_COUNT, p, start, end, item)
            if at < 0:
                at = skip_value(p, start, end)
                if at >= 0:
                    item = raw_item(p + start, at - start)
        elif length == 14 and memcmp(p + at, b"complete_final", 14) == 0:
            if final != UNSAID:
                return "data frame names complete_final twice"
            if start >= end or (p[start] != 0xC2 and p[start] != 0xC3):
                return "complete_final is not a boolean"
            final = p[start] == 0xC3
            at = start + 1
        else:
            at = skip_value(p, start, end)
        if at < 0:
            return "data frame with a malformed value"
    if at != end:
        return "data frame with bytes after its map"
    return closing(final, item, out)


cdef str json_frame(const uint8_t* p, Py_ssize_t end, list out):
    cdef Py_ssize_t at, start, key
    cdef int final = UNSAID
    cdef bint data_seen = False
    cdef OutputItem item = None
    at = skip_space(p, 0, end)
    if at >= end or p[at] != c"{":
        return "data frame is not a map"
    at = skip_space(p, at + 1, end)
    while at >= end or p[at] != c"}":
        key = at + 1
        at = skip_string(p, at, end)
        if at < 0:
            return "data frame with a malformed key"
        length = at - 1 - key
        at = skip_space(p, at, end)
        if at >= end or p[at] != c":":
            return "data frame with a malformed key"
        start = skip_space(p, at + 1, end)
        at = skip_json(p, start, end)
        if at < 0:
            return "data frame with a malformed value"
        if length == 4 and memcmp(p + key, b"data", 4) == 0:
            if data_seen:
                return "data frame names data twice"
            data_seen = True
            if not (at - start == 4 and memcmp(p + start, b"null", 4) == 0):
                item = raw_item(p + start, at - start)
        elif length == 14 and memcmp(p + key, b"complete_final", 14) == 0:
            if final != UNSAID:
                return "data frame names complete_final twice"
            if at - start == 4 and memcmp(p + start, b"true", 4) == 0:
                final = 1
            elif at - start == 5 and memcmp(p + start, b"false", 5) == 0:
                final = 0
            else:
                return "complete_final is not a boolean"
        at = skip_space(p, at, end)
        if at < end and p[at] == c",":
            at = skip_space(p, at + 1, end)
        elif at >= end or p[at] != c"}":
            return "data frame with a malformed value"
    if skip_space(p, at + 1, end) != end:
        return "data frame with bytes after its map"
    return closing(final, item, out)


# ---- the decoders -------------------------------------------------------------------------------------------------

cdef class _Decoder:
    """Keeps the bytes of the one frame that has not come whole; each byte of it is copied once, however it is cut."""
    cdef uint8_t* buffer
    cdef Py_ssize_t have
    cdef Py_ssize_t capacity
    cdef Py_ssize_t need
    cdef str failure

    def __dealloc__(self):
        free(self.buffer)

    cdef Py_ssize_t scan(self, const uint8_t* p, Py_ssize_t size, list out) except -1:
        """Appends every whole frame, sets `need` to what the cut one wants at least, returns the bytes used."""
        raise NotImplementedError

    cdef int fail(self, failure) except -1:
        self.failure = str(failure)
        raise failure

    cdef int keep(self, const uint8_t* p, Py_ssize_t size) except -1:
        cdef Py_ssize_t wanted = self.have + size
        cdef void* moved
        if wanted > self.capacity:
            wanted = max(wanted, SMALLEST_BUFFER, min(2 * self.capacity, self.need))
            moved = realloc(self.buffer, wanted)
            if moved == NULL:
                raise MemoryError
            self.buffer = <uint8_t*> moved
            self.capacity = wanted
        memcpy(self.buffer + self.have, p, size)
        self.have += size
        return 0

    cpdef list feed(self, bytes data):
        """What these bytes complete, in order. Raises BadFrame, and from then on at every call."""
        cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t used
        cdef list out = []
        if self.failure is not None:
            raise BadFrame(self.failure, [])
        if self.have == 0:
            used = self.scan(p, size, out)
            if used < size:
                self.keep(p + used, size - used)
            return out
        self.keep(p, size)
        if self.have < self.need:
            return out
        used = self.scan(self.buffer, self.have, out)
        self.have -= used
        if self.have:
            memmove(self.buffer, self.buffer + used, self.have)
        elif self.capacity > LARGEST_KEPT_BUFFER:
            free(self.buffer)
            self.buffer = NULL
            self.capacity = 0
        return out


@cython.final
cdef class ResponseDecoder(_Decoder):
    """A worker's side of a response connection: control frames as the bytes of their JSON, items, `FINAL`.

    `codec` ("msgpack" or "json") is that of the data parts. Data frames form one run: refused before the first control
    frame (so that a stranger cannot make us store more than a header part), after the final marker, and after a control
    frame that followed data (the sentinel).
    """
    cdef uint64_t max_frame_bytes
    cdef bint is_json
    cdef bint greeted
    cdef bint streaming
    cdef bint sealed

    def __init__(self, str codec not None, Py_ssize_t max_frame_bytes):
        if codec != "msgpack" and codec != "json":
            raise ValueError(f"unknown codec {codec!r}")
        self.is_json = codec == "json"
        self.max_frame_bytes = max_frame_bytes

    cdef str refusal(self, uint64_t header, uint64_t data):
        if header > HEADER_LIMIT:
            return f"header part of {header} bytes is over the limit of {HEADER_LIMIT}"
        if data > self.max_frame_bytes:
            return f"data part of {data} bytes is over the limit of {self.max_frame_bytes}"
        if (header == 0) == (data == 0):
            return "frame is neither a control nor a data frame"
        if data and not self.greeted:
            return "data frame before any control frame"
        if data and self.sealed:
            return "data frame after the end of the stream"
        return None

    cdef Py_ssize_t scan(self, const uint8_t* p, Py_ssize_t size, list out) except -1:
        cdef Py_ssize_t at = 0
        cdef uint64_t header, data
        cdef str reason
        while True:
            self.need = PREFIX
            if size - at < PREFIX:
                return at
            header = big_endian(p + at, 8)
            data = big_endian(p + at + 8, 8)
            reason = self.refusal(header, data)
            if reason is not None:
                self.fail(BadFrame(reason, out))
            self.need = PREFIX + <Py_ssize_t> (header + data)
            if size - at < self.need:
                return at
            if header:
                self.greeted = True
                self.sealed = self.streaming
                out.append(PyBytes_FromStringAndSize(<const char*> p + at + PREFIX, <Py_ssize_t> header))
            else:
                if self.is_json:
                    reason = json_frame(p + at + PREFIX, <Py_ssize_t> data, out)
                else:
                    reason = msgpack_frame(p + at + PREFIX, <Py_ssize_t> data, out)
                if reason is not None:
                    self.fail(BadFrame(reason, out))
                self.streaming = True
                self.sealed = out[len(out) - 1] is _FINAL
            at += self.need


@cython.final
cdef class AckDecoder(_Decoder):
    """Acknowledgements of a request connection, in request order: empty when accepted, otherwise the refusal's text."""
    cdef uint32_t max_bytes

    def __init__(self, uint32_t max_bytes):
        self.max_bytes = max_bytes

    cdef Py_ssize_t scan(self, const uint8_t* p, Py_ssize_t size, list out) except -1:
        cdef Py_ssize_t at = 0
        cdef uint32_t length
        while True:
            self.need = 4
            if size - at < 4:
                return at
            length = <uint32_t> big_endian(p + at, 4)
            if length > self.max_bytes:
                self.fail(BadFrame(f"acknowledgement of {length} bytes is over the limit of {self.max_bytes}", out))
            self.need = 4 + <Py_ssize_t> length
            if size - at < self.need:
                return at
            out.append(PyBytes_FromStringAndSize(<const char*> p + at + 4, length))
            at += self.need


@cython.final
cdef class RequestDecoder(_Decoder):
    """Requests as a worker reads them: (path, headers JSON, control JSON, body).

    An empty control message means that the payload is no two-part frame; then the body is the payload as it came. Raises
    FrameTooLarge as soon as the declared lengths are known.
    """
    cdef Py_ssize_t max_bytes

    def __init__(self, Py_ssize_t max_bytes):
        self.max_bytes = max_bytes

    cdef Py_ssize_t scan(self, const uint8_t* p, Py_ssize_t size, list out) except -1:
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t path, headers, payload, start
        while True:
            self.need = 8
            if size - at < self.need:
                return at
            path = <Py_ssize_t> big_endian(p + at, 2)
            self.need = 8 + path
            if size - at < self.need:
                return at
            headers = <Py_ssize_t> big_endian(p + at + 2 + path, 2)
            self.need = 8 + path + headers
            if size - at < self.need:
                return at
            payload = <Py_ssize_t> big_endian(p + at + 4 + path + headers, 4)
            self.need = 8 + path + headers + payload
            if self.need > self.max_bytes:
                self.fail(FrameTooLarge(self.need, self.max_bytes, out))
            if size - at < self.need:
                return at
            start = at + 8 + path + headers
            out.append((
                PyBytes_FromStringAndSize(<const char*> p + at + 2, path),
                PyBytes_FromStringAndSize(<const char*> p + at + 4 + path, headers),
                *split_payload(p + start, payload),
            ))
            at += self.need


cdef tuple split_payload(const uint8_t* p, Py_ssize_t size):
    cdef uint64_t control, body
    if size >= PREFIX:
        control = big_endian(p, 8)
        body = big_endian(p + 8, 8)
        if control and control <= <uint64_t> size and body <= <uint64_t> size and control + body + PREFIX == <uint64_t> size:
            return (
                PyBytes_FromStringAndSize(<const char*> p + PREFIX, <Py_ssize_t> control),
                PyBytes_FromStringAndSize(<const char*> p + PREFIX + control, <Py_ssize_t> body),
            )
    return b"", PyBytes_FromStringAndSize(<const char*> p, size)


# ---- building -----------------------------------------------------------------------------------------------------

cdef inline char* put(char* at, uint64_t value, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        at[i] = <char> (value >> (8 * (size - 1 - i)) & 0xFF)
    return at + size


cdef inline char* put_bytes(char* at, bytes part) noexcept:
    memcpy(at, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
    return at + PyBytes_GET_SIZE(part)


cdef inline char* put_two_part(char* at, bytes header, bytes data) noexcept:
    at = put(at, PyBytes_GET_SIZE(header), 8)
    at = put(at, PyBytes_GET_SIZE(data), 8)
    at = put(at, 0, 8)
    return put_bytes(put_bytes(at, header), data)


def two_part(bytes header not None, bytes data not None):
    """One two-part frame; the checksum is 0, as Dynamo 1.6.1 sends it."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, PREFIX + PyBytes_GET_SIZE(header) + PyBytes_GET_SIZE(data))
    put_two_part(PyBytes_AS_STRING(out), header, data)
    return out


def request_frame(bytes path not None, bytes headers not None, bytes control not None, bytes body not None):
    """One request frame. Raises ValueError if a part does not fit its length field."""
    cdef uint64_t payload = PREFIX + <uint64_t> PyBytes_GET_SIZE(control) + <uint64_t> PyBytes_GET_SIZE(body)
    cdef bytes out
    cdef char* at
    if PyBytes_GET_SIZE(path) > 0xFFFF or PyBytes_GET_SIZE(headers) > 0xFFFF or payload > 0xFFFFFFFF:
        raise ValueError("request part too large for its length field")
    out = PyBytes_FromStringAndSize(NULL, 8 + PyBytes_GET_SIZE(path) + PyBytes_GET_SIZE(headers) + <Py_ssize_t> payload)
    at = put(PyBytes_AS_STRING(out), PyBytes_GET_SIZE(path), 2)
    at = put_bytes(at, path)
    at = put(at, PyBytes_GET_SIZE(headers), 2)
    at = put_bytes(at, headers)
    at = put(at, payload, 4)
    put_two_part(at, control, body)
    return out
