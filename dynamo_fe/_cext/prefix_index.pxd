from cpython cimport array
from libc.stdint cimport uint32_t


cdef class Overlaps:
    cdef readonly array.array device
    cdef readonly array.array host
    cdef readonly array.array disk
    cdef readonly bint whole
    cdef uint32_t max_ranks
    cdef void* finder
    cdef uint32_t* touched
    cdef uint32_t touched_count
    cdef tuple views

    cdef void reset(self) noexcept
    cdef void take(self) noexcept
