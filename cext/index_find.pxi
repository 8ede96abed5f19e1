# Finding, beside a writer in this or another process. Nothing is locked and nothing of the region is written.
#
# Each node is copied between two looks at its version; at the end every node that was used must still have the version it had.
# All of them then held at once, at the moment when the walk met the block that was missing, and the result was true then.
# Numbers read from the region are held against its size before they are followed. A node whose change does not end (its
# writer waits for a processor, or is dead) is waited for a moment, then passed over: the answer says that it is not whole.

cdef enum:
    SPINS = 64
    YIELDS = 10
    ATTEMPTS = 100
    FETCH_BUCKET = 16
    FETCH_NODE = 8

cdef struct Group:
    uint32_t position         # how many blocks of the query the ranks of this group hold so far
    uint32_t device
    uint32_t host
    uint32_t disk
    uint64_t id               # of the last one of them
    bint at_root
    int kind                  # the tier that is asked next

cdef struct Finder:
    uint32_t words            # of a set of codes, in this region
    uint32_t room_words       # of a set of codes, at most
    uint64_t* alive           # ranks that hold all blocks so far
    uint64_t* owners          # of the node at hand
    uint64_t* others
    uint32_t* slot            # by code: slot + 1 of the rank that had it when the find began
    uint32_t* device          # depths by code
    uint32_t* host
    uint32_t* disk
    uint64_t* touched         # codes with a depth
    uint32_t* seen            # nodes used, with the version that each had
    uint32_t* seen_version
    Py_ssize_t seen_count
    Py_ssize_t seen_room
    Group* groups
    uint64_t* group_sets
    Py_ssize_t group_count
    Py_ssize_t group_room
    bint gave_up              # a node could not be read
    bint out_of_memory


cdef void read_owners(const Region* r, Finder* f, const Node* node) noexcept nogil:
    """Owners of a node, whose chunks may be changing under our eyes."""
    cdef const Chunk* chunk
    cdef uint32_t at, w
    cdef uint32_t left = f.words
    cdef int i
    memset(f.owners, 0, f.words * 8)
    if node.owners != CHUNKED:
        for i in range(node.owners if node.owners < INLINE_OWNERS else INLINE_OWNERS):
            if node.owner[i] < 64 * f.words:
                put(f.owners, node.owner[i])
        return
    at = first_chunk(node)
    while 0 < at <= r.max_nodes and left:
        chunk = chunk_at(r, at)
        for i in range(CHUNK_WORDS):
            w = chunk.base * CHUNK_WORDS + i
            if w < f.words:
                f.owners[w] = chunk.bits[i]
        at = chunk.next
        left -= 1


cdef bint read_node(const Region* r, Finder* f, uint32_t at, Node* out) noexcept nogil:
    """A node as it was at one moment, its owners in f.owners. False: it is being changed and goes on being changed."""
    cdef const Node* node = &r.nodes[at]
    cdef uint32_t version
    cdef int tries
    if at > r.max_nodes:
        return False
    for tries in range(SPINS + YIELDS):
        version = load_acquire32(&node.version)
        if version & 1:
            if tries >= SPINS:
                give_way()
            continue
        out[0] = node[0]
        read_owners(r, f, out)
        if load_again32(&node.version) == version:
            out.version = version
            return True
    f.gave_up = True
    return False


cdef void remember(Finder* f, uint32_t at, uint32_t version) noexcept nogil:
    cdef void* moved
    if f.seen_count == f.seen_room:
        moved = realloc(f.seen, 2 * (f.seen_room + 64) * sizeof(uint32_t))
        if moved != NULL:
            f.seen = <uint32_t*> moved
            moved = realloc(f.seen_version, 2 * (f.seen_room + 64) * sizeof(uint32_t))
        if moved == NULL:
            f.out_of_memory = True
            return
        f.seen_version = <uint32_t*> moved
        f.seen_room = 2 * (f.seen_room + 64)
    f.seen[f.seen_count] = at
    f.seen_version[f.seen_count] = version
    f.seen_count += 1


cdef void push_group(Finder* f, const Group* group, const uint64_t* codes) noexcept nogil:
    cdef void* moved
    if f.group_count == f.group_room:
        moved = realloc(f.groups, 2 * (f.group_room + 8) * sizeof(Group))
        if moved != NULL:
            f.groups = <Group*> moved
            moved = realloc(f.group_sets, 2 * (f.group_room + 8) * f.room_words * 8)
        if moved == NULL:
            f.out_of_memory = True
            return
        f.group_sets = <uint64_t*> moved
        f.group_room = 2 * (f.group_room + 8)
    f.groups[f.group_count] = group[0]
    memcpy(f.group_sets + f.group_count * f.room_words, codes, f.words * 8)
    f.group_count += 1


