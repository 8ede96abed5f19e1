/* XXH3-64 with a seed, the part of it that block hashing needs. Derived from xxhash.h 0.8, whose notice follows.
 *
 * Differences: one pass over memory only (no streaming state), little-endian machines only, and the secret that a seed
 * stands for is made once by xxh3_secret() instead of once a block.
 *
 * xxHash Library, Copyright (c) 2012-2021 Yann Collet. All rights reserved.
 * BSD 2-Clause License (https://www.opensource.org/licenses/bsd-license.php)
 *
 * Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
 * following conditions are met:
 * * Redistributions of source code must retain the above copyright notice, this list of conditions and the following
 *   disclaimer.
 * * Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
 *   disclaimer in the documentation and/or other materials provided with the distribution.
 *
 * THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
 * INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
 * DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
 * SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
 * SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
 * WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
 * OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
 */
#ifndef DYNAMO_FE_XXH3_H
#define DYNAMO_FE_XXH3_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "block hashes are read from memory as little-endian words"
#endif

#define XXH3_SECRET_BYTES 192
#define XXH3_STRIPE 64
#define XXH3_STRIPES_PER_BLOCK ((XXH3_SECRET_BYTES - XXH3_STRIPE) / 8)

#define XXH3_PRIME32_1 0x9E3779B1U
#define XXH3_PRIME32_2 0x85EBCA77U
#define XXH3_PRIME32_3 0xC2B2AE3DU
#define XXH3_PRIME64_1 0x9E3779B185EBCA87ULL
#define XXH3_PRIME64_2 0xC2B2AE3D27D4EB4FULL
#define XXH3_PRIME64_3 0x165667B19E3779F9ULL
#define XXH3_PRIME64_4 0x85EBCA77C2B2AE63ULL
#define XXH3_PRIME64_5 0x27D4EB2F165667C5ULL
#define XXH3_PRIME_MX1 0x165667919E3779F9ULL
#define XXH3_PRIME_MX2 0x9FB21C651E98DF25ULL

