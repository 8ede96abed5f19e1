# Generated at build time by packaging/kserve_descriptors.py.
FILES: tuple[bytes, ...]
