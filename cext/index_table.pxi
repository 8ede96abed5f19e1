# Hash tables of nodes: buckets of one cache line with twelve one-byte tags and twelve node numbers.
#
# An entry that finds its bucket full goes into the next one with room, and every bucket that it passed counts it, so that a
# search knows where to stop. Entries never move: a reader that misses one saw a moment at which it was not there.


cdef inline uint8_t tag_of(uint32_t h) noexcept nogil:
    return (h & 0xFF) or 1


cdef inline uint32_t home_of(const Region* r, uint32_t h) noexcept nogil:
    return <uint32_t> ((<uint64_t> h * r.buckets) >> 32)


cdef inline uint32_t after(const Region* r, uint32_t bucket) noexcept nogil:
    bucket += 1
    return 0 if bucket == r.buckets else bucket


cdef void table_add(Region* r, Bucket* table, uint32_t h, uint32_t node) noexcept nogil:
    """There is always room: a table has more entries than there are nodes."""
    cdef uint32_t b = home_of(r, h)
    cdef uint32_t vacant
    cdef int i
    while True:
        vacant = equal_tags(table[b].tags, 0)
        if vacant:
            break
        if table[b].passed != 0xFFFF:
            table[b].passed += 1
        b = after(r, b)
    i = lowest_bit(vacant)
    table[b].at[i] = node
    store_release8(&table[b].tags[i], tag_of(h))


cdef void table_drop(Region* r, Bucket* table, uint32_t h, uint32_t node) noexcept nogil:
    """The node is in the table under that hash."""
    cdef uint32_t home = home_of(r, h)
    cdef uint32_t b = home
    cdef uint32_t bits
    cdef int i
    while True:
        bits = equal_tags(table[b].tags, tag_of(h))
        while bits:
            i = lowest_bit(bits)
            if table[b].at[i] == node:
                store_release8(&table[b].tags[i], 0)
                while home != b:
                    # A count that has reached its limit says nothing of how many there are and stays.
                    if table[home].passed != 0xFFFF:
                        table[home].passed -= 1
                    home = after(r, home)
                return
            bits &= bits - 1
        b = after(r, b)


cdef struct Search:
    uint32_t bucket
    uint32_t left             # buckets still to be seen: memory gone wild must not keep a reader for ever
    uint32_t bits
    uint8_t tag


cdef inline Search search(const Region* r, const Bucket* table, uint32_t h) noexcept nogil:
    cdef Search s
    s.bucket = home_of(r, h)
    s.left = r.buckets
    s.tag = tag_of(h)
    s.bits = equal_tags(table[s.bucket].tags, s.tag)
    return s


cdef inline uint32_t next_match(const Region* r, const Bucket* table, Search* s) noexcept nogil:
    """The next node whose tag fits, 0 at the end. Whether it is the one looked for is for the caller to see."""
    cdef int i
    while not s.bits:
        s.left -= 1
        if table[s.bucket].passed == 0 or s.left == 0:
            return 0
        s.bucket = after(r, s.bucket)
        s.bits = equal_tags(table[s.bucket].tags, s.tag)
    i = lowest_bit(s.bits)
    s.bits &= s.bits - 1
    return table[s.bucket].at[i]


cdef inline void prefetch_bucket(const Region* r, const Bucket* table, uint32_t h) noexcept nogil:
    prefetch(&table[home_of(r, h)])


cdef inline void prefetch_node(const Region* r, const Bucket* table, uint32_t h) noexcept nogil:
    """The first node that may be meant; its bucket has been fetched."""
    cdef const Bucket* bucket = &table[home_of(r, h)]
    cdef uint32_t bits = equal_tags(bucket.tags, tag_of(h))
    cdef uint32_t node
    if bits:
        node = bucket.at[lowest_bit(bits)]
        if node <= r.max_nodes:
            prefetch(&r.nodes[node])
