"""dynamo-fe: a drop-in replacement for the frontend of NVIDIA Dynamo 1.6.1."""

__version__ = "0.1.0"
DYNAMO_VERSION = "1.6.1"
