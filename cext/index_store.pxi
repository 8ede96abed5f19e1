# Applying events: what a rank stores, removes and clears. The writer's side only.
#
# A rank owns a block under the id by which the block is named (that of whoever stored it first), or under aliases: as soon as
# it has one alias of a block, all its ids of that block are aliases.

cdef enum:
    AHEAD = 8

cdef struct Owned:
    uint32_t at               # the block that the rank owns under the id, 0: none
    uint32_t named            # the block named by the id, whoever owns it, 0: none


cdef void settle(Region* r, uint32_t at) noexcept nogil:
    """Puts a block that was pinned where it belongs."""
    if r.nodes[at].kind == DEVICE and r.nodes[at].children:
        return
    if r.nodes[at].owners:
        list_before(r, at, 0)
    else:
        release(r, at)


cdef void pin(Region* r, uint32_t at) noexcept nogil:
    """Keeps `at` (0: nothing) from being evicted, in place of what was pinned before."""
    cdef uint32_t before = r.pinned
    if before == at:
        return
    if at:
        unlist(r, at)
    r.pinned = at
    if before:
        settle(r, before)


cdef bint has_alias(const Region* r, const Node* node, uint32_t code) noexcept nogil:
    cdef uint32_t at = node.aliases
    while at:
        if r.nodes[at].local == code:
            return True
        at = r.nodes[at].children
    return False


cdef uint32_t find_alias(const Region* r, uint32_t code, uint64_t id) noexcept nogil:
    cdef Search s = search(r, r.ids, id_hash(r.salt, ALIAS, code, id))
    cdef uint32_t at = next_match(r, r.ids, &s)
    while at and not (r.nodes[at].kind == ALIAS and r.nodes[at].id == id and r.nodes[at].local == code):
        at = next_match(r, r.ids, &s)
    return at


cdef Owned owned_block(const Region* r, uint32_t code, uint64_t id) noexcept nogil:
    cdef Owned found
    cdef const Node* node
    cdef Search s = search(r, r.ids, id_hash(r.salt, DEVICE, 0, id))
    found.at = 0
    found.named = next_match(r, r.ids, &s)
    while found.named and not (r.nodes[found.named].kind == DEVICE and r.nodes[found.named].id == id):
        found.named = next_match(r, r.ids, &s)
    if found.named:
        node = &r.nodes[found.named]
        if owns(r, node, code) and not has_alias(r, node, code):
            found.at = found.named
    if found.at == 0 and r.header.nodes_of[ALIAS]:
        found.at = find_alias(r, code, id)
        if found.at:
            found.at = r.nodes[found.at].parent
    return found


cdef uint32_t find_child(const Region* r, uint32_t h, uint32_t parent, uint64_t local) noexcept nogil:
    cdef const Node* node
    cdef Search s = search(r, r.paths, h)
    cdef uint32_t at = next_match(r, r.paths, &s)
    while at:
        node = &r.nodes[at]
        if node.kind == DEVICE and node.parent == parent and node.local == local:
            return at
        at = next_match(r, r.paths, &s)
    return 0


cdef uint32_t add_child(Region* r, uint32_t h, uint32_t parent, uint64_t local, uint64_t id, bint name) noexcept nogil:
    """A block that nobody owns yet, pinned. 0 when there is no room."""
    cdef uint32_t at = get_node(r, DEVICE)
    cdef Node* node
    if at == 0:
        return 0
    node = &r.nodes[at]
    node.local = local
    node.id = id
    node.parent = parent
    node.path_hash = h
    if name:
        node.flags = NAMED
        table_add(r, r.ids, id_hash(r.salt, DEVICE, 0, id), at)
    close_change32(&node.version)
    table_add(r, r.paths, h, at)
    if parent:
        r.nodes[parent].children += 1
    pin(r, at)
    return at


cdef bint add_alias(Region* r, uint32_t at, uint32_t code, uint64_t id) noexcept nogil:
    cdef uint32_t alias = get_node(r, ALIAS)
    cdef Node* block = &r.nodes[at]
    cdef Node* node
    if alias == 0:
        return False
    node = &r.nodes[alias]
    node.local = code
    node.id = id
    node.parent = at
    node.children = block.aliases
    close_change32(&node.version)
    table_add(r, r.ids, id_hash(r.salt, ALIAS, code, id), alias)
    open_change32(&block.version)
    block.aliases = alias
    close_change32(&block.version)
    return True


