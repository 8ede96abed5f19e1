"""Worker side: the mock worker, a real worker process on the real wire that needs no GPU."""
