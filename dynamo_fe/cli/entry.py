"""Where every form of the program begins. Until here a SIGHUP ends it, so that nothing else comes first."""

# `signal` takes 4 ms to import
import _signal  # type: ignore[import-not-found]
import os


def main() -> int:
    """Runs the command line; returns the exit code."""
    hold_signals()
    from dynamo_fe.cli.main import main as run

    return run()


def hold_signals() -> None:
    """A SIGHUP waits from now on for who lets it through. In the first process of a container so does a SIGTERM, which
    the kernel takes from it while it has no handler. For the first thread, before there are others.
    """
    early = (_signal.SIGHUP, _signal.SIGTERM) if os.getpid() == 1 else (_signal.SIGHUP,)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, early)
