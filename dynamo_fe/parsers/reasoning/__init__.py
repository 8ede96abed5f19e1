"""The table of reasoning formats."""
