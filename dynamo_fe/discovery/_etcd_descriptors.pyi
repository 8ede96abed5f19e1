# Generated at build time by packaging/etcd_descriptors.py.
FILES: tuple[bytes, ...]
