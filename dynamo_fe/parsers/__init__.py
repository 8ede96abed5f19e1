"""Tool calls and reasoning in a model's text: pieces of text in, endpoint-neutral events out. Sans I/O."""
