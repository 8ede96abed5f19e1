"""Where every form of the program begins. Until here a SIGHUP ends it, so that nothing else comes first."""

# `signal` takes 4 ms to import
import _signal  # type: ignore[import-not-found]


def main() -> int:
    """Runs the command line; returns the exit code."""
    hold_hangups()
    from dynamo_fe.cli.main import main as run

    return run()


def hold_hangups() -> None:
    """A SIGHUP waits from now on for who lets it through. For the first thread, before there are others."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGHUP,))
