"""Routing that looks at the prompt: who holds its beginning, and who has how much to do."""
