# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The cost of sending a prompt to each rank, and the choice among them: all candidates in one call, over flat columns.

Formula: that of the released router, in blocks. With A prefill tokens and n requests booked on the rank, D, H and K blocks of
the prompt on its device, host and disk, c, h, d, s the weights and b the block size:

    cached = round((D + h H + d K) b)
    raw    = (A + max(0, prompt - cached) + cached) / b                       0 when prefill tokens are not tracked
    decay  = 1 / (1 + k (A - least A) / b / blocks of the prompt)             1 when they are not
    credit = c decay D + h H + d K + s max(0, shared cache - D)               0 when c is 0
    decode = active blocks + full blocks of the prompt - those shared         0 when blocks are not tracked
    cost   = (scale max(0, raw - credit) + decode + w n) exp(-tanh(taints))

When prefill tokens are not tracked the credit counts against decode instead: max(0, decode - credit) + w n.
"""
cimport cython
from cpython cimport array
from libc.math cimport INFINITY, ceil, exp, fabs, isfinite, tanh
from libc.stdint cimport int64_t
from libc.string cimport memset

import array as arrays
from typing import NamedTuple

from dynamo_fe._cext.prefix_index cimport Overlaps

cdef double TIE_TOLERANCE = 1e-9


class Terms(NamedTuple):
    cached_tokens: int
    raw_prefill: float
    decay: float
    credit: float
    prefill: float
    decode: float
    active_requests: float
    taint_factor: float
    cost: float


cdef class Weights:
    def __init__(
        self, *,
        double overlap_score_credit=1.0,
        double overlap_score_credit_decay=0.0,
        double prefill_load_scale=1.0,
        double decode_active_request_weight=0.0,
        double host_cache_hit_weight=0.75,
        double disk_cache_hit_weight=0.25,
        booked_host_cache_hit_weight=None,
        booked_disk_cache_hit_weight=None,
        double shared_cache_multiplier=0.0,
        double temperature=0.0,
        bint track_prefill_tokens=True,
        bint track_active_blocks=True,
    ):
        self.credit = checked("overlap_score_credit", overlap_score_credit)
        self.decay = checked("overlap_score_credit_decay", overlap_score_credit_decay)
        self.scale = checked("prefill_load_scale", prefill_load_scale)
        self.active_request = checked("decode_active_request_weight", decode_active_request_weight)
        self.host = checked("host_cache_hit_weight", host_cache_hit_weight)
        self.disk = checked("disk_cache_hit_weight", disk_cache_hit_weight)
        self.booked_host = self.host
        self.booked_disk = self.disk
        if booked_host_cache_hit_weight is not None:
            self.booked_host = checked("booked_host_cache_hit_weight", booked_host_cache_hit_weight)
        if booked_disk_cache_hit_weight is not None:
            self.booked_disk = checked("booked_disk_cache_hit_weight", booked_disk_cache_hit_weight)
        self.shared_cache = checked("shared_cache_multiplier", shared_cache_multiplier)
        self.temperature = checked("temperature", temperature)
        self.track_prefill = track_prefill_tokens
        self.track_blocks = track_active_blocks


cdef double checked(str name, double value) except? -1:
    if not isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value}; a finite number not below 0 is wanted")
    return value


@cython.final
cdef class Candidates:
    def __init__(self, Py_ssize_t rows):
        if rows < 0 or self.views is not None:
            raise ValueError(f"candidates of {rows} rows cannot be made")
        self.rows = rows
        self.slot = arrays.array("i", [-1]) * rows
        self.eligible = arrays.array("B", [1]) * rows
        self.taint_weight = arrays.array("d", [0]) * rows
        self.prefill_tokens = arrays.array("q", [0]) * rows
        self.active_blocks = arrays.array("d", [0]) * rows
        self.active_requests = arrays.array("q", [0]) * rows
        self.shared_prefix = arrays.array("I", [0]) * rows
        self.shared_cache = arrays.array("I", [0]) * rows
        self.device = arrays.array("I", [0]) * rows
        self.host = arrays.array("I", [0]) * rows
        self.disk = arrays.array("I", [0]) * rows
        self.cached_tokens = arrays.array("q", [0]) * rows
        self.cost = arrays.array("d", [INFINITY]) * rows
        self.least_cost = INFINITY
        # A view keeps each column from being resized.
        self.views = tuple(
            memoryview(column)
            for column in (
                self.slot, self.eligible, self.taint_weight, self.prefill_tokens, self.active_blocks,
                self.active_requests, self.shared_prefix, self.shared_cache, self.device, self.host, self.disk,
                self.cached_tokens, self.cost,
            )
        )

    def forget_prompt(self):
        cdef size_t size = self.rows * sizeof(unsigned int)
        memset(self.shared_prefix.data.as_uints, 0, size)
        memset(self.device.data.as_uints, 0, size)
        memset(self.host.data.as_uints, 0, size)
        memset(self.disk.data.as_uints, 0, size)

    def take_overlaps(self, Overlaps overlaps not None):
        cdef Py_ssize_t row
        cdef int slot
        for row in range(self.rows):
            slot = self.slot.data.as_ints[row]
            if 0 <= slot < <int> overlaps.max_ranks:
                self.device.data.as_uints[row] = overlaps.device.data.as_uints[slot]
                self.host.data.as_uints[row] = overlaps.host.data.as_uints[slot]
                self.disk.data.as_uints[row] = overlaps.disk.data.as_uints[slot]
            else:
                self.device.data.as_uints[row] = 0
                self.host.data.as_uints[row] = 0
                self.disk.data.as_uints[row] = 0

    cdef inline Parts parts(self, Weights w, Py_ssize_t row) noexcept:
        cdef Parts p
        cdef double prefill = <double> self.prefill_tokens.data.as_longlongs[row]
        cdef double device = self.device.data.as_uints[row]
        cdef double host = self.host.data.as_uints[row]
        cdef double disk = self.disk.data.as_uints[row]
        cdef double shared = self.shared_cache.data.as_uints[row]
        cdef double cached = (device + w.booked_host * host + w.booked_disk * disk) * self.block_tokens + 0.5
        # Cutting off rounds down what is not negative, and needs no call.
        p.cached_tokens = <int64_t> (cached if cached < 9e18 else 9e18)
        cached = <double> p.cached_tokens
        p.raw_prefill = 0
        p.decay = 1
        if w.track_prefill:
            p.raw_prefill = (prefill + max(0, self.prompt_tokens - cached) + cached) / self.block_tokens
            if w.decay:
                p.decay = (prefill - self.least_prefill) / self.block_tokens / self.prompt_blocks
                p.decay = 1 / (1 + w.decay * p.decay)
        p.credit = 0
        if w.credit:
            p.credit = w.credit * p.decay * device
            p.credit += w.host * host + w.disk * disk
            p.credit += w.shared_cache * max(0, shared - device)
        p.decode = 0
        if w.track_blocks:
            p.decode = self.active_blocks.data.as_doubles[row] + self.complete_blocks
            p.decode -= self.shared_prefix.data.as_uints[row]
        p.prefill = 0
        p.active_requests = w.active_request * <double> self.active_requests.data.as_longlongs[row]
        p.taint_factor = 1
        if self.taint_weight.data.as_doubles[row] != 0:
            p.taint_factor = exp(-tanh(self.taint_weight.data.as_doubles[row]))
        if w.track_prefill:
            p.prefill = w.scale * max(0, p.raw_prefill - p.credit)
            p.cost = p.prefill + p.decode
        else:
            p.cost = max(0, p.decode - p.credit)
        p.cost = (p.cost + p.active_requests) * p.taint_factor
        return p

    cdef bint is_least(self, Py_ssize_t row) noexcept:
        cdef double within = TIE_TOLERANCE * max(1, fabs(self.least_cost))
        return self.least_cost < INFINITY and self.cost.data.as_doubles[row] <= self.least_cost + within

    cdef double judge(self) noexcept:
        """Fills the columns `cost` and `cached_tokens`; returns the largest cost of an eligible rank."""
        cdef Weights weights = self.weights
        cdef Py_ssize_t row
        cdef Parts p
        cdef int64_t prefill
        cdef double most = -INFINITY
        cdef bint any = False
        self.least_cost = INFINITY
        self.least_prefill = 0
        self.most_cached_tokens = 0
        for row in range(self.rows):
            if self.eligible.data.as_uchars[row]:
                prefill = self.prefill_tokens.data.as_longlongs[row]
                if not any or prefill < self.least_prefill:
                    self.least_prefill = <double> prefill
                any = True
        for row in range(self.rows):
            p = self.parts(weights, row)
            self.cached_tokens.data.as_longlongs[row] = p.cached_tokens
            self.cost.data.as_doubles[row] = INFINITY
            if self.eligible.data.as_uchars[row]:
                self.cost.data.as_doubles[row] = p.cost
                self.least_cost = min(self.least_cost, p.cost)
                self.most_cached_tokens = max(self.most_cached_tokens, p.cached_tokens)
                most = max(most, p.cost)
        return most

    cdef double share(self, Py_ssize_t row, double most) noexcept:
        """How likely a row is, on a scale of its own: ties alike at temperature 0, else by the softmax of the costs."""
        cdef double spread = most - self.least_cost
        if not self.weights.temperature:
            return 1.0 if self.is_least(row) else 0.0
        if self.cost.data.as_doubles[row] == INFINITY:
            return 0.0
        if not spread:
            return 1.0
        return exp(-((self.cost.data.as_doubles[row] - self.least_cost) / spread) / self.weights.temperature)

    def choose(
        self, Weights weights not None, Py_ssize_t prompt_tokens, Py_ssize_t block_tokens, Py_ssize_t complete_blocks,
        double draw,
    ):
        cdef Py_ssize_t row
        cdef Py_ssize_t chosen = -1
        cdef double most, chance
        cdef double total = 0
        cdef double at = 0
        if prompt_tokens < 0 or block_tokens < 1 or complete_blocks < 0 or not 0 <= draw < 1:
            raise ValueError(f"no request: {prompt_tokens=} {block_tokens=} {complete_blocks=} {draw=}")
        self.weights = weights
        self.prompt_tokens = prompt_tokens
        self.block_tokens = block_tokens
        self.complete_blocks = complete_blocks
        self.prompt_blocks = max(1, ceil(self.prompt_tokens / self.block_tokens))
        most = self.judge()
        if self.least_cost == INFINITY:
            return -1
        for row in range(self.rows):
            total += self.share(row, most)
        for row in range(self.rows):
            chance = self.share(row, most)
            if chance > 0:
                chosen = row
                at += chance / total
                if draw < at:
                    break
        return chosen

    def ties(self):
        cdef Py_ssize_t row
        return [row for row in range(self.rows) if self.is_least(row)]

    def terms(self, Py_ssize_t row):
        cdef Parts p
        if not 0 <= row < self.rows or self.weights is None:
            raise IndexError(f"no choice has been made of row {row}")
        p = self.parts(self.weights, row)
        return Terms(
            p.cached_tokens, p.raw_prefill, p.decay, p.credit, p.prefill, p.decode, p.active_requests, p.taint_factor,
            p.cost,
        )
