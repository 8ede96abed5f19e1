"""Typed wire structures: what clients send, what workers get and say, what discovery holds."""
