"""The quick reading of a token-in worker's envelope: tokens, an end, a count. An item with anything else goes raw."""

cdef enum Kind:
    TOKEN_IDS
    NULL_ONLY
    OUTPUT_TYPE
    NUMBER
    FINISH_REASON
    INDEX
    USAGE
    ITEM

cdef struct Field:
    const char* name
    Py_ssize_t length
    Kind kind

# In the order in which a worker writes them, so that the guess "the one after the last" mostly holds.
cdef enum:
    ITEM_FIELD_COUNT = 19
    ENVELOPE_FIELD_COUNT = 5
    FINISH_NAME_COUNT = 6

cdef Field[ITEM_FIELD_COUNT] ITEM_FIELDS
ITEM_FIELDS[0] = Field(b"token_ids", 9, TOKEN_IDS)
ITEM_FIELDS[1] = Field(b"tokens", 6, NULL_ONLY)
ITEM_FIELDS[2] = Field(b"text", 4, NULL_ONLY)
ITEM_FIELDS[3] = Field(b"output_type", 11, OUTPUT_TYPE)
ITEM_FIELDS[4] = Field(b"cum_log_probs", 13, NUMBER)
ITEM_FIELDS[5] = Field(b"log_probs", 9, NULL_ONLY)
ITEM_FIELDS[6] = Field(b"top_logprobs", 12, NULL_ONLY)
ITEM_FIELDS[7] = Field(b"finish_reason", 13, FINISH_REASON)
ITEM_FIELDS[8] = Field(b"index", 5, INDEX)
ITEM_FIELDS[9] = Field(b"completion_usage", 16, USAGE)
ITEM_FIELDS[10] = Field(b"stop_reason", 11, NULL_ONLY)
ITEM_FIELDS[11] = Field(b"content_parts", 13, NULL_ONLY)
ITEM_FIELDS[12] = Field(b"disaggregated_params", 20, NULL_ONLY)
ITEM_FIELDS[13] = Field(b"encoder_result", 14, NULL_ONLY)
ITEM_FIELDS[14] = Field(b"worker_trace_link", 17, NULL_ONLY)
ITEM_FIELDS[15] = Field(b"extra_args", 10, NULL_ONLY)
ITEM_FIELDS[16] = Field(b"routing_data", 12, NULL_ONLY)
ITEM_FIELDS[17] = Field(b"jailed_text", 11, NULL_ONLY)
ITEM_FIELDS[18] = Field(b"engine_data", 11, NULL_ONLY)

cdef Field[ENVELOPE_FIELD_COUNT] ENVELOPE_FIELDS
ENVELOPE_FIELDS[0] = Field(b"data", 4, ITEM)
ENVELOPE_FIELDS[1] = Field(b"id", 2, NULL_ONLY)
ENVELOPE_FIELDS[2] = Field(b"event", 5, NULL_ONLY)
ENVELOPE_FIELDS[3] = Field(b"comment", 7, NULL_ONLY)
ENVELOPE_FIELDS[4] = Field(b"error", 5, NULL_ONLY)

# not "error": an item that reports one is for the reader that knows errors
cdef tuple FINISH_REASONS = ("stop", "length", "eos", "cancelled", "content_filter", "abort")
cdef Field[FINISH_NAME_COUNT] FINISH_NAMES
FINISH_NAMES[0] = Field(b"stop", 4, FINISH_REASON)
FINISH_NAMES[1] = Field(b"length", 6, FINISH_REASON)
FINISH_NAMES[2] = Field(b"eos", 3, FINISH_REASON)
FINISH_NAMES[3] = Field(b"cancelled", 9, FINISH_REASON)
FINISH_NAMES[4] = Field(b"content_filter", 14, FINISH_REASON)
FINISH_NAMES[5] = Field(b"abort", 5, FINISH_REASON)


cdef inline bint names(const Field* field, const uint8_t* p, Py_ssize_t length) noexcept nogil:
    return field.length == length and memcmp(field.name, p, length) == 0