cdef inline bint empty(const uint64_t* codes, uint32_t words) noexcept nogil:
    cdef uint32_t w
    for w in range(words):
        if codes[w]:
            return False
    return True


# ---- the device tier ----------------------------------------------------------------------------------------------

cdef void note_depth(Finder* f, const uint64_t* codes, uint32_t depth) noexcept nogil:
    cdef uint64_t word
    cdef uint32_t w, code
    for w in range(f.words):
        word = codes[w]
        f.touched[w] |= word
        while word:
            code = w * 64 + lowest_bit(word)
            f.device[code] = depth
            f.host[code] = 0
            f.disk[code] = 0
            word &= word - 1


cdef void finish_device(Finder* f, const uint64_t* codes, uint32_t depth, bint lower) noexcept nogil:
    """These ranks hold `depth` blocks on device; their lower tiers may go on."""
    cdef Group group
    if depth:
        note_depth(f, codes, depth)
    if lower:
        memset(&group, 0, sizeof(Group))
        group.position = depth
        group.device = depth
        group.at_root = depth == 0
        group.kind = HOST
        push_group(f, &group, codes)


cdef void narrow(Finder* f, uint32_t depth, bint lower) noexcept nogil:
    """Of the ranks alive keeps those that own the node at hand; the others end at `depth`."""
    cdef uint64_t lost = 0
    cdef uint32_t w
    for w in range(f.words):
        f.others[w] = f.alive[w] & ~f.owners[w]
        f.alive[w] &= f.owners[w]
        lost |= f.others[w]
    if lost:
        finish_device(f, f.others, depth, lower)


cdef uint32_t read_child(
    const Region* r, Finder* f, uint32_t h, uint32_t parent, uint64_t local, Node* out
) noexcept nogil:
    cdef Search s = search(r, r.paths, h)
    cdef uint32_t at = next_match(r, r.paths, &s)
    while at:
        if read_node(r, f, at, out) and out.kind == DEVICE and out.parent == parent and out.local == local:
            return at
        at = next_match(r, r.paths, &s)
    return 0


cdef inline bint same_inline(const Node* a, const Node* b) noexcept nogil:
    return a.owners != CHUNKED and a.owners == b.owners and memcmp(a.owner, b.owner, a.owners * sizeof(uint16_t)) == 0


cdef void walk_device(const Region* r, Finder* f, const uint64_t* locals, Py_ssize_t count, bint lower) noexcept nogil:
    cdef Node nodes[2]
    cdef uint32_t hashes[2 * FETCH_BUCKET]
    cdef uint32_t h = 0
    cdef uint32_t at = 0
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t ahead = 0
    cdef uint32_t code
    memset(f.alive, 0, f.words * 8)
    for code in range(64 * f.words):
        f.slot[code] = r.code_slot[code]
        if f.slot[code]:
            put(f.alive, code)
    memset(nodes, 0, sizeof(nodes))
    while i < count:
        while ahead < count and ahead < i + FETCH_BUCKET:
            h = child_hash(r.salt, h, locals[ahead])
            prefetch_bucket(r, r.paths, h)
            hashes[ahead % (2 * FETCH_BUCKET)] = h
            ahead += 1
        if i + FETCH_NODE < count:
            prefetch_node(r, r.paths, hashes[(i + FETCH_NODE) % (2 * FETCH_BUCKET)])
        at = read_child(r, f, hashes[i % (2 * FETCH_BUCKET)], at, locals[i], &nodes[i & 1])
        if at == 0:
            break
        remember(f, at, nodes[i & 1].version)
        if i == 0 or not same_inline(&nodes[i & 1], &nodes[~i & 1]):
            narrow(f, <uint32_t> i, lower)
            if empty(f.alive, f.words):
                return
        i += 1
    finish_device(f, f.alive, <uint32_t> i, lower)


# ---- the lower tiers ----------------------------------------------------------------------------------------------

cdef bint alias_of(const Region* r, const Node* block, uint32_t code, uint64_t* id) noexcept nogil:
    """The id under which a rank owns a block, if it is an alias. Valid only while the block's version stands."""
    cdef uint32_t at = block.aliases
    cdef uint32_t left = r.max_nodes
    while at and at <= r.max_nodes and left:
        if r.nodes[at].local == code:
            id[0] = r.nodes[at].id
            return True
        at = r.nodes[at].children
        left -= 1
    return False


