# How the memory of a prefix index is laid out. Offsets and indexes only, so that every process may map it where it likes.
#
#   header | rank rows | slot of each code | paths (buckets) | ids (buckets) | nodes
#
# A rank has a slot, which the outside knows, and a code, under which it owns blocks. A rank that is cleared or gone leaves
# its code behind at once; who still carries the code is swept up later. A node is a block of the device tier (reached by the
# path of local hashes), a block of a lower tier (an edge between two ids), an alias (one rank's further id of a block), or a
# chunk of the owners of a block that has many.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

cdef extern from "lockfree.h" nogil:
    uint32_t load_acquire32(const uint32_t* at) noexcept
    uint64_t load_acquire64(const uint64_t* at) noexcept
    uint32_t load_again32(const uint32_t* at) noexcept
    uint64_t load_again64(const uint64_t* at) noexcept
    void store_release8(uint8_t* at, uint8_t value) noexcept
    void open_change32(uint32_t* version) noexcept
    void close_change32(uint32_t* version) noexcept
    void open_change64(uint64_t* version) noexcept
    void close_change64(uint64_t* version) noexcept
    void prefetch(const void* at) noexcept
    void give_way() noexcept
    void forget_bytes(void* start, size_t size) noexcept
    int lowest_bit(uint64_t word) noexcept
    int bits_in(uint64_t word) noexcept
    uint32_t mix(uint64_t a, uint64_t b) noexcept
    uint32_t equal_tags(const uint8_t* tags, uint8_t tag) noexcept

cdef enum:
    FREE = 0
    DEVICE = 1
    HOST = 2
    DISK = 3
    EXTERNAL = 4
    ALIAS = 5
    CHUNK = 6
    KINDS = 7

cdef enum:
    LISTED = 1        # in the order of eviction
    NAMED = 2         # its id stands in the table of ids
    AT_ROOT = 4       # an edge of a lower tier that has no parent id

cdef enum:
    STORED = 0
    REMOVED = 1
    CLEARED = 2

cdef enum:
    OK = 0
    PARENT_NOT_FOUND = 1
    BLOCK_NOT_FOUND = 2
    INVALID_BLOCK = 3
    CAPACITY_EXHAUSTED = 4
    UNSUPPORTED_DOMAIN = 5
    OUTCOMES = 6

cdef enum:
    INLINE_OWNERS = 8
    CHUNKED = 255
    CHUNK_WORDS = 6
    BUCKET_NODES = 12
    LINE = 64
    HEADER_BYTES = 1024
    SPARE_CODES = 64
    MOST_RANKS = 32768
    SWEEP_STEP = 256

# "dfe-kvix", then the version of this layout.
cdef uint64_t MAGIC = 0x6466652D6B766978ULL + 1

cdef struct Node:
    uint32_t version
    uint8_t kind
    uint8_t owners            # how many are inline, or CHUNKED
    uint16_t flags
    uint64_t local
    uint64_t id
    uint32_t parent           # device: node; lower tier: low half of the parent's id; alias: the block; free: next free
    uint32_t children         # device: how many; lower tier: high half of the parent's id; alias: next of the same block
    uint32_t path_hash
    uint32_t older
    uint32_t newer
    uint32_t aliases
    uint16_t owner[INLINE_OWNERS]

cdef struct Chunk:
    uint32_t version
    uint8_t kind
    uint8_t unused
    uint16_t base             # of the codes base * 64 * CHUNK_WORDS and following
    uint32_t next
    uint32_t apart
    uint64_t bits[CHUNK_WORDS]

cdef struct Bucket:
    uint8_t tags[BUCKET_NODES]
    uint16_t passed           # how many entries would live here if it had not been full
    uint16_t unused
    uint32_t at[BUCKET_NODES]

cdef struct RankRow:
    uint64_t worker_id
    uint32_t dp_rank
    uint32_t code             # code + 1; 0: the slot is free
    uint32_t blocks           # device blocks owned
    uint32_t lower_blocks
    uint64_t unused

cdef struct Header:
    uint64_t magic
    uint64_t generation       # odd: being made
    uint64_t region_bytes
    uint64_t salt
    uint32_t max_ranks
    uint32_t max_nodes
    uint64_t ranks_version    # odd: rows or codes are being changed
    uint32_t code_top         # no code from here on has been used
    uint32_t nodes_of[KINDS]
    uint64_t apart[4]         # what follows changes with every event and shall not share a line with the above
    uint32_t node_top
    uint32_t free_nodes
    uint32_t oldest
    uint32_t newest
    uint64_t nodes_used
    uint64_t stored_blocks
    uint64_t removed_blocks
    uint64_t evicted_blocks
    uint64_t events[3][OUTCOMES]

