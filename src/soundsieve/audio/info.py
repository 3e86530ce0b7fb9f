"""What all of `soundsieve.audio` speaks of: samples, what a recording is, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from soundsieve.errors import AudioError

Samples: TypeAlias = npt.NDArray[np.float32]

LOUDEST = 1e10
"""The highest peak of a recording: past 32-bit integers that someone forgot to scale, far below where squares end."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: rate in Hz, channels, samples per channel, container and sample format.

    The path of what is read from a stream or from memory is a word in its place.
    """

    path: Path
    sample_rate: int
    channels: int
    samples: int
    format: str
    subtype: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate


def check_finite(samples: Samples, sample_rate: int, what: str, *, axis: int = -1, start: int = 0) -> None:
    """Raise an AudioError that names the first NaN or infinity along the time ``axis``, or a peak past `LOUDEST`.

    Args:
        samples: any shape.
        sample_rate: Hz.
        what: the recording, for the message.
        axis: the axis of time.
        start: where in the recording the first of these samples stands.
    """
    finite = np.isfinite(samples)
    if finite.all():
        peak = max(float(samples.max()), -float(samples.min())) if samples.size else 0.0
        if peak > LOUDEST:
            raise AudioError(f"{what} has a peak of {peak:.3g}: samples are in [-1, 1], or near that; scale it down")
        return
    bad = ~finite.all(axis=tuple(i for i in range(finite.ndim) if i != axis % finite.ndim))
    first_s = (start + int(bad.argmax())) / sample_rate
    raise AudioError(f"{what} is broken: {int(bad.sum())} samples are not finite, the first at {first_s:.3f} s")


def reason(error: BaseException) -> str:
    """What went wrong below, in one line without a full stop."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".") or "it cannot be decoded"
