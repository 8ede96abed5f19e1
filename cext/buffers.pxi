# One-dimensional buffers of unsigned words, as callers hand them over: array.array, numpy, memoryview, mmap.

from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_SIMPLE,
    PyBUF_STRIDED_RO,
    PyBUF_WRITABLE,
    PyBuffer_IsContiguous,
    PyBuffer_Release,
    PyBuffer_ToContiguous,
    PyObject_GetBuffer,
)
from libc.stdlib cimport calloc, free, malloc, realloc


cdef class Words:
    """The words of a buffer in one piece of memory for as long as this lives; copied only where they lie apart.

    Raises TypeError for what is no buffer, ValueError for another shape or item size, or for signed items.
    """
    cdef Py_buffer view
    cdef bint held
    cdef void* copy
    cdef const void* data
    cdef Py_ssize_t count

    def __cinit__(self, source, int item_bytes):
        cdef char kind
        PyObject_GetBuffer(source, &self.view, PyBUF_STRIDED_RO | PyBUF_FORMAT)
        self.held = True
        kind = self.view.format[0] if self.view.format != NULL else c"B"
        if kind in b"@=<":
            kind = self.view.format[1]
        if self.view.ndim != 1 or self.view.itemsize != item_bytes or kind not in b"ILQ":
            raise ValueError(f"a flat buffer of unsigned {8 * item_bytes}-bit words is wanted")
        self.count = self.view.len // item_bytes
        self.data = self.view.buf
        if not PyBuffer_IsContiguous(&self.view, c"C"):
            self.copy = malloc(self.view.len)
            if self.copy == NULL:
                raise MemoryError
            PyBuffer_ToContiguous(self.copy, &self.view, self.view.len, c"C")
            self.data = self.copy

    def __dealloc__(self):
        free(self.copy)
        if self.held:
            PyBuffer_Release(&self.view)
