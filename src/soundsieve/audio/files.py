"""Recordings as a whole: what a header says, all samples in, all samples out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soundsieve.audio.info import AudioInfo, Samples
from soundsieve.audio.reader import Reader
from soundsieve.audio.sources import Source
from soundsieve.audio.writer import ClipMode, Writer, Written
from soundsieve.errors import AudioError


def probe(source: Source) -> AudioInfo:
    """Read a recording's header.

    Raises:
        AudioError: as `decode`, for what the header alone can tell.
    """
    with Reader(source) as recording:
        return recording.info


def decode(source: Source) -> tuple[Samples, int]:
    """Read a whole recording: wav, flac, ogg, opus, mp3, aiff, caf, w64 and the rest of what libsndfile reads.

    Integer samples are divided by their full scale, so n bits give multiples of 2^(1-n) in [-1, 1). Lossy files may
    hold peaks past 1; they are kept. A cut-off Ogg stream reads as a shorter recording, for nothing in it tells.

    Returns:
        Samples, float32, shape ``(C, T)``, and the sample rate in Hz.

    Raises:
        AudioError: the file is missing, a folder, empty, not audio, cut short, without samples, or not finite.
    """
    with Reader(source) as recording:
        return recording.read(), recording.info.sample_rate


def encode(
    path: str | Path,
    samples: Samples,
    sample_rate: int,
    *,
    subtype: str | None = None,
    clip_mode: ClipMode = "none",
) -> Written:
    """Write a recording, whole or not at all, in the container that the suffix names: a `Writer` on one block.

    Args:
        path: the file to write; its suffix is one of `CONTAINERS`.
        samples: float32, shape ``(C, T)`` or ``(T,)``.
        sample_rate: Hz.
        subtype: libsndfile's name of the sample format, such as ``PCM_24``; by default 16 bits, or the codec's own.
        clip_mode: what becomes of samples past full scale; see `Writer`. The note of what is returned says what was
            done.

    Raises:
        AudioError: the suffix or subtype is not known, the samples are empty or not finite, or writing fails.
    """
    rows = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    writer = Writer(path, sample_rate, len(rows), subtype=subtype, clip_mode=clip_mode)
    if rows.ndim != 2 or rows.size == 0:
        raise AudioError(f"cannot write {path}: expected samples of shape (C, T), got {np.shape(samples)}")
    with writer:
        writer.write(rows)
    return writer.written
