"""What is wrong with a configuration, as one line for the operator."""

from typing import Final

# The two exit codes of Dynamo 1.6.1: argparse's own for a word it cannot take, 1 for everything found out later.
USAGE_ERROR: Final = 2
INVALID_CONFIGURATION: Final = 1
# Ours, named as in sysexits.h.
UNREADABLE_FILE: Final = 66
NO_RESOURCES: Final = 71
NO_TEMPORARY_FOLDER: Final = 73
BAD_CONFIGURATION_FILE: Final = 78


class ConfigError(Exception):
    """A configuration that cannot be served. `str()` is one line for stderr, `exit_code` what the process ends with."""

    def __init__(self, message: str, exit_code: int = INVALID_CONFIGURATION) -> None:
        super().__init__(message)
        self.exit_code = exit_code