cdef void name_groups(const Region* r, Finder* f) noexcept nogil:
    """Gives every group of ranks the id of its last device block; a rank with an alias of it becomes its own group."""
    cdef Py_ssize_t number
    cdef Py_ssize_t count = f.group_count
    cdef uint64_t* codes
    cdef uint64_t word
    cdef uint32_t w, code
    cdef Group own
    cdef Node node
    for number in range(count):
        if f.groups[number].device == 0:
            continue
        if not read_node(r, f, f.seen[f.groups[number].device - 1], &node):
            continue
        f.groups[number].id = node.id
        if not node.aliases:
            continue
        for w in range(f.words):
            word = f.group_sets[number * f.room_words + w]
            while word:
                code = w * 64 + lowest_bit(word)
                own = f.groups[number]
                if alias_of(r, &node, code, &own.id):
                    codes = f.others
                    memset(codes, 0, f.words * 8)
                    put(codes, code)
                    push_group(f, &own, codes)
                    f.group_sets[number * f.room_words + w] &= ~(<uint64_t> 1 << (code & 63))
                word &= word - 1


cdef void note_lower(Finder* f, const Group* group, const uint64_t* codes) noexcept nogil:
    cdef uint64_t word
    cdef uint32_t w, code
    if group.host == 0 and group.disk == 0:
        return
    note_depth(f, codes, group.device)
    for w in range(f.words):
        word = codes[w]
        while word:
            code = w * 64 + lowest_bit(word)
            f.host[code] = group.host
            f.disk[code] = group.disk
            word &= word - 1


cdef bint step_lower(const Region* r, Finder* f, Group* group, uint64_t* codes, uint64_t local) noexcept nogil:
    """Follows one edge with those of the ranks that have it; the others become a group of their own. False: none has."""
    cdef uint64_t parent = 0 if group.at_root else group.id
    cdef uint32_t h = edge_hash(r.salt, group.kind, group.at_root, parent, local)
    cdef Search s = search(r, r.paths, h)
    cdef uint32_t at = next_match(r, r.paths, &s)
    cdef uint64_t going, staying
    cdef uint32_t w
    cdef Node node
    while at:
        if read_node(r, f, at, &node) and is_edge(&node, group.kind, group.at_root, group.id, local):
            going = staying = 0
            for w in range(f.words):
                f.others[w] = codes[w] & ~f.owners[w]
                staying |= f.others[w]
                going |= codes[w] & f.owners[w]
            if going:
                remember(f, at, node.version)
                if staying:
                    push_group(f, group, f.others)
                    for w in range(f.words):
                        codes[w] &= f.owners[w]
                if group.kind == HOST:
                    group.host += 1
                else:
                    group.disk += 1
                group.position += 1
                group.id = node.id
                group.at_root = False
                return True
        at = next_match(r, r.paths, &s)
    return False


cdef void walk_lower(const Region* r, Finder* f, const uint64_t* locals, Py_ssize_t count) noexcept nogil:
    """Every group follows the edges of host, then disk, then external as far as they go."""
    cdef Group group
    cdef uint64_t* codes = f.alive
    while f.group_count and not f.out_of_memory:
        f.group_count -= 1
        group = f.groups[f.group_count]
        memcpy(codes, f.group_sets + f.group_count * f.room_words, f.words * 8)
        if empty(codes, f.words):
            continue
        while group.kind <= EXTERNAL:
            if group.position == count or not r.header.nodes_of[group.kind]:
                group.kind += 1
            elif not step_lower(r, f, &group, codes, locals[group.position]):
                group.kind += 1
        note_lower(f, &group, codes)


# ---- the whole ----------------------------------------------------------------------------------------------------

cdef bint unchanged(const Region* r, const Finder* f) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(f.seen_count):
        if load_again32(&r.nodes[f.seen[i]].version) != f.seen_version[i]:
            return False
    return True


cdef bint find_once(const Region* r, Finder* f, const uint64_t* locals, Py_ssize_t count) noexcept nogil:
    """Leaves depths by code; False when something changed meanwhile."""
    cdef uint64_t ranks_version = load_acquire64(&r.header.ranks_version)
    cdef bint lower = r.header.nodes_of[HOST] + r.header.nodes_of[DISK] + r.header.nodes_of[EXTERNAL] != 0
    if ranks_version & 1:
        give_way()
        return False
    f.words = (r.header.code_top + 63) // 64
    if f.words > r.words:
        f.words = r.words
    memset(f.touched, 0, f.room_words * 8)
    f.seen_count = 0
    f.group_count = 0
    f.gave_up = False
    walk_device(r, f, locals, count, lower)
    if lower:
        name_groups(r, f)
        walk_lower(r, f, locals, count)
    return unchanged(r, f) and load_again64(&r.header.ranks_version) == ranks_version
