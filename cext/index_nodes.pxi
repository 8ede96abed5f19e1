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

cdef bint owns(const Region* r, const Node* node, uint32_t code) noexcept nogil:
    cdef int i
    if node.owners == PAGED:
        return in_set(page_of(<Region*> r, page_number(node)), code)
    for i in range(node.owners):
        if node.owner[i] == code:
            return True
    return False


cdef void give_page(Region* r, uint32_t page) noexcept nogil:
    (<uint32_t*> page_of(r, page))[0] = r.header.free_pages
    r.header.free_pages = page
    r.header.pages_used -= 1


cdef uint32_t get_page(Region* r) noexcept nogil:
    """0 when there is none and evicting some blocks gave none back."""
    cdef Header* h = r.header
    cdef uint32_t page
    cdef uint64_t free_bytes
    cdef int tries
    for tries in range(32):
        free_bytes = r.end - <uint8_t*> &r.nodes[h.node_top] - <uint64_t> h.page_top * r.page_bytes
        if h.free_pages:
            page = h.free_pages
            h.free_pages = (<uint32_t*> page_of(r, page))[0]
            h.pages_used += 1
            return page
        if h.page_top < r.reserved_pages or free_bytes >= r.page_bytes:
            h.page_top += 1
            h.pages_used += 1
            return h.page_top
        if not evict(r):
            break
    return 0


cdef void keep_inline(Region* r, Node* node, uint32_t code, bint keep) noexcept nogil:
    """Takes `code` off an inline list, or all codes that nobody has any more (`keep`)."""
    cdef int i
    cdef int kept = 0
    open_change32(&node.version)
    for i in range(node.owners):
        if (r.code_slot[node.owner[i]] != 0) if keep else (node.owner[i] != code):
            node.owner[kept] = node.owner[i]
            kept += 1
    node.owners = kept
    close_change32(&node.version)


cdef void page_to_inline(Region* r, Node* node) noexcept nogil:
    """Gives the page back once half the inline room would do."""
    cdef uint32_t page = page_number(node)
    cdef uint64_t* words = page_of(r, page)
    cdef uint64_t word
    cdef uint32_t w
    cdef int count = 0
    for w in range(r.words):
        count += bits_in(words[w])
        if count > INLINE_OWNERS // 2:
            return
    open_change32(&node.version)
    node.owners = 0
    for w in range(r.words):
        word = words[w]
        while word:
            node.owner[node.owners] = w * 64 + lowest_bit(word)
            node.owners += 1
            word &= word - 1
    close_change32(&node.version)
    give_page(r, page)


cdef bint add_owner(Region* r, Node* node, uint32_t code) noexcept nogil:
    """False when there is no room. The node is pinned or not in the order of eviction."""
    cdef uint32_t page
    cdef uint64_t* words
    cdef int i
    if node.owners == INLINE_OWNERS:
        keep_inline(r, node, 0, True)
    if node.owners < INLINE_OWNERS:
        open_change32(&node.version)
        node.owner[node.owners] = code
        node.owners += 1
        close_change32(&node.version)
        return True
    if node.owners == PAGED:
        open_change32(&node.version)
        put(page_of(r, page_number(node)), code)
        close_change32(&node.version)
        return True
    page = get_page(r)
    if page == 0:
        return False
    words = page_of(r, page)
    memset(words, 0, r.page_bytes)
    for i in range(INLINE_OWNERS):
        put(words, node.owner[i])
    put(words, code)
    open_change32(&node.version)
    node.owner[0] = page & 0xFFFF
    node.owner[1] = page >> 16
    node.owners = PAGED
    close_change32(&node.version)
    return True


cdef void drop_owner(Region* r, Node* node, uint32_t code) noexcept nogil:
    cdef uint64_t* words
    if node.owners != PAGED:
        keep_inline(r, node, code, False)
        return
    words = page_of(r, page_number(node))
    open_change32(&node.version)
    words[code >> 6] &= ~(<uint64_t> 1 << (code & 63))
    close_change32(&node.version)
    page_to_inline(r, node)


