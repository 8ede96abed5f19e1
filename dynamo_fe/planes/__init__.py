"""The planes: how requests reach workers and how their answers come back."""
