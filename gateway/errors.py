"""Why a gateway does not start, in words for the person who typed the command, with the exit status that goes with it."""


class StartError(Exception):
    """The gateway cannot start. The message names the thing, the place and the way out."""

    status = 1


class ConfigError(StartError):
    """The configuration is wrong: file, key, and what is allowed."""

    status = 2
