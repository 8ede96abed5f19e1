"""The command line: the table of commands, and the only place where all rooms are put together."""
