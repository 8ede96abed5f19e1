from libc.string cimport memchr


cdef inline const char* string_end(const char* at, const char* end) noexcept nogil:
    """The closing quote of the JSON string whose first byte is at `at`; `end` when there is none."""
    cdef const char* quote = at
    cdef const char* before
    while True:
        quote = <const char*>memchr(quote, c'"', end - quote)
        if quote == NULL:
            return end
        before = quote
        while before > at and (before - 1)[0] == c'\\':
            before -= 1
        if not (quote - before) & 1:
            return quote
        quote += 1
