"""What one host runs: the supervisor, its listening sockets, its child processes. No request passes here."""
