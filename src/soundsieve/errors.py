"""What can go wrong, in words a person can act on.

Every error that is the caller's to mend derives from `SoundsieveError`; the command line prints its text as one
line and exits non-zero. Each message says what was given, what is allowed and what to do.
"""


class SoundsieveError(Exception):
    """Base of all errors that soundsieve raises on purpose."""


class AudioError(SoundsieveError):
    """A recording cannot be read, written or used (missing, empty, not audio, not finite)."""


class QueryError(SoundsieveError):
    """A query is empty, contradictory, or of a kind that the system does not understand."""


class ConfigError(SoundsieveError):
    """A recipe, config, manifest or option has an unknown name or a value that is out of range."""


class WeightsError(SoundsieveError):
    """Weights are missing, damaged, or do not fit the system that they are loaded into."""


class UnreadableError(WeightsError):
    """Weights that may well be good cannot be read now: too little memory, or the system refuses to read them."""


def reason(error: Exception) -> str:
    """Why something could not be read or written, in a line: of an OSError without the path, which its caller names."""
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