cdef inline int find(const Field* table, int size, int guess, const uint8_t* p, Py_ssize_t length) noexcept nogil:
    """The place of a name in a table, -1 if it is not there."""
    cdef int i
    if guess < size and names(table + guess, p, length):
        return guess
    for i in range(size):
        if names(table + i, p, length):
            return i
    return -1


cdef Py_ssize_t read_token_ids(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, OutputItem item) except -2:
    cdef Py_ssize_t count, i
    cdef int size
    cdef uint32_t token = 0
    cdef list ids
    if at >= end:
        return -1
    if p[at] & 0xF0 == 0x90:
        count = p[at] & 15
        at += 1
    elif p[at] == 0xDC or p[at] == 0xDD:
        size = 2 if p[at] == 0xDC else 4
        if end - at - 1 < size:
            return -1
        count = <Py_ssize_t> big_endian(p + at + 1, size)
        at += 1 + size
    else:
        return -1
    if count > end - at:
        return -1
    ids = PyList_New(count)
    for i in range(count):
        at = read_u32(p, at, end, &token)
        if at < 0:
            return -1
        number = PyLong_FromUnsignedLong(token)
        Py_INCREF(number)
        PyList_SET_ITEM(ids, i, number)
    item.token_ids = ids
    return at


cdef Py_ssize_t read_field(Kind kind, const uint8_t* p, Py_ssize_t at, Py_ssize_t end, OutputItem item) except -2:
    """The offset after the value of a known field, -1 if the typed decoder has to look at the envelope."""
    cdef Py_ssize_t start = at
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t entries = 0
    cdef int place
    if at >= end:
        return -1
    if kind == TOKEN_IDS:
        return read_token_ids(p, at, end, item)
    if kind == ITEM:
        return read_item(p, at, end, item)
    if p[at] == 0xC0:
        return at + 1
    if kind == INDEX:
        return read_u32(p, at, end, &item.index)
    if kind == USAGE:
        if read_map(p, at, end, &entries) < 0:
            return -1
        at = skip_value(p, at, end)
        if at >= 0:
            item.usage = PyBytes_FromStringAndSize(<const char*> p + start, at - start)
        return at
    if kind == NUMBER:
        return skip_value(p, at, end) if p[at] < 0x80 or p[at] >= 0xE0 or 0xCA <= p[at] <= 0xD3 else -1
    if kind == NULL_ONLY:
        return -1
    at = read_str(p, at, end, &length)
    if at < 0:
        return -1
    if kind == OUTPUT_TYPE:
        return at + 4 if length == 4 and memcmp(p + at, b"text", 4) == 0 else -1
    place = find(FINISH_NAMES, FINISH_NAME_COUNT, 0, p + at, length)
    if place < 0:
        return -1
    item.finish_reason = FINISH_REASONS[place]
    return at + length


cdef Py_ssize_t read_fields(
    const Field* table, int size, const uint8_t* p, Py_ssize_t at, Py_ssize_t end, OutputItem item
) except -2:
    """Reads a map whose first field in `table` is required and none of whose known fields comes twice; -1 as above."""
    cdef Py_ssize_t entries = 0
    cdef Py_ssize_t length = 0
    cdef uint32_t seen = 0
    cdef int place = -1
    at = read_map(p, at, end, &entries)
    if at < 0:
        return -1
    while entries:
        entries -= 1
        at = read_str(p, at, end, &length)
        if at < 0:
            return -1
        place = find(table, size, place + 1, p + at, length)
        at += length
        if place < 0:
            at = skip_value(p, at, end)
        elif seen >> place & 1:
            return -1
        else:
            seen |= <uint32_t> 1 << place
            at = read_field(table[place].kind, p, at, end, item)
        if at < 0:
            return -1
    return at if seen & 1 else -1


cdef Py_ssize_t read_item(const uint8_t* p, Py_ssize_t at, Py_ssize_t end, OutputItem item) except -2:
    return read_fields(ITEM_FIELDS, ITEM_FIELD_COUNT, p, at, end, item)


cdef OutputItem raw_item(const uint8_t* p, Py_ssize_t size):
    cdef OutputItem item = OutputItem.__new__(OutputItem)
    item.token_ids = []
    item.raw = PyBytes_FromStringAndSize(<const char*> p, size)
    return item