static const uint8_t XXH3_DEFAULT_SECRET[XXH3_SECRET_BYTES] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static inline uint32_t xxh3_read32(const uint8_t* p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t xxh3_read64(const uint8_t* p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint64_t xxh3_rotl(uint64_t v, int bits) { return (v << bits) | (v >> (64 - bits)); }

static inline uint64_t xxh3_fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static inline uint64_t xxh3_avalanche(uint64_t h) {
    h ^= h >> 37;
    h *= XXH3_PRIME_MX1;
    return h ^ (h >> 32);
}

static inline uint64_t xxh3_mix16(const uint8_t* p, const uint8_t* secret, uint64_t seed) {
    return xxh3_fold(xxh3_read64(p) ^ (xxh3_read64(secret) + seed), xxh3_read64(p + 8) ^ (xxh3_read64(secret + 8) - seed));
}

static inline uint64_t xxh3_0to16(const uint8_t* p, size_t size, uint64_t seed) {
    const uint8_t* secret = XXH3_DEFAULT_SECRET;
    uint64_t h;
    if (size > 8) {
        uint64_t low = xxh3_read64(p) ^ ((xxh3_read64(secret + 24) ^ xxh3_read64(secret + 32)) + seed);
        uint64_t high = xxh3_read64(p + size - 8) ^ ((xxh3_read64(secret + 40) ^ xxh3_read64(secret + 48)) - seed);
        return xxh3_avalanche(size + __builtin_bswap64(low) + high + xxh3_fold(low, high));
    }
    if (size >= 4) {
        seed ^= (uint64_t) __builtin_bswap32((uint32_t) seed) << 32;
        h = xxh3_read32(p + size - 4) + ((uint64_t) xxh3_read32(p) << 32);
        h ^= (xxh3_read64(secret + 8) ^ xxh3_read64(secret + 16)) - seed;
        h ^= xxh3_rotl(h, 49) ^ xxh3_rotl(h, 24);
        h *= XXH3_PRIME_MX2;
        h ^= (h >> 35) + size;
        h *= XXH3_PRIME_MX2;
        return h ^ (h >> 28);
    }
    if (size) {
        h = ((uint32_t) p[0] << 16) | ((uint32_t) p[size >> 1] << 24) | p[size - 1] | ((uint32_t) size << 8);
        h ^= (xxh3_read32(secret) ^ xxh3_read32(secret + 4)) + seed;
    } else {
        h = seed ^ xxh3_read64(secret + 56) ^ xxh3_read64(secret + 64);
    }
    h ^= h >> 33;
    h *= XXH3_PRIME64_2;
    h ^= h >> 29;
    h *= XXH3_PRIME64_3;
    return h ^ (h >> 32);
}

static inline uint64_t xxh3_17to128(const uint8_t* p, size_t size, uint64_t seed) {
    uint64_t h = size * XXH3_PRIME64_1;
    for (int i = (int) (size - 1) / 32; i >= 0; i--) {
        h += xxh3_mix16(p + 16 * i, XXH3_DEFAULT_SECRET + 32 * i, seed);
        h += xxh3_mix16(p + size - 16 * (i + 1), XXH3_DEFAULT_SECRET + 32 * i + 16, seed);
    }
    return xxh3_avalanche(h);
}

static inline uint64_t xxh3_129to240(const uint8_t* p, size_t size, uint64_t seed) {
    uint64_t h = size * XXH3_PRIME64_1;
    uint64_t end = xxh3_mix16(p + size - 16, XXH3_DEFAULT_SECRET + 136 - 17, seed);
    int rounds = (int) size / 16;
    for (int i = 0; i < 8; i++)
        h += xxh3_mix16(p + 16 * i, XXH3_DEFAULT_SECRET + 16 * i, seed);
    h = xxh3_avalanche(h);
    for (int i = 8; i < rounds; i++)
        end += xxh3_mix16(p + 16 * i, XXH3_DEFAULT_SECRET + 16 * (i - 8) + 3, seed);
    return xxh3_avalanche(h + end);
}

#ifdef __SSE2__

static inline void xxh3_accumulate(uint64_t* lanes, const uint8_t* p, const uint8_t* secret) {
    __m128i* acc = (__m128i*) lanes;
    for (int i = 0; i < 4; i++) {
        __m128i data = _mm_loadu_si128((const __m128i*) p + i);
        __m128i key = _mm_xor_si128(data, _mm_loadu_si128((const __m128i*) secret + i));
        __m128i product = _mm_mul_epu32(key, _mm_shuffle_epi32(key, _MM_SHUFFLE(0, 3, 0, 1)));
        __m128i sum = _mm_add_epi64(acc[i], _mm_shuffle_epi32(data, _MM_SHUFFLE(1, 0, 3, 2)));
        acc[i] = _mm_add_epi64(product, sum);
    }
}

#else

static inline void xxh3_accumulate(uint64_t* lanes, const uint8_t* p, const uint8_t* secret) {
    for (int i = 0; i < 8; i++) {
        uint64_t data = xxh3_read64(p + 8 * i);
        uint64_t key = data ^ xxh3_read64(secret + 8 * i);
        lanes[i ^ 1] += data;
        lanes[i] += (key & 0xFFFFFFFF) * (key >> 32);
    }
}

#endif

static inline void xxh3_scramble(uint64_t* lanes, const uint8_t* secret) {
    for (int i = 0; i < 8; i++)
        lanes[i] = ((lanes[i] ^ (lanes[i] >> 47)) ^ xxh3_read64(secret + 8 * i)) * XXH3_PRIME32_1;
}

static inline uint64_t xxh3_long(const uint8_t* p, size_t size, const uint8_t* secret) {
    _Alignas(16) uint64_t lanes[8] = {
        XXH3_PRIME32_3, XXH3_PRIME64_1, XXH3_PRIME64_2, XXH3_PRIME64_3,
        XXH3_PRIME64_4, XXH3_PRIME32_2, XXH3_PRIME64_5, XXH3_PRIME32_1,
    };
    size_t stripes = (size - 1) / XXH3_STRIPE;
    uint64_t h = size * XXH3_PRIME64_1;
    for (size_t n = 0; n < stripes; n++) {
        xxh3_accumulate(lanes, p + n * XXH3_STRIPE, secret + 8 * (n % XXH3_STRIPES_PER_BLOCK));
        if (n % XXH3_STRIPES_PER_BLOCK == XXH3_STRIPES_PER_BLOCK - 1)
            xxh3_scramble(lanes, secret + XXH3_SECRET_BYTES - XXH3_STRIPE);
    }
    xxh3_accumulate(lanes, p + size - XXH3_STRIPE, secret + XXH3_SECRET_BYTES - XXH3_STRIPE - 7);
    for (int i = 0; i < 4; i++)
        h += xxh3_fold(lanes[2 * i] ^ xxh3_read64(secret + 11 + 16 * i), lanes[2 * i + 1] ^ xxh3_read64(secret + 19 + 16 * i));
    return xxh3_avalanche(h);
}

/* The secret that a seed stands for. Needed only for inputs of more than 240 bytes. */
static inline void xxh3_secret(uint8_t* out, uint64_t seed) {
    for (int i = 0; i < XXH3_SECRET_BYTES / 16; i++) {
        uint64_t low = xxh3_read64(XXH3_DEFAULT_SECRET + 16 * i) + seed;
        uint64_t high = xxh3_read64(XXH3_DEFAULT_SECRET + 16 * i + 8) - seed;
        memcpy(out + 16 * i, &low, 8);
        memcpy(out + 16 * i + 8, &high, 8);
    }
}

/* XXH3-64 of `size` bytes; `secret` is xxh3_secret() of the same seed. */
static inline uint64_t xxh3_64(const uint8_t* p, size_t size, uint64_t seed, const uint8_t* secret) {
    if (size <= 16)
        return xxh3_0to16(p, size, seed);
    if (size <= 128)
        return xxh3_17to128(p, size, seed);
    if (size <= 240)
        return xxh3_129to240(p, size, seed);
    return xxh3_long(p, size, secret);
}

#endif
