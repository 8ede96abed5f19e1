"""The one typed table of settings, and how a command line and an environment become a configuration."""

from dynamo_fe.config.errors import ConfigError
from dynamo_fe.config.load import Loaded, load
from dynamo_fe.config.settings import TABLE, Settings

__all__ = ["TABLE", "ConfigError", "Loaded", "Settings", "load"]
