# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Hashes of the KV blocks of a prompt, as Dynamo 1.6.1 and its workers compute them.

Local hash of a block: XXH3-64 of its token ids, each a little-endian u32, then of its multimodal hashes, ascending, each a
little-endian u64. Sequence hash: the first is the local one, each further one XXH3-64 of (previous sequence hash, local
hash), both little-endian u64. Only full blocks count.
"""
from cpython cimport array
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import array as arrays

include "buffers.pxi"

cdef extern from "xxh3.h":
    enum:
        XXH3_SECRET_BYTES
    void xxh3_secret(uint8_t* out, uint64_t seed) noexcept nogil
    uint64_t xxh3_64(const uint8_t* p, size_t size, uint64_t seed, const uint8_t* secret) noexcept nogil

cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject* PyList_GET_ITEM(object list, Py_ssize_t i)
    int PyLong_CheckExact(PyObject* value)
    size_t PyLong_AsSize_t(PyObject* value) except? <size_t> -1

cdef extern from *:
    """
    /* -1 unless the number is not negative and fits one digit, that is 30 bits. A call for each costs three times as much. */
    static inline Py_ssize_t one_digit(PyObject* value) {
    #if PY_VERSION_HEX >= 0x030C0000
        return PyUnstable_Long_IsCompact((PyLongObject*) value) ? PyUnstable_Long_CompactValue((PyLongObject*) value) : -1;
    #else
        Py_ssize_t digits = Py_SIZE(value);
        return digits == 1 ? (Py_ssize_t) ((PyLongObject*) value)->ob_digit[0] : digits == 0 ? 0 : -1;
    #endif
    }
    """
    Py_ssize_t one_digit(PyObject* value) noexcept

PUBLIC_SEED = 1337

cdef enum:
    # To hand the GIL over costs two switches of threads where others wait for it, some 10 us: as long as 40,000 tokens take.
    # What is shorter than that keeps it.
    LONG_TOKENS = 65536
    LONG_BLOCKS = 4096

cdef array.array U32 = arrays.array("I")
cdef array.array U64 = arrays.array("Q")


def xxh3(const uint8_t[::1] data not None, uint64_t seed=0):
    """XXH3-64 of some bytes."""
    cdef uint8_t secret[XXH3_SECRET_BYTES]
    cdef size_t size = data.shape[0]
    xxh3_secret(secret, seed)
    return xxh3_64(&data[0] if size else NULL, size, seed, secret)


def block_seed(str lora_name, str cache_namespace):
    """The seed of local hashes. None and "" are the same: neither changes it."""
    seed = PUBLIC_SEED
    if lora_name:
        seed += xxh3(lora_name.encode(), 0)
    if cache_namespace:
        seed += xxh3(cache_namespace.encode(), 1)
    return seed & 0xFFFFFFFFFFFFFFFF


def pack_tokens(list token_ids not None):
    """The ids as an array of u32. Raises TypeError for what is no int, ValueError for an id outside 0..2^32-1."""
    cdef Py_ssize_t count = len(token_ids)
    cdef Py_ssize_t i
    cdef array.array out = array.clone(U32, count, False)
    cdef unsigned int* words = out.data.as_uints
    cdef PyObject* token
    cdef Py_ssize_t digit
    cdef size_t value
    try:
        for i in range(count):
            # A borrowed reference: counting it would write to every id's memory.
            token = PyList_GET_ITEM(token_ids, i)
            if not PyLong_CheckExact(token):
                raise TypeError(f"token id {token_ids[i]!r} is not an integer")
            digit = one_digit(token)
            if digit >= 0:
                words[i] = <unsigned int> digit
                continue
            value = PyLong_AsSize_t(token)
            if value > 0xFFFFFFFFU:
                raise OverflowError
            words[i] = <unsigned int> value
    except OverflowError:
        raise ValueError(f"token id {token_ids[i]} is out of range") from None
    return out


cdef void hash_blocks(
    const uint32_t* tokens, Py_ssize_t window, Py_ssize_t stride, Py_ssize_t blocks, uint64_t seed, uint64_t* out
) noexcept nogil:
    cdef uint8_t secret[XXH3_SECRET_BYTES]
    cdef Py_ssize_t i
    xxh3_secret(secret, seed)
    for i in range(blocks):
        out[i] = xxh3_64(<const uint8_t*> (tokens + i * stride), 4 * window, seed, secret)


cdef uint64_t hash_with_objects(const uint32_t* tokens, Py_ssize_t window, uint64_t seed, objects) except? 0:
    """The local hash of one block that holds multimodal objects."""
    cdef uint8_t secret[XXH3_SECRET_BYTES]
    cdef uint64_t value
    cdef bytearray data = bytearray(4 * window + 8 * len(objects))
    cdef uint8_t* at = data
    xxh3_secret(secret, seed)
    memcpy(at, tokens, 4 * window)
    at += 4 * window
    for number in sorted(objects):
        value = number
        memcpy(at, &value, 8)
        at += 8
    return xxh3_64(data, len(data), seed, secret)


def local_hashes(tokens, Py_ssize_t block_tokens, uint64_t seed=PUBLIC_SEED, bint eagle=False, mm_hashes=None):
    """One u64 a full block, as an array.

    `tokens` is a buffer of u32 or a list of ints. With `eagle` a block's hash covers one token more than the block, so the
    last token closes none. `mm_hashes[i]` are the hashes of the multimodal objects in block i (None or empty: none; the list
    may be shorter than the prompt or longer). Raises ValueError for a block size below 1 and for a token id out of range.
    """
    cdef Words words
    cdef Py_ssize_t window = block_tokens + eagle
    cdef Py_ssize_t blocks, i
    cdef array.array out
    cdef const uint32_t* data
    cdef uint64_t* hashes
    if block_tokens < 1:
        raise ValueError(f"block size {block_tokens} is not positive")
    if isinstance(tokens, list):
        tokens = pack_tokens(tokens)
    words = Words(tokens, 4)
    data = <const uint32_t*> words.data
    blocks = max(words.count - eagle, 0) // block_tokens
    out = array.clone(U64, blocks, False)
    hashes = <uint64_t*> out.data.as_ulonglongs
    if words.count < LONG_TOKENS:
        hash_blocks(data, window, block_tokens, blocks, seed, hashes)
    else:
        with nogil:
            hash_blocks(data, window, block_tokens, blocks, seed, hashes)
    if mm_hashes is not None:
        for i in range(min(blocks, <Py_ssize_t> len(mm_hashes))):
            if mm_hashes[i]:
                hashes[i] = hash_with_objects(data + i * block_tokens, window, seed, mm_hashes[i])
    return out


cdef void chain(const uint64_t* local, Py_ssize_t blocks, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef uint64_t pair[2]
    cdef Py_ssize_t i
    if blocks:
        out[0] = local[0]
    for i in range(1, blocks):
        pair[0] = out[i - 1]
        pair[1] = local[i]
        out[i] = xxh3_64(<const uint8_t*> pair, 16, seed, NULL)


def sequence_hashes(local, uint64_t chain_seed=PUBLIC_SEED):
    """One u64 a block, as an array: what the block and all before it hold. `local` is a buffer of local hashes."""
    cdef Words words = Words(local, 8)
    cdef array.array out = array.clone(U64, words.count, False)
    cdef const uint64_t* data = <const uint64_t*> words.data
    cdef uint64_t* hashes = <uint64_t*> out.data.as_ulonglongs
    if words.count < LONG_BLOCKS:
        chain(data, words.count, chain_seed, hashes)
    else:
        with nogil:
            chain(data, words.count, chain_seed, hashes)
    return out
