"""What the studio takes on, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass, fields

from soundsieve.errors import ConfigError, SoundsieveError


class BusyError(SoundsieveError):
    """Too much is asked at once: the same request will do in a little while."""


class FullError(SoundsieveError):
    """There is no room for more recordings or tracks until some go."""


class TooLargeError(SoundsieveError):
    """An upload is larger, or has more channels, than is taken here."""


class GoneError(SoundsieveError):
    """What was asked for is not here: it never was, was removed, or nobody used it for too long."""


class CancelledError(SoundsieveError):
    """Somebody changed their mind."""


@dataclass(frozen=True)
class Limits:
    """How much of anything the studio takes on; every field is an option of ``soundsieve studio``.

    Raises:
        ConfigError: a limit is not a number above 0.
    """

    max_minutes: float = 10.0
    """The longest recording."""
    max_megabytes: float = 200.0
    """The largest upload, in 10^6 bytes."""
    max_channels: int = 8
    """The most channels of a recording."""
    max_example_s: float = 60.0
    """The longest example clip, and the longest region used as one, in seconds."""
    max_waiting: int = 20
    """Questions of all people together that may wait for their turn."""
    max_waiting_each: int = 6
    """Questions of one person that may wait."""
    max_recordings: int = 64
    """Recordings and example clips of all people together."""
    max_recordings_each: int = 12
    """Those of one person; one more replaces the one that was not used for longest."""
    max_tracks: int = 12
    """Tracks of one recording."""
    max_gigabytes: float = 16.0
    """All files together, in 10^9 bytes."""
    max_working: int = 1
    """Questions that are worked on at the same time."""
    keep_minutes: float = 30.0
    """How long a recording is kept after it was last used."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type == "int"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
                kind = "a whole number" if whole else "a number"
                raise ConfigError(f"{field.name} is {value!r}: a limit is {kind} above 0")

    @property
    def max_bytes(self) -> int:
        """`max_megabytes` in bytes."""
        return int(self.max_megabytes * 1e6)

    @property
    def too_large(self) -> str:
        """What is said of an upload that is."""
        most = f"{self.max_megabytes:g} MB"
        return f"the file is larger than {most}, the most that is taken here: send it as flac or mp3, or cut it"

    def check_upload(self, size: int) -> None:
        """Raise `TooLargeError` for an upload of so many bytes (or more of them)."""
        if size > self.max_bytes:
            raise TooLargeError(self.too_large)

    def check_channels(self, channels: int) -> None:
        """Raise `TooLargeError` for a recording with too many channels."""
        if channels > self.max_channels:
            raise TooLargeError(f"the recording has {channels} channels, more than the {self.max_channels} taken here")
