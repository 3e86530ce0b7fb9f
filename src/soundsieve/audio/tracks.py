"""A sound file under libsndfile's hands: read forward, sought only where that finds the place."""

from __future__ import annotations

import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeAlias

import soundfile

from soundsieve.audio.info import Samples, reason
from soundsieve.audio.links import Link, View, is_mpeg, links
from soundsieve.audio.quiet import no_chatter
from soundsieve.errors import AudioError

DAMAGE = (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError)
"""What libsndfile and python-soundfile raise for files that are not what they claim to be."""

BLOCK = 1 << 16
_NO_LENGTH = 1 << 62  # libsndfile says SF_COUNT_MAX where the header leaves the length open
_SEEKS_ASTRAY = frozenset({"OGG"})  # in Vorbis libsndfile's seek misses by thousands of samples


class Track:
    """An open sound file and the place in it.

    Two lengths are counted, by reading the file once, since its header does not tell: that of FLAC from a live
    encoder, and that of MPEG audio without a Xing or Info header, which libsndfile guesses from the first bit rate (a
    recording of variable rate may be twice as long). Streams that were joined end to end are read one after another.

    Args:
        path: where it lies.
        called: its name in messages.
        longest_s: where the length has to be counted, that is done no further than this, in seconds.

    Raises:
        DAMAGE: it is no sound file.
        AudioError: its streams do not go together.
    """

    links: list[Link]
    """The streams, by their bytes."""
    _at: int

    def __init__(self, path: Path, called: Path | None = None, longest_s: float | None = None) -> None:
        self.path = path
        self._longest_s = longest_s
        self._called = called or path
        self._stack = ExitStack()
        self.links = links(path)
        # libmpg123 prints on standard error what it thinks of a damaged file.
        self._hush = no_chatter if any(is_mpeg(path, link) for link in self.links) else nullcontext
        self._opens: list[_Open] = []
        try:
            self.samples = 0
            for link in self.links:
                self.samples += self._measured(link)
                if self.samples > self._most:
                    break
            self._reopen()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._hush():
            self._stack.close()

    def go_to(self, start: int) -> None:
        """Make ``start`` the next sample to be read."""
        if self._at == start:
            return
        if len(self.links) == 1 and self._opens[0] is _plain and self.file.format not in _SEEKS_ASTRAY:
            with self._hush():
                self.file.seek(start)
            self._at = start
            return
        if start < self._at:
            self._reopen()
        while self._at < start and self.take(start - self._at).shape[1]:
            pass

    def take(self, most: int) -> Samples:
        """The next samples, ``(C, n)`` with n at most ``most`` and at most `BLOCK`; n = 0 at the end."""
        frames = self._frames(most)
        while len(frames) == 0 and most > 0 and self._link + 1 < len(self.links):
            self._open_link(self._link + 1)
            frames = self._frames(most)
        self._at += len(frames)
        return frames.T

    def _frames(self, most: int) -> Samples:
        with self._hush():
            frames: Samples = self.file.read(min(most, BLOCK), dtype="float32", always_2d=True)
        return frames

    def _measured(self, link: Link) -> int:
        """The length of one stream, having found out how it is to be opened."""
        self._opens.append(_plain)
        number = len(self._opens) - 1
        first = (self.file.samplerate, self.file.channels) if number else None
        try:
            self._open_link(number)
            if self.file.format == "MP3" and not self._says_its_length(link):
                self._opens[number] = _piped
                self._open_link(number)
        except DAMAGE as error:
            if number == 0:
                raise
            raise AudioError(f"{self._called}: stream {number + 1} in it cannot be read: {reason(error)}") from error
        form = (self.file.samplerate, self.file.channels)
        if first is not None and form != first:
            forms = " and ".join(f"{rate} Hz with {channels} channels" for rate, channels in (first, form))
            raise AudioError(f"{self._called} holds streams of {forms}, one after another: split it up")
        if self.file.frames < _NO_LENGTH:
            return int(self.file.frames)
        counted = 0
        while counted <= self._most and (n := len(self._frames(BLOCK))):
            counted += n
        return counted

    @property
    def _most(self) -> float:
        """More samples than this need not be counted."""
        return math.inf if self._longest_s is None else self._longest_s * float(self.file.samplerate)

    def _open_link(self, number: int) -> None:
        with self._hush():
            self._stack.close()
            self.file: Any = self._stack.enter_context(self._opens[number](self.path, self.links[number]))
        self._link = number

    def _reopen(self) -> None:
        self._open_link(0)
        self._at = 0

    def _says_its_length(self, link: Link) -> bool:
        with self._hush(), _piped(self.path, link) as file:
            return bool(file.frames < _NO_LENGTH)


class _Straight(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is not sought in unasked: python-soundfile does so after every read."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _plain(path: Path, link: Link) -> Iterator[soundfile.SoundFile]:
    if link == (0, path.stat().st_size):
        with _Straight(os.fsencode(path), "r") as file:
            yield file
        return
    with View(path, link) as view, _Straight(view, "r") as file:
        yield file


@contextmanager
def _piped(path: Path, link: Link) -> Iterator[soundfile.SoundFile]:
    """A file as a stream: libsndfile then reads MPEG audio to its true end, not to the length that it guessed."""
    outlet, inlet = os.pipe()
    feeder = threading.Thread(target=_feed, args=(path, link, inlet), daemon=True)
    feeder.start()
    try:
        with _Straight(outlet, "r", closefd=False) as file:
            yield file
    finally:
        os.close(outlet)
        feeder.join()


def _feed(path: Path, link: Link, inlet: int) -> None:
    with suppress(OSError), os.fdopen(inlet, "wb") as pipe, View(path, link) as source:
        shutil.copyfileobj(source, pipe, BLOCK)


_Open: TypeAlias = Callable[[Path, Link], AbstractContextManager[soundfile.SoundFile]]
