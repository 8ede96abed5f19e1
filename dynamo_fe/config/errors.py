"""What is wrong with a configuration, as one line for the operator."""

from typing import Final

# What another time may not fail, and what the original refuses by itself: an unknown flag, a value out of range.
FAILED: Final = 1
# A word that argparse refuses, in the original as well: no value, no number, no choice.
USAGE_ERROR: Final = 2
# Named as in sysexits.h.
UNREADABLE_FILE: Final = 66
NO_RESOURCES: Final = 71
NO_TEMPORARY_FOLDER: Final = 73
NOT_WRITTEN: Final = 74
# For whatever a variable or the file is to blame.
BAD_CONFIGURATION: Final = 78


class ConfigError(Exception):
    """A configuration that cannot be served. `str()` is one line for stderr, `exit_code` what the process ends with,
    `log_jsonl` whether the rest of the configuration asks for a log in JSON, where it could be read.
    """

    def __init__(self, message: str, exit_code: int = BAD_CONFIGURATION) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.log_jsonl: bool | None = None


class SettingFault(ConfigError):
    """What is wrong with the settings `names`, said by whoever does not know where their values came from. `passes`:
    they may be right another time.
    """

    def __init__(self, text: str, *names: str, passes: bool = False) -> None:
        super().__init__(text)
        self.names = names
        self.passes = passes
