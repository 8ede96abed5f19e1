# Nodes: getting and giving back their memory, who owns them, the order of eviction. The writer's side only.
#
# Every change that a finder may see happens between open_change32 and close_change32 on the node's version. The order of
# eviction links blocks that nothing continues, least recently stored first; a block whose last continuation goes takes the
# place of that one. A node without owners stays only while others continue it.


cdef inline bint in_set(const uint64_t* words, uint32_t code) noexcept nogil:
    return (words[code >> 6] >> (code & 63)) & 1


cdef inline void put(uint64_t* words, uint32_t code) noexcept nogil:
    words[code >> 6] |= <uint64_t> 1 << (code & 63)


# ---- the order of eviction ----------------------------------------------------------------------------------------

cdef void unlist(Region* r, uint32_t at) noexcept nogil:
    cdef Node* node = &r.nodes[at]
    if not node.flags & LISTED:
        return
    node.flags &= ~LISTED
    if node.older:
        r.nodes[node.older].newer = node.newer
    else:
        r.header.oldest = node.newer
    if node.newer:
        r.nodes[node.newer].older = node.older
    else:
        r.header.newest = node.older


cdef void list_before(Region* r, uint32_t at, uint32_t newer) noexcept nogil:
    """Makes it the next older one of `newer`; 0: the newest of all."""
    cdef Node* node = &r.nodes[at]
    cdef uint32_t older = r.nodes[newer].older if newer else r.header.newest
    node.flags |= LISTED
    node.older = older
    node.newer = newer
    if older:
        r.nodes[older].newer = at
    else:
        r.header.oldest = at
    if newer:
        r.nodes[newer].older = at
    else:
        r.header.newest = at


# ---- owners -------------------------------------------------------------------------------------------------------

cdef inline void set_first_chunk(Node* node, uint32_t at) noexcept nogil:
    node.owner[0] = at & 0xFFFF
    node.owner[1] = at >> 16


cdef bint owns(const Region* r, const Node* node, uint32_t code) noexcept nogil:
    cdef uint32_t at
    cdef int i
    if node.owners == CHUNKED:
        at = chunk_with(r, node, code)
        return at and in_set(chunk_at(r, at).bits, code % (64 * CHUNK_WORDS))
    for i in range(node.owners):
        if node.owner[i] == code:
            return True
    return False


cdef uint32_t chunk_with(const Region* r, const Node* node, uint32_t code) noexcept nogil:
    """The chunk that has a bit for `code`, 0: none has."""
    cdef uint32_t at = first_chunk(node)
    while at and chunk_at(r, at).base != code // (64 * CHUNK_WORDS):
        at = chunk_at(r, at).next
    return at


cdef uint64_t* owner_set(const Region* r, const Node* node) noexcept nogil:
    """All owners, in the scratch set."""
    cdef Chunk* chunk
    cdef uint32_t at
    cdef uint32_t w
    cdef int i
    memset(r.scratch, 0, r.words * 8)
    if node.owners != CHUNKED:
        for i in range(node.owners):
            put(r.scratch, node.owner[i])
        return r.scratch
    at = first_chunk(node)
    while at:
        chunk = chunk_at(r, at)
        for i in range(CHUNK_WORDS):
            w = chunk.base * CHUNK_WORDS + i
            if w < r.words:
                r.scratch[w] = chunk.bits[i]
        at = chunk.next
    return r.scratch


cdef void give_chunks(Region* r, uint32_t at) noexcept nogil:
    cdef uint32_t following
    while at:
        following = chunk_at(r, at).next
        give_node(r, at)
        at = following


cdef void write_owners(Region* r, Node* node, const uint64_t* codes) noexcept nogil:
    """Makes `codes` the owners, inline if they are few. They need no chunk that the node does not have."""
    cdef Chunk* chunk
    cdef uint32_t at, following
    cdef uint32_t spare = 0
    cdef uint32_t kept = 0
    cdef uint64_t word, any
    cdef uint32_t w
    cdef int count = 0
    cdef int i
    for w in range(r.words):
        count += bits_in(codes[w])
    open_change32(&node.version)
    at = first_chunk(node) if node.owners == CHUNKED else 0
    if at == 0 or count <= INLINE_OWNERS // 2:
        spare = at
        node.owners = 0
        for w in range(r.words):
            word = codes[w]
            while word:
                node.owner[node.owners] = w * 64 + lowest_bit(word)
                node.owners += 1
                word &= word - 1
    else:
        while at:
            chunk = chunk_at(r, at)
            following = chunk.next
            any = 0
            for i in range(CHUNK_WORDS):
                w = chunk.base * CHUNK_WORDS + i
                chunk.bits[i] = codes[w] if w < r.words else 0
                any |= chunk.bits[i]
            if any:
                chunk.next = kept
                kept = at
            else:
                chunk.next = spare
                spare = at
            at = following
        set_first_chunk(node, kept)
    close_change32(&node.version)
    give_chunks(r, spare)


