"""Example clips as systems hear them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soundsieve.audio import check_finite, decode, resample
from soundsieve.errors import QueryError
from soundsieve.query import ClipLike


def clip_waveform(clip: ClipLike, sample_rate: int) -> Tensor:
    """An example clip as a waveform ``(T,)``: its channels averaged, at the given rate.

    Raises:
        QueryError: it is not floating-point samples ``(T,)`` or ``(C, T)``, or empty.
        AudioError: the file cannot be read, or a sample is not finite.
    """
    samples, rate = decode(clip) if isinstance(clip, (str, Path)) else clip
    if samples.ndim not in (1, 2) or not samples.size or not np.issubdtype(samples.dtype, np.floating):
        raise QueryError("an example clip is floating-point samples, shape (T,) or (C, T), that are not empty")
    check_finite(samples, rate, "the example clip")
    mono = samples.astype(np.float32).reshape(-1, samples.shape[-1]).mean(0)
    return torch.from_numpy(resample(mono, rate, sample_rate))
