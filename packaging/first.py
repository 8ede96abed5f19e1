"""What the frozen program runs before PyInstaller's own beginnings, which take longer than Python's."""

from dynamo_fe.cli.entry import hold_signals

hold_signals()