cdef uint32_t get_chunk(Region* r, uint32_t code, uint32_t following) noexcept nogil:
    """An empty chunk for `code` in front of `following`, 0 when there is no room."""
    cdef uint32_t at = get_node(r, CHUNK)
    if at:
        chunk_at(r, at).base = code // (64 * CHUNK_WORDS)
        chunk_at(r, at).next = following
        close_change32(&r.nodes[at].version)
    return at


cdef bint to_chunks(Region* r, Node* node) noexcept nogil:
    """Moves inline owners into chunks. False when there is no room."""
    cdef Node moved
    cdef uint32_t at
    cdef uint32_t first = 0
    cdef int i
    memset(&moved, 0, sizeof(Node))
    moved.owners = CHUNKED
    for i in range(node.owners):
        at = chunk_with(r, &moved, node.owner[i])
        if at == 0:
            at = get_chunk(r, node.owner[i], first)
            if at == 0:
                give_chunks(r, first)
                return False
            first = at
            set_first_chunk(&moved, first)
        put(chunk_at(r, at).bits, node.owner[i] % (64 * CHUNK_WORDS))
    open_change32(&node.version)
    node.owners = CHUNKED
    set_first_chunk(node, first)
    close_change32(&node.version)
    return True


cdef void drop_lost(Region* r, Node* node) noexcept nogil:
    """Takes codes off that nobody has any more."""
    cdef uint64_t* codes = owner_set(r, node)
    cdef uint32_t w
    for w in range(r.words):
        codes[w] &= ~(r.draining[w] | r.sweeping[w])
    write_owners(r, node, codes)


cdef bint add_owner(Region* r, Node* node, uint32_t code) noexcept nogil:
    """False when there is no room. The node is pinned or not in the order of eviction."""
    cdef uint32_t at
    if node.owners == INLINE_OWNERS:
        drop_lost(r, node)
    if node.owners < INLINE_OWNERS:
        open_change32(&node.version)
        node.owner[node.owners] = code
        node.owners += 1
        close_change32(&node.version)
        return True
    if node.owners != CHUNKED and not to_chunks(r, node):
        return False
    at = chunk_with(r, node, code)
    if at == 0:
        at = get_chunk(r, code, first_chunk(node))
        if at == 0:
            return False
        open_change32(&node.version)
        set_first_chunk(node, at)
    else:
        open_change32(&node.version)
    put(chunk_at(r, at).bits, code % (64 * CHUNK_WORDS))
    close_change32(&node.version)
    return True


cdef void drop_owner(Region* r, Node* node, uint32_t code) noexcept nogil:
    """`code` is one of the owners."""
    cdef uint64_t* codes
    cdef int i = 0
    if node.owners == CHUNKED:
        codes = owner_set(r, node)
        codes[code >> 6] &= ~(<uint64_t> 1 << (code & 63))
        write_owners(r, node, codes)
        return
    while node.owner[i] != code:
        i += 1
    open_change32(&node.version)
    node.owners -= 1
    node.owner[i] = node.owner[node.owners]
    close_change32(&node.version)


cdef void disown_all(Region* r, Node* node) noexcept nogil:
    cdef uint32_t chunks = first_chunk(node) if node.owners == CHUNKED else 0
    open_change32(&node.version)
    node.owners = 0
    close_change32(&node.version)
    give_chunks(r, chunks)


# ---- nodes --------------------------------------------------------------------------------------------------------

cdef uint32_t get_node(Region* r, int kind) noexcept nogil:
    """An empty node whose change is open, 0 when there is no room and nothing that may be evicted."""
    cdef Header* h = r.header
    cdef Node* node
    cdef uint32_t at, version
    while not h.free_nodes and h.node_top > r.max_nodes:
        if not sweep_all(r) and not evict(r):
            return 0
    if h.free_nodes:
        at = h.free_nodes
        h.free_nodes = r.nodes[at].parent
    else:
        at = h.node_top
        h.node_top += 1
        # What an earlier writer left here when it died.
        r.nodes[at].version &= ~<uint32_t> 1
    node = &r.nodes[at]
    open_change32(&node.version)
    version = node.version
    memset(node, 0, sizeof(Node))
    node.version = version
    node.kind = kind
    h.nodes_used += 1
    h.nodes_of[kind] += 1
    return at


cdef void give_node(Region* r, uint32_t at) noexcept nogil:
    """It is in no list and in no table, and has no owners in chunks."""
    cdef Node* node = &r.nodes[at]
    r.header.nodes_used -= 1
    r.header.nodes_of[node.kind] -= 1
    open_change32(&node.version)
    node.kind = FREE
    node.owners = 0
    node.parent = r.header.free_nodes
    close_change32(&node.version)
    r.header.free_nodes = at


