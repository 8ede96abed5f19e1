"""Runs dynamo-fe so that a process of it can be profiled: SIGUSR2 to it begins, the next ends and writes PROFILE_FILE.

The signal handler is inherited by the serving processes that the supervisor forks, and only their main threads, where
the event loop runs, are seen.
"""

import cProfile
import os
import signal
import sys

from dynamo_fe.cli.main import main

profile = cProfile.Profile()
recording = False


def toggle(*_: object) -> None:
    global recording
    recording = not recording
    if recording:
        profile.clear()
        profile.enable()
    else:
        profile.disable()
        profile.dump_stats(os.environ["PROFILE_FILE"])


signal.signal(signal.SIGUSR2, toggle)
sys.exit(main())