cdef struct Region:
    Header* header
    RankRow* ranks
    uint32_t* code_slot       # slot + 1; 0: nobody, or somebody who is gone
    Bucket* paths
    Bucket* ids
    Node* nodes
    uint32_t max_ranks
    uint32_t codes
    uint32_t words
    uint32_t buckets
    uint32_t max_nodes
    uint64_t salt
    # Of the writer alone:
    uint32_t pinned           # a node that must stay although it may look unused
    bint left_behind          # some code is draining
    uint32_t sweep_at
    uint32_t sweep_end
    uint64_t* draining        # codes left behind since the sweep under way began
    uint64_t* sweeping        # codes that the sweep under way takes off every node
    uint64_t* scratch         # owners of the node at hand


cdef inline uint64_t rounded_up(uint64_t size) noexcept nogil:
    return (size + LINE - 1) // LINE * LINE


cdef inline uint32_t code_count(uint32_t max_ranks) noexcept nogil:
    return <uint32_t> rounded_up(max_ranks + SPARE_CODES)


cdef inline uint32_t bucket_count(uint64_t nodes) noexcept nogil:
    """At most four fifths of the entries are in use."""
    return <uint32_t> (nodes * 5 // (4 * BUCKET_NODES) + 1)


cdef uint64_t fixed_bytes(uint32_t max_ranks, uint32_t buckets) noexcept nogil:
    cdef uint64_t size = HEADER_BYTES + rounded_up(max_ranks * sizeof(RankRow))
    return size + rounded_up(code_count(max_ranks) * sizeof(uint32_t)) + 2 * <uint64_t> buckets * sizeof(Bucket)


cdef uint64_t bytes_for(uint64_t nodes, uint32_t max_ranks) noexcept nogil:
    return fixed_bytes(max_ranks, bucket_count(nodes)) + (nodes + 1) * sizeof(Node)


cdef uint64_t nodes_within(uint64_t size, uint32_t max_ranks) noexcept nogil:
    """The largest number of nodes whose region fits, 0 if none does."""
    cdef uint64_t low = 0
    cdef uint64_t high = size // sizeof(Node)
    cdef uint64_t middle
    if high > 0xFFFFFFF0U:
        high = 0xFFFFFFF0U
    while low < high:
        middle = (low + high + 1) // 2
        if bytes_for(middle, max_ranks) <= size:
            low = middle
        else:
            high = middle - 1
    return low


cdef void lay_out(Region* r, uint8_t* memory, uint32_t max_ranks, uint32_t max_nodes) noexcept nogil:
    """Sets every pointer; `memory` begins on a line."""
    cdef uint8_t* at = memory + HEADER_BYTES
    r.header = <Header*> memory
    r.max_ranks = max_ranks
    r.codes = code_count(max_ranks)
    r.words = r.codes // 64
    r.buckets = bucket_count(max_nodes)
    r.max_nodes = max_nodes
    r.ranks = <RankRow*> at
    at += rounded_up(max_ranks * sizeof(RankRow))
    r.code_slot = <uint32_t*> at
    at += rounded_up(r.codes * sizeof(uint32_t))
    r.paths = <Bucket*> at
    at += <uint64_t> r.buckets * sizeof(Bucket)
    r.ids = <Bucket*> at
    at += <uint64_t> r.buckets * sizeof(Bucket)
    r.nodes = <Node*> at


cdef inline Chunk* chunk_at(const Region* r, uint32_t at) noexcept nogil:
    return <Chunk*> &r.nodes[at]


cdef inline uint32_t first_chunk(const Node* node) noexcept nogil:
    return (<uint32_t> node.owner[1] << 16) | node.owner[0]


cdef inline uint64_t parent_id(const Node* node) noexcept nogil:
    return (<uint64_t> node.children << 32) | node.parent


cdef inline uint32_t child_hash(uint64_t salt, uint32_t parent_hash, uint64_t local) noexcept nogil:
    """The path hash of a device block."""
    return mix(local ^ salt, parent_hash)


cdef inline uint32_t edge_hash(uint64_t salt, int kind, bint at_root, uint64_t parent, uint64_t local) noexcept nogil:
    return mix(local ^ salt, parent + <uint64_t> (2 * kind + at_root) * 0xD6E8FEB86659FD93ULL)


cdef inline uint32_t id_hash(uint64_t salt, int kind, uint64_t code, uint64_t id) noexcept nogil:
    """Of a block's own id (code 0), or of one rank's further id."""
    return mix(id ^ salt, code * 8 + kind)
