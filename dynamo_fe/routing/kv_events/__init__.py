"""From the workers' KV events to the prefix index: one state machine a rank, and the one process that drives them."""
