# What an index holds, as the stores that make it again. Seldom wanted, so it may make Python objects.


cdef list owner_codes(Region* r, const Node* node):
    """The codes of live ranks that own a node."""
    cdef const uint64_t* codes = owner_set(r, node)
    cdef uint32_t code
    return [code for code in range(r.codes) if r.code_slot[code] and in_set(codes, code)]


cdef list ids_of(Region* r, const Node* node, uint32_t code):
    """All ids under which a rank owns a block, the one registered last first."""
    cdef uint32_t at = node.aliases
    cdef list ids = []
    while at:
        if r.nodes[at].local == code:
            ids.append(r.nodes[at].id)
        at = r.nodes[at].children
    return ids or [node.id]


cdef tuple rank_of(Region* r, uint32_t code):
    cdef uint32_t slot = r.code_slot[code] - 1
    return r.ranks[slot].worker_id, r.ranks[slot].dp_rank


cdef list dump_device(Region* r):
    """A run of blocks is one store as long as each is the first continuation of the one before."""
    cdef uint32_t at
    cdef Node* node
    cdef dict children = {}
    cdef dict open_runs = {}
    cdef list out = []
    for at in range(1, r.header.node_top):
        if r.nodes[at].kind == DEVICE:
            children.setdefault(r.nodes[at].parent, []).append(at)
    # Every entry with the ranks that hold the whole path to its parent, and the id that each has for that.
    pending = [(at, None) for at in children.get(0, ())]
    while pending:
        number, held = pending.pop()
        at = number
        node = &r.nodes[at]
        here = {}
        for code in owner_codes(r, node):
            if held is not None and code not in held:
                continue
            parent = None if held is None else held[code]
            ids = ids_of(r, node, code)
            run = open_runs.get(code)
            if run is not None and parent is not None and run[0] == node.parent:
                run[1].append(ids[0])
                run[2].append(node.local)
            else:
                run = [0, arrays.array("Q", ids[:1]), arrays.array("Q", [node.local])]
                out.append((*rank_of(r, code), 0, parent, run[1], run[2]))
            for further in ids[1:]:
                out.append((*rank_of(r, code), 0, parent, arrays.array("Q", [further]), arrays.array("Q", [node.local])))
            run[0] = number
            open_runs[code] = run
            here[code] = ids[0]
        pending += [(child, here) for child in children.get(number, ())]
    return out


cdef list dump_lower(Region* r):
    cdef uint32_t at
    cdef Node* node
    cdef list out = []
    for at in range(1, r.header.node_top):
        node = &r.nodes[at]
        if node.kind in (HOST, DISK, EXTERNAL):
            parent = None if node.flags & AT_ROOT else parent_id(node)
            for code in owner_codes(r, node):
                ids, locals = arrays.array("Q", [node.id]), arrays.array("Q", [node.local])
                out.append((*rank_of(r, code), node.kind - DEVICE, parent, ids, locals))
    return out


cdef list dump_stores(Region* r):
    """Stores by rank, parents first. Blocks to which no whole path of the same rank leads are left out."""
    return dump_device(r) + dump_lower(r)
