"""The way of one request: prepare, dispatch, deliver."""
