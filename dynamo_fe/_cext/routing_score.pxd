from cpython cimport array
from libc.stdint cimport int64_t


cdef struct Parts:
    int64_t cached_tokens
    double raw_prefill
    double decay
    double credit
    double prefill
    double decode
    double active_requests
    double taint_factor
    double cost


cdef class Weights:
    cdef double credit
    cdef double decay
    cdef double scale
    cdef double active_request
    cdef double host
    cdef double disk
    cdef double booked_host
    cdef double booked_disk
    cdef double shared_cache
    cdef double temperature
    cdef bint track_prefill
    cdef bint track_blocks


cdef class Candidates:
    cdef readonly Py_ssize_t rows
    cdef readonly array.array slot
    cdef readonly array.array eligible
    cdef readonly array.array taint_weight
    cdef readonly array.array prefill_tokens
    cdef readonly array.array active_blocks
    cdef readonly array.array active_requests
    cdef readonly array.array shared_prefix
    cdef readonly array.array shared_cache
    cdef readonly array.array device
    cdef readonly array.array host
    cdef readonly array.array disk
    cdef readonly array.array cached_tokens
    cdef readonly array.array cost
    cdef tuple views
    # Of the last choice:
    cdef Weights weights
    cdef double prompt_tokens
    cdef double block_tokens
    cdef double complete_blocks
    cdef double prompt_blocks
    cdef double least_prefill
    cdef double least_cost
    cdef readonly int64_t most_cached_tokens

    cdef Parts parts(self, Weights w, Py_ssize_t row) noexcept
    cdef bint is_least(self, Py_ssize_t row) noexcept
    cdef double judge(self) noexcept
    cdef double share(self, Py_ssize_t row, double most) noexcept
