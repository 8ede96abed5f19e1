/* What the prefix index and the decision rings need of the machine: ordered loads and stores, prefetching, a search in
 * twelve tags, and memory that is forgotten.
 *
 * Readers look at memory that one writer changes. A word that orders others (a version, a counter) goes through these
 * functions; everything between two looks at an unchanged version is then known to have been read whole.
 */
#ifndef DYNAMO_FE_LOCKFREE_H
#define DYNAMO_FE_LOCKFREE_H

#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline uint32_t load_acquire32(const uint32_t* at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline uint64_t load_acquire64(const uint64_t* at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline uint32_t load_again32(const uint32_t* at) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}
static inline uint64_t load_again64(const uint64_t* at) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}
static inline void store_release8(uint8_t* at, uint8_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline void store_release64(uint64_t* at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline void store_first64(uint64_t* at, uint64_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

/* A version or counter is odd while what it guards is being changed. */
static inline void open_change32(uint32_t* version) {
    __atomic_store_n(version, *version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}
static inline void close_change32(uint32_t* version) { __atomic_store_n(version, *version + 1, __ATOMIC_RELEASE); }
static inline void open_change64(uint64_t* version) {
    __atomic_store_n(version, *version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}
static inline void close_change64(uint64_t* version) { __atomic_store_n(version, *version + 1, __ATOMIC_RELEASE); }

static inline void prefetch(const void* at) { __builtin_prefetch(at); }

/* Zeroes memory. Of more than 256 MB whole pages go back to the system instead, where it is shared: zeroed ones come when they
 * are wanted. That costs 2.5 us each, 110 us for a prompt of 34 new blocks, so it is for what nobody could wait for.
 */
#define FORGOTTEN_BY_WRITING ((size_t) 256 << 20)
static inline void forget_bytes(void* from, size_t size) {
    uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t) from, end = begin + size;
    uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (size > FORGOTTEN_BY_WRITING && first < last && madvise((void*) first, last - first, MADV_REMOVE) == 0) {
        memset(from, 0, first - begin);
        memset((void*) last, 0, end - last);
    } else {
        memset(from, 0, size);
    }
}
static inline void give_way(void) { sched_yield(); }
static inline int lowest_bit(uint64_t word) { return __builtin_ctzll(word); }
static inline int bits_in(uint64_t word) { return __builtin_popcountll(word); }

/* The upper half of a mixed product: how both hash tables and the paths of blocks are hashed. */
static inline uint32_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128) (a ^ 0x9E3779B97F4A7C15ULL) * (b ^ 0xC2B2AE3D27D4EB4FULL);
    uint64_t h = (uint64_t) product ^ (uint64_t) (product >> 64);
    h = (h ^ (h >> 29)) * 0x165667919E3779F9ULL;
    return (uint32_t) (h >> 32);
}

/* One bit for each of the first twelve bytes that equals `tag`; sixteen are readable. */
static inline uint32_t equal_tags(const uint8_t* tags, uint8_t tag) {
#ifdef __SSE2__
    __m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i*) tags), _mm_set1_epi8((char) tag));
    return (uint32_t) _mm_movemask_epi8(same) & 0xFFF;
#else
    uint32_t bits = 0;
    for (int i = 0; i < 12; i++)
        bits |= (uint32_t) (tags[i] == tag) << i;
    return bits;
#endif
}

#endif
