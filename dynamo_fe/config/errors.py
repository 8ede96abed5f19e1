"""What is wrong with a configuration, as one line for the operator."""

from typing import Final

# The start failed for what another time may not fail.
FAILED: Final = 1
# As argparse has it, and with it the original for most of them: for whatever the command line is to blame.
USAGE_ERROR: Final = 2
# Named as in sysexits.h.
UNREADABLE_FILE: Final = 66
NO_RESOURCES: Final = 71
NO_TEMPORARY_FOLDER: Final = 73
NOT_WRITTEN: Final = 74
# For whatever a variable or the file is to blame.
BAD_CONFIGURATION: Final = 78


class ConfigError(Exception):
    """A configuration that cannot be served. `str()` is one line for stderr, `exit_code` what the process ends with."""

    def __init__(self, message: str, exit_code: int = BAD_CONFIGURATION) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SettingFault(ConfigError):
    """What is wrong with the settings `names`, said by whoever does not know where their values came from. `passes`:
    they may be right another time.
    """

    def __init__(self, text: str, *names: str, passes: bool = False) -> None:
        super().__init__(text)
        self.names = names
        self.passes = passes
