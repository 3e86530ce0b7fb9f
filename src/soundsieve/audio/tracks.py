"""A sound file under libsndfile's hands: read forward, sought only where that finds the place."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import soundfile

from soundsieve.audio.info import Samples

DAMAGE = (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError)
"""What libsndfile and python-soundfile raise for files that are not what they claim to be."""

BLOCK = 1 << 16
_NO_LENGTH = 1 << 62  # libsndfile says SF_COUNT_MAX where the header leaves the length open
_SEEKS_ASTRAY = frozenset({"OGG"})  # in Vorbis libsndfile's seek misses by thousands of samples


class Track:
    """An open sound file and the place in it.

    Two lengths are counted, by reading the file once, since its header does not tell: that of FLAC from a live
    encoder, and that of MPEG audio without a Xing or Info header, which libsndfile guesses from the first bit rate (a
    recording of variable rate may be twice as long).

    Raises:
        DAMAGE: it is no sound file.
    """

    _at: int

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self._open = _plain
        self._reopen()
        try:
            if self.file.format == "MP3" and not _says_its_length(path):
                self._open = _piped
                self._reopen()
            self.samples: int = self._counted() if self.file.frames >= _NO_LENGTH else self.file.frames
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def go_to(self, start: int) -> None:
        """Make ``start`` the next sample to be read."""
        if self._at == start:
            return
        if self._open is _plain and self.file.format not in _SEEKS_ASTRAY:
            self.file.seek(start)
            self._at = start
            return
        if start < self._at:
            self._reopen()
        while self._at < start and self.take(start - self._at).shape[1]:
            pass

    def take(self, most: int) -> Samples:
        """The next samples, ``(C, n)`` with n at most ``most`` and at most `BLOCK`; n = 0 at the end."""
        frames: Samples = self.file.read(min(most, BLOCK), dtype="float32", always_2d=True)
        self._at += len(frames)
        return frames.T

    def _counted(self) -> int:
        while self.take(BLOCK).shape[1]:
            pass
        counted = self._at
        self._reopen()
        return counted

    def _reopen(self) -> None:
        self._stack.close()
        self.file: Any = self._stack.enter_context(self._open(self.path))
        self._at = 0


class _Straight(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is not sought in unasked: python-soundfile does so after every read."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _plain(path: Path) -> Iterator[soundfile.SoundFile]:
    with _Straight(os.fsencode(path), "r") as file:
        yield file


@contextmanager
def _piped(path: Path) -> Iterator[soundfile.SoundFile]:
    """A file as a stream: libsndfile then reads MPEG audio to its true end, not to the length that it guessed."""
    outlet, inlet = os.pipe()
    feeder = threading.Thread(target=_feed, args=(path, inlet), daemon=True)
    feeder.start()
    try:
        with _Straight(outlet, "r", closefd=False) as file:
            yield file
    finally:
        os.close(outlet)
        feeder.join()


def _feed(path: Path, inlet: int) -> None:
    with suppress(OSError), os.fdopen(inlet, "wb") as pipe, path.open("rb") as source:
        shutil.copyfileobj(source, pipe, BLOCK)


def _says_its_length(path: Path) -> bool:
    with _piped(path) as file:
        return bool(file.frames < _NO_LENGTH)