cdef void disown_all(Region* r, Node* node) noexcept nogil:
    cdef uint32_t page = page_number(node) if node.owners == PAGED else 0
    open_change32(&node.version)
    node.owners = 0
    close_change32(&node.version)
    if page:
        give_page(r, page)


# ---- nodes --------------------------------------------------------------------------------------------------------

cdef uint32_t get_node(Region* r, int kind) noexcept nogil:
    """An empty node whose change is open, 0 when there is no room and nothing that may be evicted."""
    cdef Header* h = r.header
    cdef Node* node
    cdef uint32_t at, version
    cdef uint32_t pages
    while True:
        pages = h.page_top if h.page_top > r.reserved_pages else r.reserved_pages
        if h.free_nodes:
            at = h.free_nodes
            h.free_nodes = r.nodes[at].parent
            break
        if h.node_top <= r.max_nodes and <uint8_t*> &r.nodes[h.node_top + 1] <= r.end - <uint64_t> pages * r.page_bytes:
            at = h.node_top
            h.node_top += 1
            # What an earlier writer left here when it died.
            r.nodes[at].version &= ~<uint32_t> 1
            break
        if not sweep_all(r) and not evict(r):
            return 0
    node = &r.nodes[at]
    open_change32(&node.version)
    version = node.version
    memset(node, 0, sizeof(Node))
    node.version = version
    node.kind = kind
    h.nodes_used += 1
    h.tier_nodes[kind] += 1
    return at


cdef void give_node(Region* r, uint32_t at) noexcept nogil:
    """It is in no list and in no table."""
    cdef Node* node = &r.nodes[at]
    r.header.nodes_used -= 1
    r.header.tier_nodes[node.kind] -= 1
    disown_all(r, node)
    open_change32(&node.version)
    node.kind = FREE
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
    cdef uint64_t* words
    cdef uint64_t word
    cdef uint32_t w
    cdef int i
    if at == 0:
        return False
    if node.owners == PAGED:
        words = page_of(r, page_number(node))
        for w in range(r.words):
            word = words[w]
            while word:
                uncount(r, node, w * 64 + lowest_bit(word))
                word &= word - 1
    else:
        for i in range(node.owners):
            uncount(r, node, node.owner[i])
    disown_all(r, node)
    r.header.evicted_blocks += 1
    release(r, at)
    return True


# ---- codes that were left behind ----------------------------------------------------------------------------------

cdef void sweep_node(Region* r, uint32_t at) noexcept nogil:
    """Takes the codes being swept off one node."""
    cdef Node* node = &r.nodes[at]
    cdef uint64_t* words
    cdef uint64_t hit = 0
    cdef uint32_t alias, following, w
    cdef int i
    if node.kind == FREE or node.kind == ALIAS:
        return
    alias = node.aliases
    while alias:
        following = r.nodes[alias].children
        if in_set(r.sweeping, <uint32_t> r.nodes[alias].local):
            drop_alias(r, alias)
        alias = following
    if node.owners == PAGED:
        words = page_of(r, page_number(node))
        for w in range(r.words):
            hit |= words[w] & r.sweeping[w]
        if hit:
            open_change32(&node.version)
            for w in range(r.words):
                words[w] &= ~r.sweeping[w]
            close_change32(&node.version)
            page_to_inline(r, node)
    else:
        for i in range(node.owners):
            hit |= in_set(r.sweeping, node.owner[i])
        if hit:
            keep_inline(r, node, 0, True)
    if hit:
        release(r, at)


cdef bint sweep(Region* r, uint32_t steps) noexcept nogil:
    """Goes on with taking codes that were left behind off the nodes. False when there is nothing to do."""
    cdef uint32_t w
    cdef bint any = False
    if r.sweep_end == 0:
        for w in range(r.words):
            any |= r.draining[w] != 0
            r.sweeping[w] = r.draining[w]
            r.draining[w] = 0
        if not any:
            return False
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
