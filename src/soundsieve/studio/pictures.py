"""Spectrograms as small pictures for the page, and where the marks of their frequency axis belong.

A picture holds nothing but the spectrogram: time from left to right, frequency from the bottom up on the mel scale
(HTK's formula, m = 2595 log10(1 + f / 700)), level as colour. Its axes are the page's own text beside it, so they stay
readable at any width, and on light and dark ground. All sounds of one recording are drawn against the recording's
loudest cell: equal colours are equal levels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from soundsieve.audio import Reader

COLUMNS, ROWS = 1200, 192
"""Size of a picture in cells."""
RANGE_DB = 75.0
"""How far below the loudest cell the colours reach."""

_WINDOW_S = 0.045
_AT_ONCE = 1 << 22  # samples in all windows that are in memory together
_COLOURS = ((10, 11, 22), (38, 22, 86), (98, 27, 121), (173, 46, 106), (229, 92, 72), (251, 166, 70), (253, 240, 196))
_MARKS_HZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000)
_ROOM = 0.1  # of the height: marks nearer than this would touch


def levels_db(path: Path) -> npt.NDArray[np.float32]:
    """Mean power in every cell of a recording's picture, in dB, in memory that does not grow with the recording.

    Args:
        path: of the recording; of several channels the mean power is drawn.

    Returns:
        Shape ``(ROWS, COLUMNS)``, the lowest frequency first; at least -200.

    Raises:
        AudioError: the recording cannot be read.
    """
    with Reader(path) as recording:
        rate, samples = recording.info.sample_rate, recording.info.samples
        n_fft = 2 ** max(4, round(np.log2(_WINDOW_S * rate)))
        window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
        gather = _row_weights(rate, n_fft)
        frames = max(1, -(-samples // (COLUMNS * n_fft // 2)))  # in a column: half a window apart, or less
        at_once = max(1, _AT_ONCE // (frames * n_fft * recording.info.channels))
        centres = ((np.arange(COLUMNS * frames) + 0.5) * samples / (COLUMNS * frames)).astype(np.int64)
        power = np.empty((ROWS, COLUMNS), np.float32)
        for first in range(0, COLUMNS, at_once):
            last = min(COLUMNS, first + at_once)
            of_block = centres[first * frames : last * frames]
            start, stop = int(of_block[0]) - n_fft // 2, int(of_block[-1]) + n_fft // 2
            held = recording.read(max(0, start), min(samples, stop))
            held = np.pad(held, ((0, 0), (max(0, -start), max(0, stop - samples))))
            cut = np.lib.stride_tricks.sliding_window_view(held, n_fft, axis=1)[:, of_block - n_fft // 2 - start]
            spectrum = np.abs(np.fft.rfft(cut * window, axis=2)) ** 2  # (C, frames, bins)
            rows = spectrum.mean(0) @ gather
            power[:, first:last] = rows.reshape(last - first, frames, ROWS).mean(1).T
    return (10 * np.log10(np.maximum(power, 1e-20))).astype(np.float32)


def png(levels: npt.NDArray[np.float32], loudest_db: float) -> bytes:
    """A picture as a PNG file of 256 colours.

    Args:
        levels: as `levels_db` gives them.
        loudest_db: what is as bright as it gets; ``RANGE_DB`` below it, all is as dark as it gets.
    """
    shades = np.clip((levels - loudest_db) / RANGE_DB + 1, 0, 1) * 255
    lines = np.flipud(shades.round().astype(np.uint8))
    height, width = lines.shape
    marked = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1)  # before each line: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", _palette()), (b"IDAT", zlib.compress(marked.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def frequency_marks(sample_rate: int) -> list[tuple[float, str]]:
    """Marks of the frequency axis: place from the bottom (0) to the top (1), and what is written there."""
    top = _mel(sample_rate / 2)
    marks: list[tuple[float, str]] = []
    for hertz in _MARKS_HZ:
        place = float(_mel(hertz) / top)
        if place < 1 - _ROOM / 2 and (not marks or place - marks[-1][0] >= _ROOM):
            marks.append((place, f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz"))
    return marks


def _row_weights(sample_rate: int, n_fft: int) -> npt.NDArray[np.float32]:
    """Weights ``(bins, ROWS)`` that average the bins of each row's band.

    A bin's power is spread evenly from half a bin below it to half a bin above. The part of that which lies within the
    band counts, over the width of the band, which may be narrower than a bin.
    """
    bins = np.arange(n_fft // 2 + 1)[:, None]
    ends = np.linspace(0, _mel(sample_rate / 2), ROWS + 1)
    edges = 700 * (10 ** (ends / 2595) - 1) * n_fft / sample_rate  # in bins
    shared = np.minimum(edges[1:], bins + 0.5) - np.maximum(edges[:-1], bins - 0.5)
    weights: npt.NDArray[np.float32] = (np.maximum(shared, 0) / np.diff(edges)).astype(np.float32)
    return weights


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _palette() -> bytes:
    places = np.linspace(0, 255, len(_COLOURS))
    channels: Sequence[Sequence[int]] = list(zip(*_COLOURS, strict=True))
    mixed = np.stack([np.interp(np.arange(256), places, channel) for channel in channels], axis=1)
    return mixed.round().astype(np.uint8).tobytes()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
