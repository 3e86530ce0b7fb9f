"""Recordings in: their header, a part of them, or block by block, in memory that the header has no say in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from soundsieve.audio import ffmpeg
from soundsieve.audio.info import AudioInfo, Samples, check_finite, reason
from soundsieve.audio.sources import Source, on_disk
from soundsieve.audio.tracks import DAMAGE, Track
from soundsieve.errors import AudioError

LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000
MOST_CHANNELS = 256

_SIZE = re.compile(r"(?:data|SSND|Data Size|Riff size|riff)\s*:\s*(\d+) \(should be (\d+)\)")
_UNKNOWN_SIZE = 0x7FFF0000  # sizes from here on are what live streams write when they cannot know the end
_SIZE_SLACK_BYTES = 64
_MPEG_SLACK_SAMPLES = 2 * 1152  # an MP3 length may be off by the encoder's delay and padding
_SAMPLES_PER_BYTE = 8192  # the densest there is: FLAC says "65535 times the same value" in ten bytes


class Reader:
    """An open recording: its ``info``, and its samples as a whole, in parts, or in blocks.

    A context manager; for one thread at a time. Whatever the header claims, no more memory is taken than for what
    was asked for and is really there.

    Args:
        source: a path (``-`` is standard input), the bytes of a file, or a binary stream. Streams are copied to a
            temporary file, for most containers cannot be read without seeking; so is what ffmpeg decodes.
        longest_s: refuse a recording that is longer than this, in seconds. One that does not tell its length is
            decoded no further to find it out.

    Raises:
        AudioError: the file is missing, a folder, empty, not audio, cut short, without samples, longer
            than ``longest_s``, or needs ffmpeg.

    Example:
        >>> with Reader("long.wav") as recording:  # doctest: +SKIP
        ...     loudest = max(float(abs(block).max()) for block in recording.blocks(65536))
    """

    info: AudioInfo
    """What the header says; ``samples`` is what ``blocks`` will give."""

    def __init__(self, source: Source, *, longest_s: float | None = None) -> None:
        with ExitStack() as stack:
            path, self._called = stack.enter_context(on_disk(source))
            try:
                self._track = Track(path, self._called, longest_s)
                kind = None
            except DAMAGE as error:
                kind = ffmpeg.container_of(path, self._called.suffix, reason(error))
                if kind is None:
                    raise _not_audio(self._called, error) from error
                path = stack.enter_context(ffmpeg.decoded(path, self._called, longest_s))
                self._track = Track(path, longest_s=longest_s)
            stack.callback(self._track.close)
            self.info = _checked_info(self._track, self._called, path.stat().st_size, kind)
            if longest_s is not None and self.info.seconds > longest_s:
                most = f"{longest_s / 60:g} minutes" if longest_s > 60 else f"{longest_s:g} seconds"
                raise AudioError(f"{self._called} lasts longer than {most}, the most that is taken: cut it into parts")
            self._stack = stack.pop_all()
        self._slack = _MPEG_SLACK_SAMPLES * len(self._track.links) if self.info.subtype.startswith("MPEG") else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and drop the temporary copy of a stream."""
        self._stack.close()

    def blocks(self, samples: int) -> Iterator[Samples]:
        """The whole recording from its start, in order: float32, contiguous, ``(C, samples)``; the last may be shorter.

        Raises:
            AudioError: the recording turns out to be damaged, cut short, or not finite (the time is named).
        """
        if samples < 1:
            raise AudioError(f"a block has at least 1 sample; got {samples}")
        at = 0
        while at < self.info.samples:
            block = self._read(at, min(at + samples, self.info.samples))
            if block.shape[1] == 0:
                break
            check_finite(block, self.info.sample_rate, str(self._called), start=at)
            yield block
            at += block.shape[1]

    def read(self, start: int = 0, stop: int | None = None) -> Samples:
        """Samples ``start`` to ``stop`` (not included), float32, contiguous, ``(C, stop - start)``; by default all.

        Raises:
            AudioError: the part is not within the recording; or as `blocks`.
        """
        stop = self.info.samples if stop is None else stop
        if not 0 <= start < stop <= self.info.samples:
            rate = self.info.sample_rate
            part = f"{start / rate:.3f} to {stop / rate:.3f} s"
            raise AudioError(f"{self._called} lasts {self.info.seconds:.3f} s: there is no part from {part}")
        block = self._read(start, stop)
        if block.shape[1] == 0:
            raise AudioError(f"{self._called} holds no samples")
        check_finite(block, self.info.sample_rate, str(self._called), start=start)
        return block

    def _read(self, start: int, stop: int) -> Samples:
        """What there is from ``start`` to ``stop``, in pieces, so that nothing is allocated for what is not there."""
        pieces: list[Samples] = []
        at = start
        try:
            self._track.go_to(start)
            while at < stop:
                piece = self._track.take(stop - at)
                if piece.shape[1] == 0:
                    break
                pieces.append(piece)
                at += piece.shape[1]
        except DAMAGE as error:
            raise AudioError(f"{self._called} is damaged or cut short: {reason(error)}") from error
        if at < stop and at < self.info.samples - self._slack:
            raise _cut_short(self._called, self.info.seconds, at / self.info.sample_rate)
        if not pieces:
            return np.zeros((self.info.channels, 0), np.float32)
        return np.ascontiguousarray(pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1))


def _checked_info(track: Track, called: Path, size_bytes: int, kind: str | None) -> AudioInfo:
    """What the header says, refused where it cannot be true."""
    file = track.file
    names = (file.format, file.subtype) if kind is None else (kind, "FFMPEG")
    info = AudioInfo(called, file.samplerate, file.channels, track.samples, *names)
    if not LOWEST_RATE <= info.sample_rate <= HIGHEST_RATE:
        allowed = f"sound has {LOWEST_RATE} to {HIGHEST_RATE}"
        raise AudioError(f"{called} is damaged: its header claims a sample rate of {info.sample_rate} Hz; {allowed}")
    if not 1 <= info.channels <= MOST_CHANNELS:
        raise AudioError(f"{called} has {info.channels} channels: 1 to {MOST_CHANNELS} can be read")
    for promised, held in _SIZE.findall(file.extra_info):
        if int(held) + _SIZE_SLACK_BYTES < int(promised) < _UNKNOWN_SIZE:
            raise _cut_short(called, info.seconds * int(promised) / max(1, int(held)), info.seconds)
    if info.samples <= 0:
        raise AudioError(f"{called} holds no samples")
    if info.samples > size_bytes * _SAMPLES_PER_BYTE:
        claim = f"its header claims {info.seconds / 3600:.0f} hours, which {size_bytes} bytes cannot hold"
        raise AudioError(f"{called} is damaged: {claim}")
    return info


def _not_audio(called: Path, error: BaseException) -> AudioError:
    known = "wav, flac, ogg, opus, mp3, aiff, caf and the like"
    why = reason(error)
    if why.startswith("File does not exist"):  # libsndfile's words for an .mp3 that is none
        why = "Format not recognised"
    return AudioError(f"{called} is damaged or not a recording ({known}): {why}")


def _cut_short(called: Path, promised_s: float, held_s: float) -> AudioError:
    cut = f"its header promises {promised_s:.2f} s, it holds {held_s:.2f} s"
    return AudioError(f"{called} is cut short: {cut}; copy it again, or save what is left under a new name")
