"""Whatever a recording is given as, the same few things can be asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
import torch

from soundsieve import audio
from soundsieve.audio import Samples
from soundsieve.audio.reader import HIGHEST_RATE, LOWEST_RATE
from soundsieve.errors import AudioError, QueryError
from soundsieve.query import Clip

Mixture: TypeAlias = "str | Path | bytes | bytearray | BinaryIO | np.ndarray[Any, np.dtype[Any]] | torch.Tensor"
"""A recording: a file's path, its bytes, a binary file that is open for reading, or samples of shape ``(C, T)`` or
``(T,)`` as floats, nominally in [-1, 1]."""

Moment: TypeAlias = "tuple[float, float]"
"""Start and end of a stretch of a recording, in seconds."""

BLOCK = 1 << 17
"""Samples of every channel that are read at once."""

_MOST_CHANNELS = 64


class Recording(Protocol):
    """A recording that is open for reading.

    Attributes:
        sample_rate: Hz.
        channels: how many.
        samples: how many there are of each channel, as far as the source says; None where it does not.
        info: what the header says of a recording that comes from a file; None for samples in memory.
    """

    sample_rate: int
    channels: int
    samples: int | None
    info: audio.AudioInfo | None

    def blocks(self) -> Iterator[Samples]:
        """The whole of it, float32, as consecutive blocks ``(C, n)``."""
        ...

    def excerpt(self, moment: Moment) -> Clip:
        """A stretch of it as an example clip.

        Raises:
            QueryError: the stretch is empty.
            AudioError: it does not lie within the recording, or cannot be read.
        """
        ...


@dataclass
class _InMemory:
    array: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        self.channels, self.samples = self.array.shape
        self.info: audio.AudioInfo | None = None

    def blocks(self) -> Iterator[Samples]:
        for start in range(0, self.array.shape[1], BLOCK):
            yield self.array[:, start : start + BLOCK]

    def excerpt(self, moment: Moment) -> Clip:
        start, stop = _bounds(moment, self.sample_rate)
        if stop > self.samples:
            part = f"{moment[0]:.3f} to {moment[1]:.3f} s"
            raise AudioError(
                f"the recording lasts {self.samples / self.sample_rate:.3f} s: there is no part from {part}"
            )
        return self.array[:, start:stop].copy(), self.sample_rate


class _File:
    def __init__(self, reader: audio.Reader) -> None:
        self._reader = reader
        self.sample_rate, self.channels = reader.info.sample_rate, reader.info.channels
        self.samples: int | None = reader.info.samples or None
        self.info: audio.AudioInfo | None = reader.info

    def blocks(self) -> Iterator[Samples]:
        return self._reader.blocks(BLOCK)

    def excerpt(self, moment: Moment) -> Clip:
        return self._reader.read(*_bounds(moment, self.sample_rate)), self.sample_rate


@contextmanager
def opened(mixture: Mixture | audio.Reader, sample_rate: int | None = None) -> Iterator[Recording]:
    """Open a recording.

    Args:
        mixture: what it is given as; an open `audio.Reader` is left open.
        sample_rate: of samples in memory, in Hz; a file knows its own.

    Raises:
        AudioError: it cannot be read or used.
    """
    if isinstance(mixture, (np.ndarray, torch.Tensor)):
        if sample_rate is None:
            raise AudioError("samples come without their rate: give sample_rate, in Hz")
        yield _InMemory(*check_samples(mixture, sample_rate, "the recording"))
        return
    if isinstance(mixture, bytearray):
        mixture = bytes(mixture)
    readable = isinstance(mixture, (str, Path, bytes, audio.Reader)) or hasattr(mixture, "read")
    if not readable:
        kinds = "a path, bytes, an open binary file, a numpy array or a torch tensor"
        raise AudioError(f"a recording is {kinds}; got {type(mixture).__name__}")
    if sample_rate is not None:
        raise AudioError("sample_rate is for samples; a file knows its own")
    if isinstance(mixture, audio.Reader):
        yield _File(mixture)
        return
    with audio.Reader(mixture) as reader:
        yield _File(reader)


def _bounds(moment: Moment, sample_rate: int) -> tuple[int, int]:
    try:
        start_s, end_s = (float(value) for value in moment)
    except (TypeError, ValueError):
        raise QueryError(
            f"a moment of a recording is (start, end) in seconds, such as (6.3, 7.0); got {moment!r}"
        ) from None
    if not 0 <= start_s < end_s < float("inf"):
        raise QueryError(
            f"a moment from {start_s:g} s to {end_s:g} s: it starts at 0 or later and ends after it starts"
        )
    start = round(start_s * sample_rate)
    return start, max(start + 1, round(end_s * sample_rate))


def check_samples(
    samples: np.ndarray[Any, np.dtype[Any]] | torch.Tensor, sample_rate: int, what: str
) -> tuple[Samples, int]:
    """Samples from a caller as float32 ``(C, T)``, and their rate.

    Raises:
        AudioError: integers, complex numbers, a sparse tensor, a wrong shape, no samples, values that are not finite,
            or a rate that no recording has.
    """
    rate = _checked_rate(sample_rate, what)
    array = _array_of(samples, what) if isinstance(samples, torch.Tensor) else np.asarray(samples)
    if not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"{what} has {array.dtype} samples: give floats in [-1, 1] (for int16, divide by 32768)")
    if array.ndim not in (1, 2):
        raise AudioError(f"{what} has shape {array.shape}: give (C, T), or (T,) for one channel")
    if array.size == 0:
        raise AudioError(f"{what} holds no samples")
    array = np.atleast_2d(array)
    if len(array) > _MOST_CHANNELS and len(array) > array.shape[1]:
        raise AudioError(
            f"{what} has {len(array)} channels of {array.shape[1]} samples: channels come first, time last"
        )
    with np.errstate(over="ignore"):  # what is past float32 turns infinite, and is refused as such
        array = np.ascontiguousarray(array, dtype=np.float32)
    audio.check_finite(array, rate, what)
    return (array if array.flags.writeable else array.copy()), rate  # torch shares memory with what may be written


def _checked_rate(sample_rate: object, what: str) -> int:
    is_number = isinstance(sample_rate, Real) and not isinstance(sample_rate, bool)
    if not is_number or not LOWEST_RATE <= sample_rate <= HIGHEST_RATE or int(sample_rate) != sample_rate:  # type: ignore[operator, call-overload]
        allowed = f"it is a whole number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}"
        raise AudioError(f"{what} has a sample rate of {sample_rate!r}: {allowed}")
    return int(sample_rate)  # type: ignore[call-overload, no-any-return]


def _array_of(samples: torch.Tensor, what: str) -> np.ndarray[Any, np.dtype[Any]]:
    kind = str(samples.dtype).removeprefix("torch.")
    if not samples.is_floating_point():
        raise AudioError(f"{what} has {kind} samples: give floats in [-1, 1] (for int16, divide by 32768)")
    if samples.layout != torch.strided or samples.is_meta:
        raise AudioError(f"{what} is a tensor without its samples in memory, such as a sparse one: give a dense one")
    array: np.ndarray[Any, np.dtype[Any]] = (
        (samples.detach() if samples.dtype in (torch.float32, torch.float64) else samples.detach().float())
        .cpu()
        .numpy()
    )
    return array
