"""The ASGI application: one module an API family, served by Granian."""
