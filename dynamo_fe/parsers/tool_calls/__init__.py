"""Readers of tool calls, and the table of formats that they read."""