cdef bint own(Region* r, uint32_t at, uint32_t slot, uint32_t code, uint64_t id) noexcept nogil:
    """Makes the rank own a pinned block under one more id. False when there is no room; nothing has changed then."""
    cdef Node* node = &r.nodes[at]
    cdef bint aliased, by_name
    if not owns(r, node, code):
        by_name = node.flags & NAMED and node.id == id
        if not by_name and not add_alias(r, at, code, id):
            return False
        if not add_owner(r, node, code):
            if not by_name:
                drop_alias(r, node.aliases)
            return False
        r.ranks[slot].blocks += 1
        r.header.stored_blocks += 1
        return True
    aliased = has_alias(r, node, code)
    if not aliased and not add_alias(r, at, code, node.id):
        return False
    if not add_alias(r, at, code, id):
        if not aliased:
            drop_alias(r, node.aliases)
        return False
    return True


cdef int store_device(
    Region* r, uint32_t slot, bint has_parent, uint64_t parent, const uint64_t* ids, const uint64_t* locals,
    Py_ssize_t count,
) noexcept nogil:
    cdef uint32_t code = r.ranks[slot].code - 1
    cdef uint32_t at = 0
    cdef uint32_t h, h_ahead, child
    cdef Py_ssize_t i
    cdef Py_ssize_t ahead = 0
    cdef Owned found
    cdef int outcome = OK
    if has_parent:
        at = owned_block(r, code, parent).at
        if at == 0:
            return PARENT_NOT_FOUND
    pin(r, at)
    h_ahead = r.nodes[at].path_hash
    for i in range(count):
        while ahead < count and ahead <= i + AHEAD:
            h_ahead = child_hash(r.salt, h_ahead, locals[ahead])
            prefetch_bucket(r, r.paths, h_ahead)
            prefetch_bucket(r, r.ids, id_hash(r.salt, DEVICE, 0, ids[ahead]))
            ahead += 1
        if i + AHEAD // 2 < count:
            prefetch_node(r, r.ids, id_hash(r.salt, DEVICE, 0, ids[i + AHEAD // 2]))
        if has_parent and ids[i] == parent:
            outcome = INVALID_BLOCK
            break
        found = owned_block(r, code, ids[i])
        child = found.at
        if child == 0:
            h = child_hash(r.salt, r.nodes[at].path_hash, locals[i])
            child = find_child(r, h, at, locals[i])
            if child:
                pin(r, child)
            else:
                child = add_child(r, h, at, locals[i], ids[i], found.named == 0)
            if child == 0 or not own(r, child, slot, code, ids[i]):
                outcome = CAPACITY_EXHAUSTED
                break
        pin(r, child)
        at = child
        parent = ids[i]
        has_parent = True
    pin(r, 0)
    return outcome


cdef void disown(Region* r, uint32_t at, uint32_t slot, uint32_t code, uint64_t id) noexcept nogil:
    """The rank does not own the block under that id any more."""
    cdef Node* node = &r.nodes[at]
    cdef uint32_t alias = find_alias(r, code, id) if node.aliases else 0
    if alias:
        drop_alias(r, alias)
        if has_alias(r, node, code):
            return
    drop_owner(r, node, code)
    r.ranks[slot].blocks -= 1
    r.header.removed_blocks += 1
    release(r, at)


cdef int remove_device(Region* r, uint32_t slot, const uint64_t* ids, Py_ssize_t count) noexcept nogil:
    cdef uint32_t code = r.ranks[slot].code - 1
    cdef Py_ssize_t i
    cdef Owned found
    cdef int outcome = OK
    for i in range(count):
        if i + 2 * AHEAD < count:
            prefetch_bucket(r, r.ids, id_hash(r.salt, DEVICE, 0, ids[i + 2 * AHEAD]))
        if i + AHEAD < count:
            prefetch_node(r, r.ids, id_hash(r.salt, DEVICE, 0, ids[i + AHEAD]))
        found = owned_block(r, code, ids[i])
        if found.at:
            disown(r, found.at, slot, code, ids[i])
        else:
            outcome = BLOCK_NOT_FOUND
    return outcome


# ---- lower tiers: edges between ids -------------------------------------------------------------------------------

cdef uint32_t owned_edge(const Region* r, int kind, uint32_t code, uint64_t id) noexcept nogil:
    """The edge of this rank that leads to `id`, 0: none."""
    cdef Search s = search(r, r.ids, id_hash(r.salt, kind, 0, id))
    cdef uint32_t at = next_match(r, r.ids, &s)
    while at and not (r.nodes[at].kind == kind and r.nodes[at].id == id and owns(r, &r.nodes[at], code)):
        at = next_match(r, r.ids, &s)
    return at


cdef inline bint is_edge(const Node* node, int kind, bint at_root, uint64_t parent, uint64_t local) noexcept nogil:
    return (
        node.kind == kind
        and node.local == local
        and ((node.flags & AT_ROOT) != 0) == at_root
        and (at_root or parent_id(node) == parent)
    )


cdef bint own_edge(
    Region* r, int kind, uint32_t slot, bint at_root, uint64_t parent, uint64_t local, uint64_t id, uint32_t older_than
) noexcept nogil:
    """False when there is no room. Where the rank has an edge from there already, that one stays."""
    cdef uint32_t code = r.ranks[slot].code - 1
    cdef uint32_t h = edge_hash(r.salt, kind, at_root, 0 if at_root else parent, local)
    cdef Search s = search(r, r.paths, h)
    cdef uint32_t at = next_match(r, r.paths, &s)
    cdef uint32_t edge = 0
    cdef Node* node
    cdef bint done
    while at:
        node = &r.nodes[at]
        if is_edge(node, kind, at_root, parent, local):
            if owns(r, node, code):
                return True
            if node.id == id:
                edge = at
        at = next_match(r, r.paths, &s)
    if edge == 0:
        edge = get_node(r, kind)
        if edge == 0:
            return False
        node = &r.nodes[edge]
        node.local = local
        node.id = id
        node.flags = NAMED | (AT_ROOT if at_root else 0)
        node.parent = 0 if at_root else <uint32_t> parent
        node.children = 0 if at_root else <uint32_t> (parent >> 32)
        node.path_hash = h
        table_add(r, r.ids, id_hash(r.salt, kind, 0, id), edge)
        close_change32(&node.version)
        table_add(r, r.paths, h, edge)
    pin(r, edge)
    done = add_owner(r, &r.nodes[edge], code)
    pin(r, 0)
    if done:
        r.ranks[slot].lower_blocks += 1
        r.header.stored_blocks += 1
        if older_than and older_than != edge and r.nodes[older_than].flags & LISTED:
            unlist(r, edge)
            list_before(r, edge, older_than)
    return done


cdef int store_lower(
    Region* r, int kind, uint32_t slot, bint has_parent, uint64_t parent, const uint64_t* ids, const uint64_t* locals,
    Py_ssize_t count,
) noexcept nogil:
    cdef uint32_t code = r.ranks[slot].code - 1
    cdef uint32_t before = 0
    cdef Py_ssize_t i
    for i in range(count):
        if has_parent and ids[i] == parent:
            return INVALID_BLOCK
        if not owned_edge(r, kind, code, ids[i]):
            if not own_edge(r, kind, slot, not has_parent, parent, locals[i], ids[i], before):
                return CAPACITY_EXHAUSTED
            before = owned_edge(r, kind, code, ids[i])
        parent = ids[i]
        has_parent = True
    return OK


cdef int remove_lower(Region* r, int kind, uint32_t slot, const uint64_t* ids, Py_ssize_t count) noexcept nogil:
    cdef uint32_t code = r.ranks[slot].code - 1
    cdef Py_ssize_t i
    cdef uint32_t at
    cdef int outcome = OK
    for i in range(count):
        at = owned_edge(r, kind, code, ids[i])
        if at:
            drop_owner(r, &r.nodes[at], code)
            r.ranks[slot].lower_blocks -= 1
            r.header.removed_blocks += 1
            release(r, at)
        else:
            outcome = BLOCK_NOT_FOUND
    return outcome


# ---- ranks --------------------------------------------------------------------------------------------------------

cdef uint32_t free_code(Region* r) noexcept nogil:
    """A code that no node carries. There are more codes than ranks."""
    cdef uint32_t code = 0
    while r.code_slot[code] or in_set(r.draining, code) or in_set(r.sweeping, code):
        code += 1
        if code == r.codes:
            sweep_all(r)
            code = 0
    return code


cdef void take_code(Region* r, uint32_t slot, uint32_t code) noexcept nogil:
    r.code_slot[code] = slot + 1
    r.ranks[slot].code = code + 1
    r.ranks[slot].blocks = 0
    r.ranks[slot].lower_blocks = 0
    if r.header.code_top <= code:
        r.header.code_top = code + 1


cdef void leave_code(Region* r, uint32_t slot) noexcept nogil:
    """From now on nobody owns what the rank owned."""
    cdef uint32_t code = r.ranks[slot].code - 1
    r.code_slot[code] = 0
    r.ranks[slot].code = 0
    put(r.draining, code)
    r.left_behind = True


cdef void seat_rank(Region* r, uint32_t slot, uint64_t worker_id, uint32_t dp_rank) noexcept nogil:
    cdef uint32_t code = free_code(r)
    open_change64(&r.header.ranks_version)
    r.ranks[slot].worker_id = worker_id
    r.ranks[slot].dp_rank = dp_rank
    take_code(r, slot, code)
    close_change64(&r.header.ranks_version)


cdef void clear_rank(Region* r, uint32_t slot) noexcept nogil:
    cdef uint32_t code = free_code(r)
    open_change64(&r.header.ranks_version)
    leave_code(r, slot)
    take_code(r, slot, code)
    close_change64(&r.header.ranks_version)


cdef void unseat_rank(Region* r, uint32_t slot) noexcept nogil:
    open_change64(&r.header.ranks_version)
    leave_code(r, slot)
    close_change64(&r.header.ranks_version)
