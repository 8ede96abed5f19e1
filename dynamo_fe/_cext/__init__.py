"""The compiled modules: the hot path in C, without I/O and without knowledge of the package."""
