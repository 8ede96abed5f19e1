"""Finding the ends of JSON values without decoding them. Nothing here reads a byte that it has not counted."""

cdef inline Py_ssize_t skip_space(const uint8_t* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    while at < end and (p[at] == 0x20 or p[at] == 0x0A or p[at] == 0x0D or p[at] == 0x09):
        at += 1
    return at


cdef Py_ssize_t skip_string(const uint8_t* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The offset after a JSON string's closing quote, -1 if it does not begin here or does not end."""
    if at >= end or p[at] != c'"':
        return -1
    at += 1
    while at < end:
        if p[at] == c'"':
            return at + 1
        at += 2 if p[at] == c"\\" else 1
    return -1


cdef Py_ssize_t skip_json(const uint8_t* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The offset after one JSON value, found by its quotes and brackets alone: whoever decodes it validates it."""
    cdef Py_ssize_t start = at
    cdef Py_ssize_t depth = 0
    cdef uint8_t c
    while at < end:
        c = p[at]
        if c == c'"':
            at = skip_string(p, at, end)
            if at < 0:
                return -1
        elif c == c"{" or c == c"[":
            depth += 1
            at += 1
            continue
        elif depth == 0 and (c == c"," or c == c"}" or c == c"]" or c <= 0x20):
            return at if at > start else -1
        else:
            at += 1
            if c == c"}" or c == c"]":
                depth -= 1
            else:
                continue
        if depth == 0:
            return at
    return at if depth == 0 and at > start else -1