cdef void drop_alias(Region* r, uint32_t at) noexcept nogil:
    """Takes an alias off its block and gives it back."""
    cdef Node* alias = &r.nodes[at]
    cdef Node* block = &r.nodes[alias.parent]
    cdef uint32_t* link = &block.aliases
    open_change32(&block.version)
    while link[0] != at:
        link = &r.nodes[link[0]].children
    link[0] = alias.children
    close_change32(&block.version)
    table_drop(r, r.ids, id_hash(r.salt, ALIAS, alias.local, alias.id), at)
    give_node(r, at)


cdef void forget(Region* r, uint32_t at) noexcept nogil:
    """Takes a block out of both tables and of the order, and gives it back with its aliases."""
    cdef Node* node = &r.nodes[at]
    unlist(r, at)
    while node.aliases:
        drop_alias(r, node.aliases)
    table_drop(r, r.paths, node.path_hash, at)
    if node.flags & NAMED:
        table_drop(r, r.ids, id_hash(r.salt, node.kind, 0, node.id), at)
    give_node(r, at)


cdef inline bint unused(const Region* r, uint32_t at) noexcept nogil:
    return at != r.pinned and r.nodes[at].owners == 0 and (r.nodes[at].kind != DEVICE or r.nodes[at].children == 0)


cdef void release(Region* r, uint32_t at) noexcept nogil:
    """Gives a block back if it has neither owners nor continuations, then its ancestors alike."""
    cdef uint32_t parent, place
    cdef Node* node = &r.nodes[at]
    if not unused(r, at):
        return
    place = node.newer if node.flags & LISTED else 0
    while True:
        parent = r.nodes[at].parent if r.nodes[at].kind == DEVICE else 0
        forget(r, at)
        if parent == 0:
            return
        r.nodes[parent].children -= 1
        if not unused(r, parent):
            break
        at = parent
    if r.nodes[parent].children == 0 and parent != r.pinned:
        list_before(r, parent, place)


cdef void uncount(Region* r, const Node* node, uint32_t code) noexcept nogil:
    """One block less for the rank that has this code, if any has."""
    cdef uint32_t slot = r.code_slot[code]
    if slot == 0:
        return
    if node.kind == DEVICE:
        r.ranks[slot - 1].blocks -= 1
    else:
        r.ranks[slot - 1].lower_blocks -= 1


cdef bint evict(Region* r) noexcept nogil:
    """Takes the oldest block from all who own it. False when there is none."""
    cdef uint32_t at = r.header.oldest
    cdef Node* node = &r.nodes[at]
    cdef uint64_t* codes
    cdef uint64_t word
    cdef uint32_t w
    if at == 0:
        return False
    codes = owner_set(r, node)
    for w in range(r.words):
        word = codes[w]
        while word:
            uncount(r, node, w * 64 + lowest_bit(word))
            word &= word - 1
    disown_all(r, node)
    r.header.evicted_blocks += 1
    release(r, at)
    return True


# ---- codes that were left behind ----------------------------------------------------------------------------------

cdef void sweep_node(Region* r, uint32_t at) noexcept nogil:
    """Takes the codes being swept off one node."""
    cdef Node* node = &r.nodes[at]
    cdef const uint64_t* codes
    cdef uint64_t hit = 0
    cdef uint32_t alias, following, w
    if node.kind < DEVICE or node.kind > EXTERNAL:
        return
    alias = node.aliases
    while alias:
        following = r.nodes[alias].children
        if in_set(r.sweeping, <uint32_t> r.nodes[alias].local):
            drop_alias(r, alias)
        alias = following
    codes = owner_set(r, node)
    for w in range(r.words):
        hit |= codes[w] & r.sweeping[w]
    if hit:
        drop_lost(r, node)
        release(r, at)


cdef bint sweep(Region* r, uint32_t steps) noexcept nogil:
    """Goes on with taking codes that were left behind off the nodes. False when there is nothing to do."""
    if r.sweep_end == 0:
        if not r.left_behind:
            return False
        r.left_behind = False
        memcpy(r.sweeping, r.draining, r.words * 8)
        memset(r.draining, 0, r.words * 8)
        r.sweep_at = 1
        r.sweep_end = r.header.node_top
    while steps and r.sweep_at < r.sweep_end:
        sweep_node(r, r.sweep_at)
        r.sweep_at += 1
        steps -= 1
    if r.sweep_at == r.sweep_end:
        r.sweep_end = 0
        memset(r.sweeping, 0, r.words * 8)
    return True


cdef bint sweep_all(Region* r) noexcept nogil:
    """Until no code is left behind. False when there was none."""
    cdef bint any = False
    while sweep(r, 0xFFFFFFFFU):
        any = True
    return any
