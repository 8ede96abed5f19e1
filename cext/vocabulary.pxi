# Reading the vocabulary of a tokenizer.json: the byte alphabet of byte-level BPE, JSON strings and ids, all without the GIL.

cdef int16_t BYTE_OF[MAPPED_CODE_POINTS]


cdef void fill_byte_alphabet() noexcept nogil:
    """The alphabet of byte-level BPE: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100 on."""
    cdef int byte, extra = 256
    for byte in range(MAPPED_CODE_POINTS):
        BYTE_OF[byte] = -1
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174:
            BYTE_OF[byte] = byte
        else:
            BYTE_OF[extra] = byte
            extra += 1


fill_byte_alphabet()


cdef inline int code_point(const uint8_t* text, Py_ssize_t size, Py_ssize_t* at) noexcept nogil:
    """The next code point if it has one or two bytes, else -1: the byte alphabet lies below U+0800."""
    cdef uint8_t lead = text[at[0]]
    if lead < 0x80:
        at[0] += 1
        return lead
    if 0xC2 <= lead < 0xE0 and at[0] + 1 < size:
        at[0] += 2
        return (lead & 0x1F) << 6 | text[at[0] - 1] & 0x3F
    return -1


cdef Py_ssize_t map_to_bytes(uint8_t* text, Py_ssize_t size) noexcept nogil:
    """Turn a token's spelling into its bytes in place; a spelling with any foreign character is its own UTF-8."""
    cdef Py_ssize_t at = 0, out = 0
    cdef int point
    while at < size:
        point = code_point(text, size, &at)
        if point < 0 or point >= MAPPED_CODE_POINTS or BYTE_OF[point] < 0:
            return size
    at = 0
    while at < size:
        text[out] = <uint8_t> BYTE_OF[code_point(text, size, &at)]
        out += 1
    return out


cdef inline Py_ssize_t put_code_point(uint8_t* out, uint32_t point) noexcept nogil:
    if point < 0x80:
        out[0] = point
        return 1
    if point < 0x800:
        out[0] = 0xC0 | point >> 6
        out[1] = 0x80 | point & 0x3F
        return 2
    if point < 0x10000:
        out[0] = 0xE0 | point >> 12
        out[1] = 0x80 | point >> 6 & 0x3F
        out[2] = 0x80 | point & 0x3F
        return 3
    out[0] = 0xF0 | point >> 18
    out[1] = 0x80 | point >> 12 & 0x3F
    out[2] = 0x80 | point >> 6 & 0x3F
    out[3] = 0x80 | point & 0x3F
    return 4


cdef struct Scanner:
    const uint8_t* text
    Py_ssize_t at
    Py_ssize_t size


cdef inline int next_byte(Scanner* scan) noexcept nogil:
    """Skip white space; the next byte without taking it, -1 at the end."""
    while scan.at < scan.size and scan.text[scan.at] in (32, 9, 10, 13):
        scan.at += 1
    return scan.text[scan.at] if scan.at < scan.size else -1


cdef long hex4(Scanner* scan) noexcept nogil:
    cdef long value = 0
    cdef int digit
    cdef uint8_t char
    if scan.at + 4 > scan.size:
        return -1
    for digit in range(4):
        char = scan.text[scan.at]
        scan.at += 1
        if 48 <= char <= 57:
            value = value << 4 | char - 48
        elif 97 <= char | 32 <= 102:
            value = value << 4 | (char | 32) - 87
        else:
            return -1
    return value


cdef Py_ssize_t take_escape(Scanner* scan, uint8_t* out) noexcept nogil:
    """What stands behind a backslash, written as UTF-8; the bytes written or -1."""
    cdef uint8_t char
    cdef long point, low
    if scan.at >= scan.size:
        return -1
    char = scan.text[scan.at]
    scan.at += 1
    if char == 117:  # u
        point = hex4(scan)
        if 0xD800 <= point < 0xDC00:
            if scan.at + 2 > scan.size or scan.text[scan.at] != 92 or scan.text[scan.at + 1] != 117:
                return -1
            scan.at += 2
            low = hex4(scan)
            if low < 0xDC00 or low > 0xDFFF:
                return -1
            point = 0x10000 + (point - 0xD800 << 10) + (low - 0xDC00)
        elif point < 0 or 0xDC00 <= point < 0xE000:
            return -1
        return put_code_point(out, <uint32_t> point)
    if char == 98: out[0] = 8
    elif char == 102: out[0] = 12
    elif char == 110: out[0] = 10
    elif char == 114: out[0] = 13
    elif char == 116: out[0] = 9
    elif char in (34, 47, 92): out[0] = char
    else: return -1
    return 1


cdef Py_ssize_t take_string(Scanner* scan, uint8_t* out) noexcept nogil:
    """A JSON string as UTF-8 at `out`, which has room for its JSON text; the bytes written or -1."""
    cdef Py_ssize_t written = 0, step
    cdef uint8_t char
    if next_byte(scan) != 34:
        return -1
    scan.at += 1
    while scan.at < scan.size:
        char = scan.text[scan.at]
        scan.at += 1
        if char == 34:
            return written
        if char == 92:
            step = take_escape(scan, out + written)
            if step < 0:
                return -1
            written += step
        else:
            out[written] = char
            written += 1
    return -1


cdef Py_ssize_t take_id(Scanner* scan) noexcept nogil:
    cdef Py_ssize_t value = 0
    cdef int digits = 0
    next_byte(scan)
    while scan.at < scan.size and 48 <= scan.text[scan.at] <= 57 and value < MAX_TOKENS:
        value = value * 10 + scan.text[scan.at] - 48
        scan.at += 1
        digits += 1
    return value if digits else -1
